"""Log lines: in the form that is wanted, with their trace, and without what nobody shall read."""

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import get_current_span

from tests.support.collector import Collector, attributes
from worker.runtime import logs
from worker.runtime.export import Exports, start_exports
from worker.runtime.export_logs import LogsExport
from worker.runtime.log_secrets import secrets_of
from worker.runtime.tracing.context import parent_of
from worker.settings import Settings

log = logging.getLogger("worker.test")


class Terminal(io.StringIO):
    """A stream that says that a person looks on."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    """Give pytest its handlers back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def logging_to(stream: io.StringIO, *secrets: str, **settings: Any) -> None:
    logs.start(Settings(**settings), secrets=secrets, stream=stream)


def test_a_machine_gets_json_with_everything_in_fields() -> None:
    stream = io.StringIO()
    logging_to(stream)
    log.warning("%s: %s; dead-lettered", "impressions[3]@1842", "avro")
    found = json.loads(stream.getvalue())
    assert found.pop("timestamp").endswith("Z")
    assert found == {"event": "impressions[3]@1842: avro; dead-lettered", "level": "warning", "logger": "worker.test"}


@pytest.mark.parametrize(
    ("stream", "form", "is_json"),
    [
        (io.StringIO(), "auto", True),
        (Terminal(), "auto", False),
        (io.StringIO(), "console", False),
        (Terminal(), "json", True),
    ],
)
def test_a_person_gets_lines(stream: io.StringIO, form: str, *, is_json: bool) -> None:
    logging_to(stream, log_format=form)
    log.info("worker ready")
    assert stream.getvalue().startswith("{") is is_json
    assert "worker ready" in stream.getvalue()


def test_a_line_has_its_trace() -> None:
    stream = io.StringIO()
    logging_to(stream)
    with TracerProvider().get_tracer("test").start_as_current_span("process") as span:
        log.info("within")
    log.info("without")
    within, without = map(json.loads, stream.getvalue().splitlines())
    assert int(within["trace_id"], 16) == span.get_span_context().trace_id
    assert int(within["span_id"], 16) == span.get_span_context().span_id
    assert "trace_id" not in without


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_line_has_a_secret_or_a_local_variable_even_in_a_traceback(form: str) -> None:
    stream = io.StringIO()
    logging_to(stream, "s3cret-word", log_format=form)
    event_text = "what a user wrote"  # a local variable, which structlog's own tracebacks show
    try:
        assert event_text
        raise ValueError("login with s3cret-word at http://me:passw0rd@registry failed")
    except ValueError:
        log.exception("it failed with %s", "s3cret-word")
    text = stream.getvalue()
    assert "ValueError" in text
    assert "Traceback" in text
    assert [one for one in ("s3cret-word", "passw0rd", event_text) if one in text] == []


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("secret", ['pa"ss', "pa\\ss", "pa'ss\"", "alpha beta\ngamma delta", "pässword"])
def test_no_line_has_a_secret_in_any_spelling(form: str, secret: str) -> None:
    stream = io.StringIO()
    logging_to(stream, secret, log_format=form)
    log.error("login with %s", secret)
    log.error("login with %r", {"password": secret})
    try:
        raise KeyError(secret)
    except KeyError:
        log.exception("failed")
    text = stream.getvalue()
    assert text.count("***") == 3
    assert [one for one in re.findall(r"\w+", secret) if len(one) > 1 and re.search(rf"\b{one}\b", text)] == []


@pytest.mark.parametrize("secret", ["event", "warning", '": "', "worker.test"])
def test_a_secret_that_is_a_word_of_the_log_does_not_break_its_lines(secret: str) -> None:
    stream = io.StringIO()
    logging_to(stream, secret)
    log.warning("login with %s", secret, stack_info=True)
    found = json.loads(stream.getvalue())
    assert (found["event"], found["level"], found["logger"]) == ("login with ***", "warning", "worker.test")


def test_the_headers_of_a_collector_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Bearer%20abcdef,x-tenant=shop-1")
    stream = io.StringIO()
    logging_to(stream)
    log.info("sent Bearer%%20abcdef to %s", "shop-1")
    log.info("sent Bearer abcdef")
    assert "abcdef" not in stream.getvalue()
    assert "shop-1" not in stream.getvalue()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_header_of_a_collector_that_is_none_is_not_told(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    """The library says which text it cannot read."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Bearer abcdef")
    for signal in ("METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    monkeypatch.setattr("opentelemetry.trace.set_tracer_provider", lambda _: None)
    stream = io.StringIO()
    logging_to(stream)
    exports = start_exports()
    assert exports is not None
    exports.stop()
    assert "Header format invalid" in stream.getvalue()
    assert "abcdef" not in stream.getvalue()


def test_what_records_bring_as_the_state_of_a_trace_is_no_line() -> None:
    stream = io.StringIO()
    logging_to(stream, log_level="debug")
    headers = (("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("tracestate", b"text,"))
    assert get_current_span(parent_of(headers)).get_span_context().is_valid
    assert stream.getvalue() == ""


def test_secrets_are_those_of_options_files_and_variables(tmp_path: Path) -> None:
    folder, token, auth = tmp_path / "kafka", tmp_path / "token", tmp_path / "auth"
    folder.mkdir()
    (folder / "sasl.password").write_text("of-a-file\n")
    (folder / "client.id").write_text("worker-1")
    token.write_text("bearer\n")
    auth.write_text("user:of-the-registry")
    settings = Settings.model_construct(
        **dict(Settings()) | {
            "kafka_options": {"ssl.key.password": "of-an-option", "client.rack": "a"},
            "kafka_secrets": folder, "schema_registry_auth_file": auth, "server_auth_file": token,
            "vllm_options": {
                "hf_token": "of-the-hub", "dtype": "half", "tokenizer_mode": "auto", "max_num_batched_tokens": 8192,
            },
        }
    )  # fmt: skip
    variables = {"HF_TOKEN": "of-a-variable", "AWS_SECRET_ACCESS_KEY": "of-a-bucket", "HOME": "/root"}
    found = set(secrets_of(settings, variables)) - {""}
    assert found == {
        "of-a-file", "of-an-option", "bearer", "user:of-the-registry", "of-the-registry", "of-the-hub", "of-a-variable",
        "of-a-bucket",
    }  # fmt: skip


def test_a_file_of_a_secret_that_is_not_there_is_others_business(tmp_path: Path) -> None:
    settings = Settings.model_construct(**dict(Settings()) | {"server_auth_file": tmp_path / "none"})
    assert list(secrets_of(settings, {})) == []


def test_warnings_of_python_are_lines_of_the_log() -> None:
    import warnings

    stream = io.StringIO()
    logging_to(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert json.loads(stream.getvalue())["logger"] == "py.warnings"


@contextmanager
def exporting(protocol: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Collector, Exports, LogsExport]]:
    """Export the log alone to a collector."""
    with Collector(protocol) as collector:
        alone = {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
        for name, value in {**collector.variables, **alone}.items():
            monkeypatch.setenv(name, value)
        exports = start_exports()
        assert exports is not None
        assert exports.logs is not None
        yield collector, exports, exports.logs


def test_a_line_that_cannot_be_formatted_is_no_error_of_whoever_logs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with exporting("http/protobuf", monkeypatch) as (collector, exports, exported):
        logs.start(Settings(), stream=io.StringIO())
        logging.getLogger().addHandler(exported.handler(str))
        log.error("%d records", "no")
        log.error("cannot read %s", b"name\xff".decode(errors="surrogateescape"))
        log.error("the next line")
        exports.stop()
    assert [one.body.string_value for one in collector.logs] == [r"cannot read name\udcff", "the next line"]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_lines_go_to_the_collector_with_their_trace_and_without_secrets(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    with exporting(protocol, monkeypatch) as (collector, exports, exported):
        clean = logs.start(Settings(), secrets=["s3cret-word"], stream=io.StringIO())
        logging.getLogger().addHandler(exported.handler(clean))
        with TracerProvider().get_tracer("test").start_as_current_span("process") as span:
            log.warning("a line with s3cret-word")
        try:
            raise ValueError("s3cret-word")
        except ValueError:
            log.exception("failed")
        logging.getLogger("opentelemetry.exporter").error("a line that would cause the next one")
        exports.stop()
    first, second = collector.logs
    assert (first.body.string_value, first.severity_text) == ("a line with ***", "WARN")
    assert int.from_bytes(first.trace_id) == span.get_span_context().trace_id
    assert attributes(second.attributes)["exception.type"] == "ValueError"
    assert "s3cret-word" not in str(second)
    assert set(collector.requests) == {"ExportLogsServiceRequest"}


@pytest.mark.parametrize("form", ["console", "json"])
def test_names_from_outside_make_no_line_and_move_no_terminal(form: str) -> None:
    """An id of an experiment is any text: one forged a line, and another cleared the screen."""
    stream = io.StringIO()
    logging_to(stream, log_format=form)
    log.warning("experiment %s: RUNNING", 'a\n{"level": "error"}\x1b[2J\x9b2J\u202e')
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.removesuffix("\n").isprintable()
    if form == "json":
        assert json.loads(text)["event"] == 'experiment a\n{"level": "error"}\x1b[2J\x9b2J\u202e: RUNNING'
