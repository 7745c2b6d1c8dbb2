"""What a worker logs at debug, with everything that the Kafka client says: no secret, no event text, no key."""

import json
from pathlib import Path

import pytest

from tests.support.events import encode, impression
from tests.support.harness import Stage, send_raw

SECRETS = {
    "kafka": "kafka-passw0rd-1",
    "pem": "pem-passphrase-2",
    "registry": "registry-passw0rd-3",
    "address": "address-passw0rd-4",
    "collector": "collector-token-5",
    "hub": "hub-token-6",
}
TEXTS = ("A film that nobody shall read of", "user-of-the-test")


def grep(log: str) -> list[str]:
    """Return what a log should not have."""
    return [one for one in (*SECRETS.values(), *TEXTS) if one in log]


def secret_settings(folder: Path) -> dict[str, str]:
    """Return settings of every place where a secret may stand; nothing of them is reached."""
    secrets, auth = folder / "secrets", folder / "auth"
    secrets.mkdir()
    (secrets / "sasl.password").write_text(SECRETS["kafka"])
    (secrets / "ssl.key.password").write_text(SECRETS["pem"])
    auth.write_text(f"worker:{SECRETS['registry']}")
    return {
        "kafka_secrets": str(secrets),
        "kafka_options": json.dumps({"debug": "all", "sasl.mechanism": "PLAIN", "sasl.username": "worker"}),
        "schema_registry_url": "http://registry.invalid:1",
        "schema_registry_auth_file": str(auth),
        "log_level": "debug",
    }


@pytest.fixture
def hidden(stage: Stage) -> Stage:
    stage.variables |= {
        "HF_TOKEN": SECRETS["hub"],
        "HTTP_PROXY": f"http://worker:{SECRETS['address']}@127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={SECRETS['collector']}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    return stage


def test_no_log_line_has_a_secret_whatever_fails(hidden: Stage, tmp_path: Path) -> None:
    """Neither Kafka nor the registry nor the collector is there, so each says why at length."""
    settings = secret_settings(tmp_path)
    with hidden.worker(**settings | {"bootstrap_servers": "127.0.0.1:1"}) as worker:
        worker.until(lambda: "does not answer" in worker.log and "rdkafka" in worker.log, "complaint of Kafka")
        worker.until(lambda: "the collector takes no" in worker.log, "complaint of the collector")
        worker.stop()
    assert grep(worker.log) == []
    assert "Traceback" not in worker.log


def test_a_secret_is_hidden_wherever_it_turns_up(hidden: Stage) -> None:
    """Even in the name of a topic, which a worker logs that waits for it."""
    with hidden.worker(input_topics=f"topic-{SECRETS['hub']}") as worker:
        worker.until(lambda: "topic-***" in worker.log, "line that names the topic")
        worker.stop()
    assert grep(worker.log) == []


def test_a_run_at_debug_logs_no_text_and_no_key(hidden: Stage) -> None:
    hidden.create(partitions=1)
    event = impression(0)
    event["user"] |= {"user_id": TEXTS[1], "profile_text": TEXTS[0]}
    event["slates"][0]["items"][0]["attributes"]["title"] = TEXTS[0]
    send_raw(hidden, [(TEXTS[1].encode(), encode(event)), (TEXTS[1].encode(), TEXTS[0].encode())])
    worker = hidden.run("--until-end", log_level="debug", kafka_options=json.dumps({"debug": "all"}))
    assert "3 responses, 1 dead letters" in worker.log, worker.log[-2_000:]
    assert grep(worker.log) == []


def test_a_healthy_worker_is_quiet(stage: Stage) -> None:
    """One line for a change of state, and none a tick or an event."""
    stage.create(partitions=1)
    with stage.worker(log_format="json") as worker:
        worker.until_ready()
        num_lines = len(worker.log.splitlines())
        send_raw(stage, [(b"user", encode(impression(number))) for number in range(50)])
        worker.until(lambda: worker.metric("end_to_end_seconds_count") == 50, "commits")
        assert worker.log.splitlines()[num_lines:] == []
        assert worker.stop() == 0
    lines = [json.loads(line) for line in worker.log.splitlines()]
    assert {"event", "level", "logger", "timestamp"} <= set.intersection(*map(set, lines))
    assert {line["level"] for line in lines} == {"info"}
