package mirrorstream.pairing;

import java.util.HashMap;
import java.util.Map;

/**
 * How late it is in the events of one partition: the time that all partitions of all sources have come to.
 *
 * <p>The newest time alone would close requests whose other half is in a partition that is read later, such as after
 * a restart with a backlog. A partition from which nothing comes holds time back for `idleMs` at most. While nothing
 * comes from anywhere, time goes on by this machine's clock from the newest record's.
 */
final class Progress {
  static final long UNKNOWN = Long.MIN_VALUE; // a partition may come that nothing was read from yet

  private final Map<String, Channel> channels = new HashMap<>();
  private final long idleMs;
  private Channel newest;

  /** Time of the newest record, and when it came by this machine's clock. */
  private record Channel(long timeMs, long heardMs) {}

  /** Starts with the `newestMs` of the process before, or `UNKNOWN`. */
  Progress(Iterable<String> expected, long idleMs, long newestMs, long nowMs) {
    this.idleMs = idleMs;
    newest = new Channel(newestMs, nowMs);
    expected.forEach(name -> channels.put(name, new Channel(UNKNOWN, nowMs)));
  }

  /** Takes note of a record from a partition: its own time, which is no later than now, and this machine's. */
  void heard(String name, long recordMs, long nowMs) {
    long timeMs = Math.min(recordMs, nowMs); // else one record of the year 2099 would close everything
    channels.merge(name, new Channel(timeMs, nowMs),
        (old, one) -> new Channel(Math.max(old.timeMs(), one.timeMs()), nowMs));
    if (timeMs >= newest.timeMs()) {
      newest = new Channel(timeMs, nowMs);
    }
  }

  /** Returns the time of the newest record, ms since 1970, or `UNKNOWN`. */
  long newestMs() {
    return newest.timeMs();
  }

  /** Returns the time, ms since 1970, or `UNKNOWN`. */
  long timeMs(long nowMs) {
    return channels.values().stream()
        .filter(channel -> nowMs - channel.heardMs() <= idleMs)
        .mapToLong(Channel::timeMs)
        .min()
        .orElseGet(() -> newest.timeMs() == UNKNOWN ? UNKNOWN : newest.timeMs() + nowMs - newest.heardMs());
  }
}
