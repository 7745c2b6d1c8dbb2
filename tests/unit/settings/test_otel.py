"""Where traces go: one reading of the variables, for the worker's own spans and for vLLM's."""

import os

import pytest

from worker.core.errors import BadSettings
from worker.engines.local import vllm
from worker.settings.otel import Destination, destination

ALL, OF_TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOL, TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
HTTP, GRPC = "http://127.0.0.1:4318", "http://127.0.0.1:4317"
READ = [
    ({OF_TRACES: f"{HTTP}/here"}, Destination(f"{HTTP}/here", "http/protobuf")),
    ({ALL: f"{HTTP}/"}, Destination(f"{HTTP}/v1/traces", "http/protobuf")),
    ({ALL: HTTP, OF_TRACES: f" {HTTP}/here "}, Destination(f"{HTTP}/here", "http/protobuf")),
    ({ALL: HTTP, OF_TRACES: " "}, Destination(f"{HTTP}/v1/traces", "http/protobuf")),
    ({ALL: GRPC, PROTOCOL: "grpc"}, Destination(GRPC, "grpc")),
    ({ALL: GRPC, PROTOCOL: "http/protobuf", TRACES_PROTOCOL: "grpc"}, Destination(GRPC, "grpc")),
    ({ALL: HTTP, "OTEL_TRACES_EXPORTER": "otlp"}, Destination(f"{HTTP}/v1/traces", "http/protobuf")),
    ({}, None),
    ({PROTOCOL: "grpc"}, None),
    ({ALL: HTTP, "OTEL_TRACES_EXPORTER": "None"}, None),
    ({ALL: HTTP, "OTEL_SDK_DISABLED": " TRUE"}, None),
]


@pytest.mark.parametrize(("variables", "wanted"), READ)
def test_the_variables_are_read_as_opentelemetry_says(variables: dict[str, str], wanted: Destination | None) -> None:
    assert destination("traces", variables) == wanted


@pytest.mark.parametrize(("variables", "wanted"), READ)
def test_vllm_traces_where_the_worker_does(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: Destination | None
) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name in (TRACES_PROTOCOL, "OTEL_SERVICE_NAME"):
        monkeypatch.setenv(name, "")  # put back after the test, which sets it
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert vllm._traces_endpoint() == (wanted.endpoint if wanted else None)
    if wanted:
        assert os.environ[TRACES_PROTOCOL] == wanted.protocol


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({PROTOCOL: "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL: http/json; want http/protobuf or grpc"),
        (
            {TRACES_PROTOCOL: "thrift", PROTOCOL: "grpc"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: thrift; want http/protobuf or grpc",
        ),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: zipkin; want otlp or none"),
    ],
)
def test_what_there_is_not_is_refused_with_the_variables_name(variables: dict[str, str], told: str) -> None:
    with pytest.raises(BadSettings) as refused:
        destination("traces", {ALL: HTTP} | variables)
    assert str(refused.value) == told
