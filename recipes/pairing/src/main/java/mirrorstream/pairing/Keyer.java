package mirrorstream.pairing;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;

/**
 * Keys each half by the id of its request, so that both halves meet in one partition.
 *
 * <p>A half that has no id goes the same way, with the reason in its headers, and is set aside at its end.
 */
final class Keyer extends ContextualProcessor<byte[], byte[], byte[], byte[]> {
  private static final int MAX_ID_CHARS = 500;
  private static final byte[] BYTE_ORDER_MARK = {(byte) 0xEF, (byte) 0xBB, (byte) 0xBF};
  private static final ObjectMapper JSON =
      new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  private final Map<String, Settings.Source> sources;
  private final int maxBytes;

  Keyer(Settings settings) {
    sources = settings.sources().stream().collect(Collectors.toMap(Settings.Source::topic, Function.identity()));
    maxBytes = settings.maxBytes();
  }

  @Override
  public void process(Record<byte[], byte[]> record) {
    RecordMetadata place = context().recordMetadata().orElseThrow();
    Headers headers = Headings.clear(record.headers());
    Headings.put(headers, Headings.TOPIC, place.topic());
    Headings.put(headers, Headings.PARTITION, Integer.toString(place.partition()));
    Headings.put(headers, Headings.OFFSET, Long.toString(place.offset()));
    if (record.key() != null) {
      headers.add(Headings.KEY, record.key());
    }
    byte[] value = withoutMark(record.value());
    String id = null;
    try {
      id = requestId(value, numBytes(record), sources.get(place.topic()));
    } catch (Refused refused) {
      Headings.put(headers, Headings.REASON, refused.reason.text());
      Headings.put(headers, Headings.DETAIL, refused.getMessage());
      if (refused.reason == Reason.TOO_LARGE) {
        value = null;
        bare(headers);
      }
    }
    // Without an id any partition will do.
    byte[] key = (id == null ? place.topic() + place.partition() + "@" + place.offset() : id).getBytes(UTF_8);
    context().forward(record.withKey(key).withValue(value).withHeaders(headers));
  }

  private String requestId(byte[] value, long numBytes, Settings.Source source) throws Refused {
    if (value == null || value.length == 0) {
      throw new Refused(Reason.UNREADABLE, "no value, want a JSON object");
    }
    if (numBytes > maxBytes) {
      throw new Refused(Reason.TOO_LARGE, numBytes + " bytes with key and headers, want at most " + maxBytes
          + "; only its place is here");
    }
    JsonNode id = object(value).at(source.requestId());
    String text = id.isTextual() || id.isIntegralNumber() ? id.asText() : "";
    if (text.isEmpty() || text.length() > MAX_ID_CHARS) {
      String seen = id.isMissingNode() ? "nothing" : id.getNodeType().name().toLowerCase(Locale.ROOT);
      throw new Refused(Reason.NO_REQUEST_ID, source.requestId() + ": " + seen + " of " + text.length()
          + " characters, want a text or whole number of 1 to " + MAX_ID_CHARS);
    }
    return text;
  }

  private static long numBytes(Record<byte[], byte[]> record) {
    byte[] none = new byte[0];
    byte[] key = Objects.requireNonNullElse(record.key(), none);
    return new Request.Half(0, key, Objects.requireNonNullElse(record.value(), none), record.headers()).numBytes();
  }

  /** Leaves the place and the reason alone: anything else may be what is too large. */
  private static void bare(Headers headers) {
    Set<String> kept = Set.of(Headings.TOPIC, Headings.PARTITION, Headings.OFFSET, Headings.REASON, Headings.DETAIL);
    for (Header header : headers.toArray()) {
      if (!kept.contains(header.key())) {
        headers.remove(header.key());
      }
    }
  }

  private static JsonNode object(byte[] value) throws Refused {
    try {
      // Jackson would take UTF-16 as well, which cannot stand in the middle of UTF-8.
      JsonNode found = JSON.readTree(UTF_8.newDecoder().decode(ByteBuffer.wrap(value)).toString());
      if (found.isObject()) {
        return found;
      }
      throw new Refused(Reason.UNREADABLE, "JSON " + found.getNodeType() + ", want an object");
    } catch (CharacterCodingException error) {
      throw new Refused(Reason.UNREADABLE, "is not UTF-8");
    } catch (JsonProcessingException error) {
      throw new Refused(Reason.UNREADABLE, "is no JSON: " + error.getOriginalMessage());
    }
  }

  private static byte[] withoutMark(byte[] value) {
    boolean marked = value != null && Arrays.mismatch(value, BYTE_ORDER_MARK) == BYTE_ORDER_MARK.length;
    return marked ? Arrays.copyOfRange(value, BYTE_ORDER_MARK.length, value.length) : value;
  }

  private static final class Refused extends Exception {
    private static final long serialVersionUID = 1;
    private final Reason reason;

    Refused(Reason reason, String detail) {
      super(detail, null, false, false);
      this.reason = reason;
    }
  }
}
