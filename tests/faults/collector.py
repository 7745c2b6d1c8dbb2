"""Where a worker's spans go in a long run: taken over OTLP, counted, forgotten.

with Collector() as collector:
    stage.variables |= collector.variables
    ...
    collector.num_spans
"""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """An OTLP receiver over http/protobuf on a free port of loopback."""

    def __init__(self) -> None:
        """Take the port."""
        self.num_spans = 0
        self._server = HTTPServer(("127.0.0.1", 0), _handler(self))

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that sends every span here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_TRACES_SAMPLER": "always_on",
        }

    def take(self, body: bytes) -> None:
        """Count what one request has."""
        request = ExportTraceServiceRequest.FromString(body)
        self.num_spans += sum(len(scope.spans) for one in request.resource_spans for scope in one.scope_spans)

    def __enter__(self) -> Self:
        """Begin to answer."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """End, with the thread."""
        self._server.shutdown()
        self._server.server_close()


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers the exporter."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.take(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    return Handler
