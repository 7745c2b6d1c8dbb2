"""An OTLP receiver over HTTP or gRPC, for what a worker exports: traces, metrics and logs.

with Collector() as collector:
    stage.variables |= collector.variables
    ...
    collector.spans
"""

import gzip
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs, logs_service_pb2_grpc as logs_grpc
from opentelemetry.proto.collector.metrics.v1 import (
    metrics_service_pb2 as metrics,
    metrics_service_pb2_grpc as metrics_grpc,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces, trace_service_pb2_grpc as traces_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_REQUESTS: dict[str, Callable[[bytes], Any]] = {
    "/v1/traces": traces.ExportTraceServiceRequest.FromString,
    "/v1/metrics": metrics.ExportMetricsServiceRequest.FromString,
    "/v1/logs": logs.ExportLogsServiceRequest.FromString,
}


class Collector:
    """A receiver on a free port of loopback, or on `port`; it forgets what it counted unless it shall `keep` it.

    `resources` has the attributes of every process that sent something, `schema_urls` those of its scopes.  Requests
    wait while `awake` is not set.
    """

    def __init__(self, protocol: str = "http/protobuf", *, keep: bool = True, port: int = 0) -> None:
        self.protocol = protocol
        self.num_spans = 0
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}  # the last one of each name
        self.logs: list[LogRecord] = []
        self.schema_urls: set[str] = set()
        self.resources: list[dict[str, Any]] = []
        self.requests: Counter[str] = Counter()
        self._keep = keep
        self.awake = threading.Event()
        self.awake.set()
        self.is_dead = False
        if protocol == "grpc":
            self._rpc = grpc.server(ThreadPoolExecutor(4))
            traces_grpc.add_TraceServiceServicer_to_server(_Service(self, traces.ExportTraceServiceResponse), self._rpc)
            metrics_grpc.add_MetricsServiceServicer_to_server(
                _Service(self, metrics.ExportMetricsServiceResponse), self._rpc
            )
            logs_grpc.add_LogsServiceServicer_to_server(_Service(self, logs.ExportLogsServiceResponse), self._rpc)
            self.port = self._rpc.add_insecure_port(f"127.0.0.1:{port}")
        else:
            self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
            self._http.daemon_threads = True
            self.port = self._http.server_port

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that sends everything here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
        }

    def take(self, request: Any) -> None:
        """Keep, or count, what one request has."""
        self.awake.wait()
        self.requests[type(request).__name__] += 1
        if isinstance(request, traces.ExportTraceServiceRequest):
            spans = [span for one in request.resource_spans for scope in one.scope_spans for span in scope.spans]
            self.num_spans += len(spans)
            self._see(spans if self._keep else [], request)
        elif isinstance(request, metrics.ExportMetricsServiceRequest):
            for one in request.resource_metrics:
                self.metrics |= {metric.name: metric for scope in one.scope_metrics for metric in scope.metrics}
        else:
            self.logs += [
                record
                for one in request.resource_logs
                for scope in one.scope_logs
                for record in scope.log_records
                if self._keep
            ]

    def _see(self, spans: list[Span], request: traces.ExportTraceServiceRequest) -> None:
        self.spans += spans
        for one in request.resource_spans if self._keep else ():
            self.resources.append(attributes(one.resource.attributes))
            self.schema_urls |= {scope.schema_url for scope in one.scope_spans}

    def __enter__(self) -> Self:
        """Begin to answer."""
        if self.protocol == "grpc":
            self._rpc.start()
        else:
            threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """End, with the threads; nobody answers on connections that are still open."""
        self.is_dead = True
        self.awake.set()
        if self.protocol == "grpc":
            self._rpc.stop(0).wait()
        else:
            self._http.shutdown()
            self._http.server_close()


class _Service:
    """The service of one signal over gRPC."""

    def __init__(self, collector: Collector, answer: Callable[[], Any]) -> None:
        self._collector, self._answer = collector, answer

    def Export(self, request: Any, _context: object) -> Any:  # noqa: N802 - the protocol's name
        self._collector.take(request)
        return self._answer()


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers the exporter."""

        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if collector.is_dead:
                self.close_connection = True
                return
            plain = gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body
            collector.take(_REQUESTS[self.path](plain))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    return Handler


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """Return attributes as plain values."""
    return {pair.key: _plain(pair.value) for pair in pairs}


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None
