"""The standard OTEL_* variables of export, as OpenTelemetry reads them: an empty one is not set.

>>> destination("traces", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"})
Destination(endpoint='http://collector:4318/v1/traces', protocol='http/protobuf')
>>> destination("logs", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
Destination(endpoint='http://collector:4317', protocol='grpc')
>>> destination("traces", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"})
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from worker.core.errors import BadSettings

Signal = Literal["traces", "metrics", "logs"]
HTTP, GRPC = "http/protobuf", "grpc"
SERVICE_NAME = "OTEL_SERVICE_NAME"
TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a signal goes, and by which OTLP protocol."""

    endpoint: str
    protocol: str


def destination(signal: Signal, environment: Mapping[str, str]) -> Destination | None:
    """Return where a signal goes; None if the variables do not want it exported.

    Raises `BadSettings` for an exporter or a protocol that there is not.
    """
    own = signal.upper()
    endpoint_name, endpoint = variable(environment, f"OTEL_EXPORTER_OTLP_{own}_ENDPOINT", _ENDPOINT)
    _, disabled = variable(environment, "OTEL_SDK_DISABLED")
    _, exporter = variable(environment, f"OTEL_{own}_EXPORTER")
    if not endpoint or disabled.lower() == "true" or exporter.lower() == "none":
        return None
    if exporter not in {"", "otlp"}:
        raise BadSettings(f"OTEL_{own}_EXPORTER: {exporter}; want otlp or none")
    name, protocol = variable(environment, f"OTEL_EXPORTER_OTLP_{own}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol not in {"", HTTP, GRPC}:
        raise BadSettings(f"{name}: {protocol}; want {HTTP} or {GRPC}")
    protocol = protocol or HTTP
    if endpoint_name == _ENDPOINT:  # to which OTLP over HTTP adds a path
        endpoint = endpoint.rstrip("/") + (f"/v1/{signal}" if protocol == HTTP else "")
    return Destination(endpoint, protocol)


def service_name(environment: Mapping[str, str]) -> str:
    """Return the name of this service, for the worker's own spans and for vLLM's.

    >>> service_name({"OTEL_RESOURCE_ATTRIBUTES": "service.namespace=shop,service.name=shadow"}), service_name({})
    ('shadow', 'mirrorstream')
    """
    _, name = variable(environment, SERVICE_NAME)
    _, attributes = variable(environment, "OTEL_RESOURCE_ATTRIBUTES")
    said = dict(pair.strip().partition("=")[::2] for pair in attributes.split(","))
    return name or said.get("service.name") or "mirrorstream"


def variable(environment: Mapping[str, str], *names: str) -> tuple[str, str]:
    """Return the name and the text of the first of these variables that is set; two empty texts if none is."""
    found = ((name, environment.get(name, "").strip()) for name in names)
    return next(((name, text) for name, text in found if text), ("", ""))
