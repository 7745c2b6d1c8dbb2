package mirrorstream.pairing;

import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.LongAdder;

/** Counts what left and why, since the process started; the topics have what is exact. */
final class Counts {
  private final Map<String, LongAdder> totals = new ConcurrentHashMap<>();
  private final Map<String, Long> behindMs = new ConcurrentHashMap<>();

  void left(boolean isWhole) {
    add("mirrorstream_pairing_impressions_total{result=\"" + (isWhole ? "paired" : "absent") + "\"}");
  }

  void aside(String reason, String topic) {
    add("mirrorstream_pairing_unpaired_total{reason=\"" + reason + "\",topic=\"" + topic + "\"}");
  }

  /** Keeps how far the time of a task is behind this machine's. */
  void behind(String task, long ms) {
    behindMs.put(task, ms);
  }

  /** Forgets a task that another process has now. */
  void gone(String task) {
    behindMs.remove(task);
  }

  private void add(String series) {
    totals.computeIfAbsent(series, name -> new LongAdder()).increment();
  }

  /** Returns each series with its value, in order. */
  Map<String, Long> totals() {
    Map<String, Long> found = new TreeMap<>();
    totals.forEach((series, total) -> found.put(series, total.sum()));
    return found;
  }

  /** Returns the longest of all tasks, ms. */
  long behindMs() {
    return behindMs.values().stream().mapToLong(ms -> ms).max().orElse(0);
  }
}
