package mirrorstream.pairing;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import mirrorstream.pairing.Request.Half;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Holds each half until the others are there, or until nobody may expect them any more.
 *
 * <pre>
 *   all halves are there         one record {"control": ..., "candidate": ...}
 *   time is over, with control   one record {"control": ..., "candidate": null}
 *   time is over, without it     the candidate is set aside
 *   comes again, or too late     set aside; a control that comes late leaves alone, as above
 * </pre>
 *
 * A control leaves once: its request is remembered for `rememberMs` after its time is over, and what comes later yet
 * is set aside, since nothing tells it from one that left.
 *
 * <p>The store has three kinds of entries: `r` and the id of a request; `t`, a time and an id: when to look at it; and
 * `n`: the time of the newest record.
 */
final class Pairer extends ContextualProcessor<byte[], byte[], byte[], byte[]> {
  static final String STORE = "requests";
  private static final Duration LOOK_EVERY = Duration.ofSeconds(1);
  private static final int MAX_LOOKS = 20_000; // at once: a poll must come within `max.poll.interval.ms`
  private static final byte[] NOTHING = {};
  private static final byte[] NEWEST = {'n'};

  private final Settings settings;
  private final List<String> expected; // partitions of the sources, as `place` names them
  private final List<String> topics; // of the sources, in their order
  private final Counts counts;
  private KeyValueStore<byte[], byte[]> store;
  private long storedMs; // the newest record's time, as the store has it
  private Progress progress;

  Pairer(Settings settings, List<String> expected, Counts counts) {
    this.settings = settings;
    this.expected = expected;
    this.counts = counts;
    topics = settings.sources().stream().map(Settings.Source::topic).toList();
  }

  @Override
  public void init(ProcessorContext<byte[], byte[]> context) {
    super.init(context);
    store = context.getStateStore(STORE);
    byte[] newest = store.get(NEWEST);
    storedMs = newest == null ? Progress.UNKNOWN : ByteBuffer.wrap(newest).getLong();
    progress = new Progress(expected, settings.idleMs(), storedMs, nowMs());
    context.schedule(LOOK_EVERY, PunctuationType.WALL_CLOCK_TIME, at -> closeDue());
  }

  @Override
  public void process(Record<byte[], byte[]> record) {
    Headers headers = record.headers();
    String topic = Headings.text(headers, Headings.TOPIC);
    progress.heard(topic + "-" + Headings.text(headers, Headings.PARTITION), record.timestamp(), nowMs());
    if (headers.lastHeader(Headings.REASON) != null) {
      counts.aside(Headings.text(headers, Headings.REASON), topic);
      byte[] key = Headings.key(headers);
      headers.remove(Headings.KEY);
      context().forward(record.withKey(key));
      return;
    }
    int source = topics.indexOf(topic);
    if (source < 0) {
      throw new IllegalStateException("a half of " + topic + " is on its way, which no source names any more");
    }
    take(record.key(), source, new Half(record.timestamp(), Headings.key(headers), record.value(), headers));
  }

  private void take(byte[] id, int source, Half half) {
    byte[] known = store.get(requestKey(id));
    Request request = known == null ? new Request(topics.size()) : Request.of(known, topics.size());
    long closesMs = half.timeMs() + settings.windowMs() + settings.graceMs();
    if (request.came[source]) {
      aside(source, half, Reason.DUPLICATE, "the request has one already");
    } else if (known == null && closesMs + settings.rememberMs() <= progress.timeMs(nowMs())) {
      aside(source, half, Reason.LATE, "it is older than what is remembered of requests");
    } else if (request.left && source > 0) {
      aside(source, half, Reason.LATE, "the request left without it");
    } else if (request.left) { // its candidates were set aside
      request.came[source] = true;
      request.halves[source] = half;
      leave(id, request);
    } else {
      hold(id, request, source, half, closesMs);
    }
  }

  private void hold(byte[] id, Request request, int source, Half half, long closesMs) {
    Half control = request.halves[0];
    if (source > 0 && control != null && isApart(control, half)) {
      aside(source, half, Reason.OUTSIDE_WINDOW, apart(control, half));
      return;
    }
    if (source > 0 && request.numBytes() + half.numBytes() > settings.maxBytes()) {
      aside(source, half, Reason.TOO_LARGE, "with the other halves it would be too large");
      return;
    }
    if (source == 0) {
      dropUnfit(request, half);
    }
    request.came[source] = true;
    request.halves[source] = half;
    if (source == 0 || request.closesMs == 0) {
      request.closesMs = closesMs;
      store.put(timerKey(closesMs, id), NOTHING);
    }
    if (request.isWhole()) {
      leave(id, request);
    } else {
      store.put(requestKey(id), request.toBytes());
    }
  }

  /** Sets aside the candidates that waited for a control and do not go with the one that came. */
  private void dropUnfit(Request request, Half control) {
    for (int i = 1; i < request.halves.length; i++) {
      Half half = request.halves[i];
      if (half != null && isApart(control, half)) {
        aside(i, half, Reason.OUTSIDE_WINDOW, apart(control, half));
      } else if (half != null && request.numBytes() + control.numBytes() > settings.maxBytes()) {
        aside(i, half, Reason.TOO_LARGE, "with the other halves it would be too large");
      } else {
        continue;
      }
      request.halves[i] = null;
      request.came[i] = false;
    }
  }

  private void closeDue() {
    long nowMs = nowMs();
    long timeMs = progress.timeMs(nowMs);
    if (progress.newestMs() != storedMs) {
      storedMs = progress.newestMs();
      store.put(NEWEST, ByteBuffer.allocate(Long.BYTES).putLong(storedMs).array());
    }
    if (timeMs == Progress.UNKNOWN) {
      return;
    }
    counts.behind(context().taskId().toString(), nowMs - timeMs);
    int looks = 0;
    try (KeyValueIterator<byte[], byte[]> due = store.range(timerKey(0, NOTHING), timerKey(timeMs, NOTHING))) {
      while (due.hasNext() && looks++ < MAX_LOOKS) {
        KeyValue<byte[], byte[]> timer = due.next();
        store.delete(timer.key);
        look(Arrays.copyOfRange(timer.key, 1 + Long.BYTES, timer.key.length), timeMs);
      }
    }
  }

  private void look(byte[] id, long timeMs) {
    byte[] known = store.get(requestKey(id));
    if (known == null) {
      return;
    }
    Request request = Request.of(known, topics.size());
    if (request.closesMs >= timeMs) {
      return; // it has a later timer
    }
    if (request.left) {
      store.delete(requestKey(id));
      return;
    }
    leave(id, request);
  }

  /** Lets a request go: as an impression with what is there, or to where the unpaired ones are. */
  private void leave(byte[] id, Request request) {
    Half control = request.halves[0];
    for (int i = 1; control == null && i < request.halves.length; i++) {
      if (request.halves[i] != null) {
        aside(i, request.halves[i], Reason.NO_CONTROL, "nobody logged what was shown");
      }
    }
    if (control != null) {
      counts.left(request.isWhole());
      Headers headers = Headings.clear(control.headers());
      context().forward(new Record<>(control.key(), together(request.halves), control.timeMs(), headers));
    }
    request.forgetHalves();
    request.left = true;
    request.closesMs = request.closesMs + settings.rememberMs();
    store.put(timerKey(request.closesMs, id), NOTHING);
    store.put(requestKey(id), request.toBytes());
  }

  /** Returns the halves as one object; what they were written as stays as it was, to the last digit. */
  private byte[] together(Half[] halves) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    for (int i = 0; i < halves.length; i++) {
      bytes.writeBytes(((i == 0 ? "{\"" : ",\"") + settings.sources().get(i).name() + "\":").getBytes(UTF_8));
      bytes.writeBytes(halves[i] == null ? "null".getBytes(UTF_8) : halves[i].value());
    }
    bytes.write('}');
    return bytes.toByteArray();
  }

  private void aside(int source, Half half, Reason reason, String detail) {
    counts.aside(reason.text(), topics.get(source));
    Headers headers = half.headers().remove(Headings.KEY);
    Headings.put(headers, Headings.REASON, reason.text());
    Headings.put(headers, Headings.DETAIL, detail);
    context().forward(new Record<>(half.key(), half.value(), half.timeMs(), headers));
  }

  private boolean isApart(Half control, Half candidate) {
    return Math.abs(control.timeMs() - candidate.timeMs()) > settings.windowMs();
  }

  private static String apart(Half control, Half candidate) {
    return (candidate.timeMs() - control.timeMs()) + " ms after control";
  }

  private long nowMs() {
    return context().currentSystemTimeMs();
  }

  @Override
  public void close() {
    counts.gone(context().taskId().toString());
  }

  private static byte[] requestKey(byte[] id) {
    return ByteBuffer.allocate(1 + id.length).put((byte) 'r').put(id).array();
  }

  private static byte[] timerKey(long timeMs, byte[] id) {
    return ByteBuffer.allocate(1 + Long.BYTES + id.length).put((byte) 't').putLong(timeMs).put(id).array();
  }
}
