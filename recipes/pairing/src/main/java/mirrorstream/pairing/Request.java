package mirrorstream.pairing;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Arrays;
import java.util.Objects;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;

/**
 * What is known of one request: the halves that wait for the others, and, once it has left, which had come.
 *
 * <p>Index 0 is control, the others are the candidates in the order of the settings.
 */
final class Request {
  private static final int FORMAT = 1; // of the bytes; another one can be told from this

  final Half[] halves;
  final boolean[] came;
  boolean left;
  long closesMs;

  /** One record as it was logged, without its id. */
  record Half(long timeMs, byte[] key, byte[] value, Headers headers) {
    /** Returns what it takes of a message, names of headers included. */
    int numBytes() {
      int sum = value.length + (key == null ? 0 : key.length);
      for (Header header : headers) {
        sum += header.key().length() + (header.value() == null ? 0 : header.value().length);
      }
      return sum;
    }
  }

  Request(int sources) {
    halves = new Half[sources];
    came = new boolean[sources];
  }

  int numBytes() {
    int sum = 0;
    for (Half half : halves) {
      sum += half == null ? 0 : half.numBytes();
    }
    return sum;
  }

  boolean isWhole() {
    return Arrays.stream(halves).allMatch(Objects::nonNull);
  }

  void forgetHalves() {
    Arrays.fill(halves, null);
  }

  byte[] toBytes() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream(64 + numBytes());
    try (DataOutputStream out = new DataOutputStream(bytes)) {
      out.writeByte(FORMAT);
      out.writeBoolean(left);
      out.writeLong(closesMs);
      out.writeShort(halves.length);
      for (int i = 0; i < halves.length; i++) {
        out.writeBoolean(came[i]);
        out.writeBoolean(halves[i] != null);
        if (halves[i] != null) {
          write(out, halves[i]);
        }
      }
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    return bytes.toByteArray();
  }

  /** Reads the bytes of one. Throws if they are of another number of sources, whose order nobody knows. */
  static Request of(byte[] bytes, int sources) {
    try (DataInputStream in = new DataInputStream(new ByteArrayInputStream(bytes))) {
      int format = in.readByte();
      if (format != FORMAT) {
        throw new IllegalStateException("state of format " + format + ", want " + FORMAT);
      }
      boolean left = in.readBoolean();
      long closesMs = in.readLong();
      int written = in.readShort();
      if (written != sources) {
        throw new IllegalStateException("the state is of " + (written - 1) + " candidates, pairing.candidates names "
            + (sources - 1) + "; want another application.id for another set of candidates");
      }
      Request request = new Request(sources);
      request.left = left;
      request.closesMs = closesMs;
      for (int i = 0; i < sources; i++) {
        request.came[i] = in.readBoolean();
        request.halves[i] = in.readBoolean() ? read(in) : null;
      }
      return request;
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  private static void write(DataOutputStream out, Half half) throws IOException {
    out.writeLong(half.timeMs());
    writeBytes(out, half.key());
    writeBytes(out, half.value());
    Header[] headers = half.headers().toArray();
    out.writeInt(headers.length);
    for (Header header : headers) {
      writeBytes(out, header.key().getBytes(UTF_8)); // `writeUTF` ends at 64 KiB, and a name may be longer
      writeBytes(out, header.value());
    }
  }

  private static Half read(DataInputStream in) throws IOException {
    long timeMs = in.readLong();
    byte[] key = readBytes(in);
    byte[] value = readBytes(in);
    Headers headers = new RecordHeaders();
    for (int left = in.readInt(); left > 0; left--) {
      headers.add(new String(readBytes(in), UTF_8), readBytes(in));
    }
    return new Half(timeMs, key, value, headers);
  }

  private static void writeBytes(DataOutputStream out, byte[] bytes) throws IOException {
    out.writeInt(bytes == null ? -1 : bytes.length);
    if (bytes != null) {
      out.write(bytes);
    }
  }

  private static byte[] readBytes(DataInputStream in) throws IOException {
    int length = in.readInt();
    return length < 0 ? null : in.readNBytes(length);
  }
}
