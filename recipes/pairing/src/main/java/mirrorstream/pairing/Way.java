package mirrorstream.pairing;

import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.state.Stores;

/**
 * The way of a half, as Kafka Streams sees it.
 *
 * <pre>
 *   topics of the halves  ->  Keyer  ->  inner topic, by request id  ->  Pairer  ->  impressions, or unpaired ones
 * </pre>
 */
final class Way {
  private static final Serde<byte[]> BYTES = Serdes.ByteArray();

  private Way() {}

  /** Returns the topology; `partitions` are those of the sources, such as `candidate-slates-0`. */
  static Topology topology(Settings settings, List<String> partitions, Counts counts) {
    StreamsBuilder builder = new StreamsBuilder();
    builder.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(Pairer.STORE), BYTES, BYTES)
        .withCachingDisabled());
    List<String> topics = settings.sources().stream().map(Settings.Source::topic).toList();
    builder.stream(topics, Consumed.with(BYTES, BYTES).withTimestampExtractor(Way::timeMs))
        .process(() -> new Keyer(settings))
        .repartition(Repartitioned.with(BYTES, BYTES).withName("halves").withNumberOfPartitions(settings.partitions()))
        .process(() -> new Pairer(settings, partitions, counts), Pairer.STORE)
        .to((key, value, context) -> context.headers().lastHeader(Headings.REASON) == null
            ? settings.output() : settings.unpaired(), Produced.with(BYTES, BYTES));
    return builder.build();
  }

  /** Returns a record's time; records of clients before Kafka 0.10 have none, and Streams would end at them. */
  private static long timeMs(ConsumerRecord<Object, Object> record, long partitionTimeMs) {
    return record.timestamp() >= 0 ? record.timestamp() : System.currentTimeMillis();
  }
}
