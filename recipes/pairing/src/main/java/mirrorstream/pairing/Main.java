package mirrorstream.pairing;

import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Runs the pairing until SIGTERM: `java -jar pairing.jar pairing.properties`. */
public final class Main {
  private static final Logger LOG = LoggerFactory.getLogger("pairing");
  private static final Duration CLOSE_WITHIN = Duration.ofSeconds(30);
  private static final int FAILED = 1;
  private static final int BAD_SETTINGS = 2;

  private Main() {}

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 1) {
      System.err.println("usage: java -jar pairing.jar FILE.properties");
      System.exit(BAD_SETTINGS);
    }
    try {
      System.exit(run(Settings.of(read(Path.of(arguments[0])))));
    } catch (ConfigException | IOException error) {
      System.err.println(arguments[0] + ": " + error.getMessage().replace("\n", "\n" + arguments[0] + ": "));
      System.exit(BAD_SETTINGS);
    }
  }

  private static Map<String, String> read(Path file) throws IOException {
    Properties found = new Properties();
    try (Reader reader = Files.newBufferedReader(file)) {
      found.load(reader);
    }
    return found.stringPropertyNames().stream().collect(Collectors.toMap(name -> name, found::getProperty));
  }

  /** Returns the exit status. */
  private static int run(Settings settings) throws Exception {
    Counts counts = new Counts();
    KafkaStreams streams =
        new KafkaStreams(Way.topology(settings, partitions(settings), counts), settings.kafka());
    CountDownLatch ended = new CountDownLatch(1);
    int[] status = {0};
    streams.setUncaughtExceptionHandler(error -> {
      LOG.error("ends, and goes on from its last transaction when it is started again", error);
      status[0] = FAILED;
      ended.countDown();
      return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
    });
    streams.setStateListener((now, before) -> LOG.info("{}", now.name().toLowerCase(java.util.Locale.ROOT)));
    CountDownLatch closed = new CountDownLatch(1);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> {
      ended.countDown();
      try {
        closed.await();
        Runtime.getRuntime().halt(status[0]); // else the JVM ends with 143 after every SIGTERM
      } catch (InterruptedException error) {
        Thread.currentThread().interrupt();
      }
    }));
    if (settings.httpPort() > 0) {
      Pages.serve(settings.httpPort(), streams, counts);
    }
    streams.start();
    ended.await();
    streams.close(CLOSE_WITHIN);
    LOG.info("done: {}", counts.totals());
    closed.countDown();
    return status[0];
  }

  /** Returns the partitions of the sources. Throws `ConfigException` if a topic is missing. */
  private static List<String> partitions(Settings settings) throws InterruptedException, ExecutionException {
    List<String> found = new ArrayList<>();
    List<String> missing = new ArrayList<>();
    StreamsConfig config = new StreamsConfig(settings.kafka());
    try (Admin admin = Admin.create(config.getAdminConfigs("pairing-topics"))) {
      Map<String, KafkaFuture<TopicDescription>> topics = admin.describeTopics(settings.topics()).topicNameValues();
      for (Map.Entry<String, KafkaFuture<TopicDescription>> topic : topics.entrySet()) {
        try {
          int number = topic.getValue().get().partitions().size();
          boolean isSource = settings.sources().stream().anyMatch(one -> one.topic().equals(topic.getKey()));
          for (int i = 0; isSource && i < number; i++) {
            found.add(topic.getKey() + "-" + i);
          }
        } catch (ExecutionException error) {
          if (!(error.getCause() instanceof UnknownTopicOrPartitionException)) {
            throw error;
          }
          missing.add("topic " + topic.getKey() + ": is not there; create it");
        }
      }
    }
    if (!missing.isEmpty()) {
      throw new ConfigException(String.join("\n", missing));
    }
    return found;
  }
}
