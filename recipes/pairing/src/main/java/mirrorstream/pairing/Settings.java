package mirrorstream.pairing;

import static org.apache.kafka.common.config.ConfigDef.NO_DEFAULT_VALUE;
import static org.apache.kafka.common.config.ConfigDef.Importance.MEDIUM;

import com.fasterxml.jackson.core.JsonPointer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.ConfigDef.Range;
import org.apache.kafka.common.config.ConfigDef.Type;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.streams.StreamsConfig;

/**
 * What `pairing.*` of the properties file says; everything else in it is Kafka Streams' own.
 *
 * @param sources control first, then the candidates
 * @param kafka options of Kafka Streams, with the ones that exactly-once needs
 */
record Settings(
    List<Source> sources,
    String output,
    String unpaired,
    int partitions,
    long windowMs,
    long graceMs,
    long idleMs,
    long rememberMs,
    int maxBytes,
    int httpPort,
    Properties kafka) {

  static final String CONTROL = "control";
  static final String MEMORY = "pairing.memory.bytes";
  private static final String PREFIX = "pairing.";
  private static final String NAME = "[A-Za-z_][A-Za-z0-9_]*"; // an identifier of JMESPath, which mappings use
  private static final int DAY_S = 86_400;

  /** Where the halves of one variant are logged, and which field of theirs is the id of the request. */
  record Source(String name, String topic, JsonPointer requestId) {}

  /** Returns the settings. Throws one `ConfigException` that names all problems. */
  static Settings of(Map<String, String> given) {
    Map<String, String> own = new HashMap<>(given);
    own.keySet().removeIf(name -> !name.startsWith(PREFIX));
    List<String> names = new ArrayList<>(List.of(CONTROL));
    for (String name : own.getOrDefault("pairing.candidates", "candidate").split(",")) {
      names.add(name.strip());
    }
    ConfigDef definition = definition(names);
    List<String> problems = new ArrayList<>();
    names.stream().filter(name -> !name.matches(NAME))
        .forEach(name -> problems.add("pairing.candidates: '" + name + "', want names of letters, digits and _"));
    if (new HashSet<>(names).size() < names.size()) {
      problems.add("pairing.candidates: " + names.subList(1, names.size()) + ", want each once, and none '" + CONTROL + "'");
    }
    Set<String> unknown = new TreeSet<>(own.keySet());
    unknown.removeAll(definition.names());
    unknown.forEach(name -> problems.add(name + ": there is no such setting"));
    definition.validate(own).forEach(value -> problems.addAll(value.errorMessages()));
    for (String needed : List.of(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, StreamsConfig.APPLICATION_ID_CONFIG)) {
      if (!given.containsKey(needed)) {
        problems.add(needed + ": missing");
      }
    }
    if (!given.getOrDefault(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2)
        .equals(StreamsConfig.EXACTLY_ONCE_V2)) {
      problems.add("processing.guarantee: want exactly_once_v2, which is the default here");
    }
    if (problems.isEmpty()) {
      Settings settings = read(new AbstractConfig(definition, own, false), names, given);
      problems.addAll(settings.topicProblems());
      if (problems.isEmpty()) {
        return settings;
      }
    }
    throw new ConfigException(String.join("\n", problems));
  }

  /** Returns every topic that must be there. */
  Set<String> topics() {
    Set<String> topics = new TreeSet<>(List.of(output, unpaired));
    sources.forEach(source -> topics.add(source.topic()));
    return topics;
  }

  private static ConfigDef definition(List<String> names) {
    ConfigDef definition = new ConfigDef()
        .define("pairing.candidates", Type.LIST, "candidate", MEDIUM, "Names of the candidates.")
        .define("pairing.output.topic", Type.STRING, "impressions", MEDIUM, "Topic of the pairs.")
        .define("pairing.unpaired.topic", Type.STRING, "impressions.unpaired", MEDIUM, "Topic of what is in no pair.")
        .define("pairing.partitions", Type.INT, 12, Range.between(1, 1000), MEDIUM, "Partitions of the inner topics.")
        .define("pairing.window.s", Type.INT, 60, Range.between(1, DAY_S), MEDIUM, "Most between the halves' times.")
        .define("pairing.grace.s", Type.INT, 60, Range.between(0, DAY_S), MEDIUM, "How much longer a half is waited for.")
        .define("pairing.idle.s", Type.INT, 60, Range.between(1, DAY_S), MEDIUM, "Silence that holds time back no more.")
        .define("pairing.remember.s", Type.INT, 3600, Range.between(0, 7 * DAY_S), MEDIUM, "How long ids are kept.")
        .define("pairing.max.bytes", Type.INT, 1_000_000, Range.between(1000, 100_000_000), MEDIUM, "Of all halves.")
        .define(MEMORY, Type.LONG, 268_435_456L, Range.atLeast(16_777_216), MEDIUM, "Of the state in memory.")
        .define("pairing.http.port", Type.INT, 8080, Range.between(0, 65_535), MEDIUM, "Port of probes; 0 is none.");
    for (String name : new HashSet<>(names)) {
      definition.define(PREFIX + name + ".topic", Type.STRING, NO_DEFAULT_VALUE, MEDIUM, "Topic of this variant.");
      definition.define(PREFIX + name + ".request.id", Type.STRING, "request_id", MEDIUM, "Field of the request's id.");
    }
    return definition;
  }

  private static Settings read(AbstractConfig own, List<String> names, Map<String, String> given) {
    List<Source> sources = names.stream()
        .map(name -> new Source(
            name, own.getString(PREFIX + name + ".topic"), pointer(own.getString(PREFIX + name + ".request.id"))))
        .toList();
    return new Settings(
        sources,
        own.getString("pairing.output.topic"),
        own.getString("pairing.unpaired.topic"),
        own.getInt("pairing.partitions"),
        own.getInt("pairing.window.s") * 1000L,
        own.getInt("pairing.grace.s") * 1000L,
        own.getInt("pairing.idle.s") * 1000L,
        own.getInt("pairing.remember.s") * 1000L,
        own.getInt("pairing.max.bytes"),
        own.getInt("pairing.http.port"),
        kafka(given, own.getInt("pairing.max.bytes"), own.getLong(MEMORY)));
  }

  private static Properties kafka(Map<String, String> given, int maxBytes, long memoryBytes) {
    Properties kafka = new Properties();
    kafka.putAll(given);
    kafka.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    kafka.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, BoundedMemory.class.getName());
    kafka.put(MEMORY, Long.toString(memoryBytes));
    // Ids, headers and names come on top of the halves; the topic's own bound is the broker's to check.
    kafka.putIfAbsent(StreamsConfig.producerPrefix("max.request.size"), Integer.toString(maxBytes + 100_000));
    return kafka;
  }

  private List<String> topicProblems() {
    List<String> problems = new ArrayList<>();
    if (topics().size() < sources.size() + 2) {
      problems.add("pairing.*.topic: want each topic once, seen " + sources.stream().map(Source::topic).toList()
          + ", " + output + " and " + unpaired);
    }
    return problems;
  }

  /** Returns a path such as `context.request_id`, which is JMESPath too, as Jackson reads it. */
  private static JsonPointer pointer(String path) {
    return JsonPointer.compile("/" + path.replace("~", "~0").replace("/", "~1").replace('.', '/'));
  }
}
