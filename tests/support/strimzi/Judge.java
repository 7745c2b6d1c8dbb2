import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.strimzi.api.kafka.model.common.UnknownPropertyPreserving;
import io.strimzi.api.kafka.model.topic.KafkaTopic;
import io.strimzi.api.kafka.model.user.KafkaUser;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;

/**
 * Reads resources, one JSON object a line, into the Strimzi operator's own classes, and prints a line for whatever they
 * do not know: a version, a field, a value.  Nothing is printed for what the operator reads whole.
 */
public class Judge {
    public static void main(String[] arguments) throws Exception {
        ObjectMapper mapper = new ObjectMapper();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode found = mapper.readTree(line);
            String name = found.get("kind").asText() + "/" + found.get("metadata").get("name").asText();
            Class<?> type = found.get("kind").asText().equals("KafkaTopic") ? KafkaTopic.class : KafkaUser.class;
            String version = found.get("apiVersion").asText().replace("kafka.strimzi.io/", "");
            if (!((List<?>) type.getField("VERSIONS").get(null)).contains(version)) {
                System.out.println(name + ": version " + version + " is unknown");
            }
            List<String> unknown = new ArrayList<>();
            try {
                look(mapper.treeToValue(found, type), "", unknown);
            } catch (com.fasterxml.jackson.core.JsonProcessingException error) {
                unknown.add(error.getOriginalMessage());
            }
            unknown.forEach(field -> System.out.println(name + ": " + field));
        }
    }

    /** Collects the fields that were kept because no class has them. */
    private static void look(Object value, String place, List<String> unknown) throws Exception {
        if (value instanceof Collection<?> many) {
            for (Object one : many) {
                look(one, place + "[]", unknown);
            }
        } else if (value instanceof UnknownPropertyPreserving known) {
            Map<String, Object> kept = known.getAdditionalProperties();
            if (kept != null) {
                kept.keySet().forEach(field -> unknown.add(place + "." + field + " is unknown"));
            }
            for (Method method : value.getClass().getMethods()) {
                boolean isGetter =
                        method.getName().startsWith("get") && method.getParameterCount() == 0 && !method.isBridge();
                if (isGetter && !method.getName().equals("getClass") && !method.getName().equals("getAdditionalProperties")) {
                    String field = Character.toLowerCase(method.getName().charAt(3)) + method.getName().substring(4);
                    look(method.invoke(value), place + "." + field, unknown);
                }
            }
        }
    }
}
