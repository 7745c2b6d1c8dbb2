package mirrorstream.pairing;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.List;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;

/** Headers that a half has on its way; what is set aside has the worker's of dead letters, which `dlq` reads. */
final class Headings {
  static final String REASON = "ms-reason";
  static final String DETAIL = "ms-detail";
  static final String TOPIC = "ms-source-topic";
  static final String PARTITION = "ms-source-partition";
  static final String OFFSET = "ms-source-offset";
  static final String KEY = "pairing-key"; // of the record as it was logged
  private static final List<String> ALL = List.of(REASON, DETAIL, TOPIC, PARTITION, OFFSET, KEY);

  private Headings() {}

  /** Removes what a record may have of an earlier way, or shall not have on its next. */
  static Headers clear(Headers headers) {
    ALL.forEach(headers::remove);
    return headers;
  }

  static Headers put(Headers headers, String name, String text) {
    return headers.add(name, text.getBytes(UTF_8));
  }

  static String text(Headers headers, String name) {
    return new String(headers.lastHeader(name).value(), UTF_8);
  }

  /** Returns the key as it was logged, null for none. */
  static byte[] key(Headers headers) {
    Header key = headers.lastHeader(KEY);
    return key == null ? null : key.value();
  }
}
