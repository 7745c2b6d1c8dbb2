package mirrorstream.pairing;

import static java.nio.charset.StandardCharsets.UTF_16;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.apache.kafka.common.config.ConfigException;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.TestOutputTopic;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.test.TestRecord;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** What leaves and when, with Kafka Streams' own driver: without brokers, and with a clock that the test moves. */
class PairingTest {
  private static final long NOW_MS = 1_793_491_200_000L;
  private static final int WINDOW_S = 10;
  private static final int GRACE_S = 20;
  private static final int IDLE_S = 40;
  private static final int REMEMBER_S = 100;

  @TempDir Path state;
  private TopologyTestDriver driver;
  private TestOutputTopic<byte[], byte[]> impressions;
  private TestOutputTopic<byte[], byte[]> unpaired;

  @BeforeEach
  void start() {
    start(Map.of());
  }

  @AfterEach
  void end() {
    driver.close();
  }

  private void start(Map<String, String> more) {
    Map<String, String> given = new HashMap<>(Map.of(
        "bootstrap.servers", "none:1", "application.id", "test", "state.dir", state.toString(),
        "pairing.control.topic", "control", "pairing.candidate.topic", "candidate",
        "pairing.window.s", "" + WINDOW_S, "pairing.grace.s", "" + GRACE_S, "pairing.idle.s", "" + IDLE_S,
        "pairing.remember.s", "" + REMEMBER_S));
    given.putAll(more);
    if (more.containsKey("pairing.candidates")) {
      given.remove("pairing.candidate.topic");
    }
    Settings settings = Settings.of(given);
    List<String> partitions = settings.sources().stream().map(source -> source.topic() + "-0").toList();
    driver = new TopologyTestDriver(
        Way.topology(settings, partitions, new Counts()), settings.kafka(), Instant.ofEpochMilli(NOW_MS));
    impressions = driver.createOutputTopic("impressions", new ByteArrayDeserializer(), new ByteArrayDeserializer());
    unpaired = driver.createOutputTopic(
        "impressions.unpaired", new ByteArrayDeserializer(), new ByteArrayDeserializer());
  }

  private void send(String topic, long atS, byte[] value) {
    Headers headers = new RecordHeaders().add("traceparent", topic.getBytes(UTF_8));
    driver.createInputTopic(topic, new ByteArraySerializer(), new ByteArraySerializer())
        .pipeInput(new TestRecord<>("user".getBytes(UTF_8), value, headers, NOW_MS + atS * 1000));
  }

  private void send(String topic, String id, long atS) {
    send(topic, atS, half(id).getBytes(UTF_8));
  }

  private void pass(long seconds) {
    driver.advanceWallClockTime(Duration.ofSeconds(seconds));
  }

  private static String half(String id) {
    return "{\"request_id\": \"" + id + "\", \"price\": 1.10}";
  }

  private List<String> left() {
    return impressions.readValuesToList().stream().map(value -> new String(value, UTF_8)).toList();
  }

  private List<String> aside() {
    return unpaired.readRecordsToList().stream()
        .map(record -> Headings.text(record.headers(), Headings.REASON)
            + " " + Headings.text(record.headers(), Headings.TOPIC))
        .toList();
  }

  private static String pair(String id) {
    return "{\"control\":" + half(id) + ",\"candidate\":" + half(id) + "}";
  }

  private static String alone(String id) {
    return "{\"control\":" + half(id) + ",\"candidate\":null}";
  }

  @Test
  void aPairLeavesAtOnceAsItWasLoggedWithKeyTimeAndHeadersOfControl() {
    send("candidate", "r1", -WINDOW_S);
    send("control", "r1", 0);
    TestRecord<byte[], byte[]> found = impressions.readRecord();
    assertEquals(pair("r1"), new String(found.value(), UTF_8));
    assertEquals("user", new String(found.key(), UTF_8));
    assertEquals(NOW_MS, found.timestamp());
    assertEquals(1, found.headers().toArray().length);
    assertEquals("control", Headings.text(found.headers(), "traceparent"));
  }

  @Test
  void anAbsentCandidateIsToldOnceAllPartitionsHaveComeSoFar() {
    send("control", "r1", -1000);
    send("control", "r2", -1000 + WINDOW_S + GRACE_S + 1);
    pass(1);
    assertEquals(List.of(), left()); // the candidate's partition may yet have it
    send("candidate", "r3", -1000 + WINDOW_S + GRACE_S);
    pass(1);
    assertEquals(List.of(), left());
    send("candidate", "r4", -1000 + WINDOW_S + GRACE_S + 1);
    pass(1);
    assertEquals(List.of(alone("r1")), left());
  }

  @Test
  void aPartitionThatIsReadLaterMakesNoCandidateAbsent() {
    send("control", "r1", -9000);
    send("control", "r2", -1);
    pass(IDLE_S - 1);
    send("candidate", "r1", -9000);
    assertEquals(List.of(pair("r1")), left());
  }

  @Test
  void aPartitionWithoutNewsHoldsTimeBackNoLonger() {
    send("control", "r1", -1000);
    pass(IDLE_S);
    send("control", "r2", -900);
    pass(2);
    assertEquals(List.of(alone("r1")), left());
  }

  @Test
  void whereNothingComesTimeGoesOnByTheClockFromTheNewestRecord() {
    send("control", "r1", -1000);
    send("candidate", "r2", -1000);
    pass(WINDOW_S + GRACE_S + 1);
    assertEquals(List.of(), left()); // neither is idle yet
    pass(IDLE_S);
    assertEquals(List.of(alone("r1")), left());
    assertEquals(List.of("no_control candidate"), aside());
  }

  @Test
  void aRecordOfTheFutureClosesNothing() {
    send("control", "r1", 0);
    send("control", "r2", 1_000_000);
    send("candidate", "r3", 1_000_000);
    pass(1);
    send("candidate", "r1", 0);
    assertEquals(List.of(pair("r1")), left());
  }

  @Test
  void whatComesAgainIsSetAsideBeforeAndAfterItsRequestLeft() {
    send("control", "r1", 0);
    send("control", "r1", 0);
    send("candidate", "r1", 0);
    send("candidate", "r1", 0);
    send("control", "r1", 0);
    assertEquals(List.of(pair("r1")), left());
    assertEquals(List.of("duplicate control", "duplicate candidate", "duplicate control"), aside());
  }

  @Test
  void aCandidateThatComesTooLateIsSetAsideAndAControlLeavesAlone() {
    send("control", "r1", -1000);
    send("candidate", "r2", -1000);
    send("control", "r3", -900);
    send("candidate", "r3", -900);
    pass(1);
    assertEquals(List.of(pair("r3"), alone("r1")), left());
    send("candidate", "r1", -1000);
    send("control", "r2", -1000);
    send("control", "r2", -1000);
    assertEquals(List.of(alone("r2")), left());
    assertEquals(List.of("no_control candidate", "late candidate", "duplicate control"), aside());
  }

  @Test
  void whatIsOlderThanTheMemoryIsSetAsideForItMayHaveLeftBefore() {
    send("control", "r1", -1000);
    send("candidate", "r1", -1000);
    send("control", "r2", -1000 + WINDOW_S + GRACE_S + REMEMBER_S + 1);
    send("candidate", "r2", -1000 + WINDOW_S + GRACE_S + REMEMBER_S + 1);
    pass(1);
    pass(1);
    send("control", "r1", -1000);
    assertEquals(List.of(pair("r1"), pair("r2")), left());
    assertEquals(List.of("late control"), aside());
  }

  @Test
  void halvesFurtherApartThanTheWindowAreNoPair() {
    send("control", "r1", -100);
    send("candidate", "r1", -100 + WINDOW_S + 1);
    send("candidate", "r2", -100);
    send("control", "r2", -100 + WINDOW_S + 1);
    send("candidate", "r2", -100 + WINDOW_S + 2);
    assertEquals(List.of(pair("r2")), left());
    assertEquals(List.of("outside_window candidate", "outside_window candidate"), aside());
  }

  @Test
  void whatIsTooLargeForAPairLeavesItsPlaceOrItself() {
    end();
    start(Map.of("pairing.max.bytes", "1000"));
    String long1 = "{\"request_id\": \"r1\", \"text\": \"" + "x".repeat(600) + "\"}";
    send("control", 0, long1.getBytes(UTF_8));
    send("candidate", 0, long1.getBytes(UTF_8));
    TestRecord<byte[], byte[]> both = unpaired.readRecord();
    assertEquals("too_large", Headings.text(both.headers(), Headings.REASON));
    assertEquals(long1, new String(both.value(), UTF_8));
    send("control", 0, long1.replace("x", "yy").getBytes(UTF_8));
    TestRecord<byte[], byte[]> one = unpaired.readRecord();
    assertEquals("too_large", Headings.text(one.headers(), Headings.REASON));
    assertEquals("1", Headings.text(one.headers(), Headings.OFFSET));
    assertNull(one.value());
    assertNull(one.key());
  }

  static Stream<Arguments> unfit() {
    return Stream.of(
        Arguments.of(null, "unreadable"),
        Arguments.of(new byte[0], "unreadable"),
        Arguments.of("hello".getBytes(UTF_8), "unreadable"),
        Arguments.of("[1]".getBytes(UTF_8), "unreadable"),
        Arguments.of("{\"request_id\": \"a\"} {}".getBytes(UTF_8), "unreadable"),
        Arguments.of("{\"request_id\": NaN}".getBytes(UTF_8), "unreadable"),
        Arguments.of(("[".repeat(5000) + "]".repeat(5000)).getBytes(UTF_8), "unreadable"),
        Arguments.of(half("a").getBytes(UTF_16), "unreadable"),
        Arguments.of(new byte[] {'{', '"', (byte) 0xFF, '"', ':', '1', '}'}, "unreadable"),
        Arguments.of("{\"id\": \"a\"}".getBytes(UTF_8), "no_request_id"),
        Arguments.of("{\"request_id\": \"\"}".getBytes(UTF_8), "no_request_id"),
        Arguments.of("{\"request_id\": null}".getBytes(UTF_8), "no_request_id"),
        Arguments.of("{\"request_id\": 1.5}".getBytes(UTF_8), "no_request_id"),
        Arguments.of("{\"request_id\": [\"a\"]}".getBytes(UTF_8), "no_request_id"),
        Arguments.of(half("a".repeat(501)).getBytes(UTF_8), "no_request_id"));
  }

  @ParameterizedTest
  @MethodSource("unfit")
  void whatHasNoIdIsSetAsideAsItWasLoggedAndNothingEnds(byte[] value, String reason) {
    send("control", 0, value);
    TestRecord<byte[], byte[]> found = unpaired.readRecord();
    assertEquals(reason, Headings.text(found.headers(), Headings.REASON));
    assertEquals("0", Headings.text(found.headers(), Headings.OFFSET));
    assertEquals("user", new String(found.key(), UTF_8));
    assertArrayEquals(value, found.value());
    send("control", "r1", 0);
    send("candidate", "r1", 0);
    assertEquals(List.of(pair("r1")), left());
  }

  @Test
  void aNumberIsAnIdAndAByteOrderMarkIsReadPast() {
    send("control", 0, "{\"request_id\": 17}".getBytes(UTF_8));
    send("candidate", 0, "\uFEFF{\"request_id\": \"17\"}".getBytes(UTF_8));
    assertEquals(List.of("{\"control\":{\"request_id\": 17},\"candidate\":{\"request_id\": \"17\"}}"), left());
  }

  @Test
  void severalCandidatesAreWaitedForAndEachIsToldByItsName() {
    end();
    start(Map.of("pairing.candidates", "b, c", "pairing.b.topic", "b", "pairing.c.topic", "c",
        "pairing.c.request.id", "context.id"));
    send("b", "r1", -1000);
    send("control", "r1", -1000);
    assertEquals(List.of(), left());
    send("c", -1000, "{\"context\": {\"id\": \"r1\"}}".getBytes(UTF_8));
    send("control", "r2", -1000);
    send("c", -1000, "{\"context\": {\"id\": \"r2\"}}".getBytes(UTF_8));
    pass(IDLE_S + WINDOW_S + GRACE_S + 1);
    String start = "{\"control\":" + half("r1") + ",\"b\":" + half("r1") + ",\"c\":{\"context\": {\"id\": \"r1\"}}}";
    String absent = "{\"control\":" + half("r2") + ",\"b\":null,\"c\":{\"context\": {\"id\": \"r2\"}}}";
    assertEquals(List.of(start, absent), left());
  }

  @Test
  void allProblemsOfTheSettingsAreToldAtOnce() {
    Map<String, String> wrong = Map.of(
        "pairing.candidates", "a-b,control", "pairing.window.s", "soon", "pairing.windows", "1",
        "processing.guarantee", "at_least_once");
    String told = assertThrows(ConfigException.class, () -> Settings.of(wrong)).getMessage();
    for (String name : List.of("'a-b'", "none 'control'", "pairing.window.s", "pairing.windows", "bootstrap.servers",
        "application.id", "exactly_once_v2", "pairing.control.topic")) {
      assertTrue(told.contains(name), name + ": " + told);
    }
    Map<String, String> twice = Map.of("bootstrap.servers", "a:1", "application.id", "a",
        "pairing.control.topic", "one", "pairing.candidate.topic", "one");
    assertTrue(assertThrows(ConfigException.class, () -> Settings.of(twice)).getMessage().contains("each topic once"));
  }

  @Test
  void whatIsStoredIsReadAsItWas() {
    Request request = new Request(2);
    request.came[1] = true;
    request.closesMs = NOW_MS;
    Headers headers = new RecordHeaders().add("a", null).add("b", new byte[] {1}).add("ä".repeat(40_000), null);
    request.halves[1] = new Request.Half(NOW_MS, null, new byte[] {2}, headers);
    Request read = Request.of(request.toBytes(), 2);
    assertArrayEquals(request.toBytes(), read.toBytes());
    assertEquals(headers, read.halves[1].headers());
    assertTrue(assertThrows(IllegalStateException.class, () -> Request.of(request.toBytes(), 3)).getMessage()
        .contains("another application.id"));
  }
}
