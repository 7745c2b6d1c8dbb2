package mirrorstream.pairing;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.Locale;
import org.apache.kafka.streams.KafkaStreams;

/** What Kubernetes and Prometheus ask: `/livez`, `/readyz` and `/metrics`. */
final class Pages {
  private final KafkaStreams streams;
  private final Counts counts;

  private Pages(KafkaStreams streams, Counts counts) {
    this.streams = streams;
    this.counts = counts;
  }

  /** Answers on a port of all addresses until the process ends. */
  static void serve(int port, KafkaStreams streams, Counts counts) throws IOException {
    Pages pages = new Pages(streams, counts);
    HttpServer server = HttpServer.create(new InetSocketAddress(port), 0);
    server.createContext("/livez", exchange -> pages.state(exchange, streams.state().isRunningOrRebalancing()
        || streams.state() == KafkaStreams.State.CREATED));
    server.createContext("/readyz", exchange -> pages.state(exchange, streams.state() == KafkaStreams.State.RUNNING));
    server.createContext("/metrics", exchange -> answer(exchange, 200, pages.metrics()));
    server.start();
  }

  private void state(HttpExchange exchange, boolean isFine) throws IOException {
    answer(exchange, isFine ? 200 : 503, streams.state().name().toLowerCase(Locale.ROOT) + "\n");
  }

  private String metrics() {
    StringBuilder text = new StringBuilder();
    counts.totals().forEach((series, total) -> text.append(series).append(' ').append(total).append('\n'));
    double lag = streams.metrics().values().stream()
        .filter(metric -> metric.metricName().name().equals("records-lag"))
        .mapToDouble(metric -> (double) metric.metricValue())
        .filter(value -> !Double.isNaN(value))
        .sum();
    text.append("mirrorstream_pairing_lag_records ").append((long) lag).append('\n');
    text.append("mirrorstream_pairing_behind_seconds ").append(counts.behindMs() / 1000.0).append('\n');
    return text.toString();
  }

  private static void answer(HttpExchange exchange, int status, String text) throws IOException {
    byte[] body = text.getBytes(UTF_8);
    exchange.getResponseHeaders().set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    exchange.sendResponseHeaders(status, body.length);
    exchange.getResponseBody().write(body);
    exchange.close();
  }
}
