"""The standard OTEL_* variables of traces, as OpenTelemetry reads them: an empty one is not set.

>>> traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"})
Traces(endpoint='http://collector:4318/v1/traces', protocol='http/protobuf')
>>> traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
Traces(endpoint='http://collector:4317', protocol='grpc')
>>> traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"})
"""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.core.errors import BadSettings

HTTP, GRPC = "http/protobuf", "grpc"
TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
_TRACES_ENDPOINT, _ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
_PATH = "/v1/traces"  # which OTLP over HTTP adds to the endpoint of all signals


@dataclass(frozen=True, slots=True)
class Traces:
    """Where traces go, and by which OTLP protocol."""

    endpoint: str
    protocol: str


def traces(environment: Mapping[str, str]) -> Traces | None:
    """Return where traces go; None if the variables want none.

    Raises `BadSettings` for an exporter or a protocol that there is not.
    """
    endpoint_name, endpoint = variable(environment, _TRACES_ENDPOINT, _ENDPOINT)
    _, disabled = variable(environment, "OTEL_SDK_DISABLED")
    _, exporter = variable(environment, "OTEL_TRACES_EXPORTER")
    if not endpoint or disabled.lower() == "true" or exporter.lower() == "none":
        return None
    if exporter not in {"", "otlp"}:
        raise BadSettings(f"OTEL_TRACES_EXPORTER: {exporter}; want otlp or none")
    name, protocol = variable(environment, TRACES_PROTOCOL, "OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in {"", HTTP, GRPC}:
        raise BadSettings(f"{name}: {protocol}; want {HTTP} or {GRPC}")
    protocol = protocol or HTTP
    if endpoint_name == _ENDPOINT:
        endpoint = endpoint.rstrip("/") + (_PATH if protocol == HTTP else "")
    return Traces(endpoint, protocol)


def variable(environment: Mapping[str, str], *names: str) -> tuple[str, str]:
    """Return the name and the text of the first of these variables that is set; two empty texts if none is."""
    found = ((name, environment.get(name, "").strip()) for name in names)
    return next(((name, text) for name, text in found if text), ("", ""))
