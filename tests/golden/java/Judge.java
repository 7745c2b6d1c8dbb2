import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;

/**
 * Reads records as Avro's reference implementation does.
 *
 * <p>Each line of standard input is an object with the writer's schema, the reader's, and a record in hexadecimal, or
 * "" for none.  Each line of output is COMPATIBLE or INCOMPATIBLE, and the record as the reader's schema writes it.
 */
public class Judge {
  public static void main(String[] args) throws Exception {
    ObjectMapper json = new ObjectMapper();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JsonNode asked = json.readTree(line);
      Schema writer = new Schema.Parser().parse(asked.get("writer").asText());
      Schema reader = new Schema.Parser().parse(asked.get("reader").asText());
      String found = SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getType().name();
      System.out.println(found + " " + read(writer, reader, asked.get("record").asText()));
    }
  }

  private static String read(Schema writer, Schema reader, String record) throws Exception {
    if (record.isEmpty()) {
      return "";
    }
    BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(HexFormat.of().parseHex(record), null);
    Object value = new GenericDatumReader<Object>(writer, reader).read(null, decoder);
    if (!decoder.isEnd()) {
      throw new IllegalStateException("bytes are left after the record");
    }
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
    new GenericDatumWriter<Object>(reader).write(value, encoder);
    encoder.flush();
    return HexFormat.of().formatHex(out.toByteArray());
  }
}
