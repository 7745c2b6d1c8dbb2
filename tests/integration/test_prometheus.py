"""A real Prometheus and a worker with vLLM: what dashboards and alerts name is there, and rules load."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.test_alerts import CHART, alerts
from tests.support.events import encode, impression
from tests.support.harness import Stage, Worker, send_raw
from tests.support.patience import patience
from tests.support.prometheus import Prometheus, prometheus

NUM_EVENTS = 6
TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = [("traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())]
SELECTOR = re.compile(r"(?:mirrorstream_|vllm:)\w+(?:\{[^}]*\})?")
RULES = [CHART / "rules" / "worker.yaml"]
# With another engine alone; their families are there with every engine.
OF_SERVERS = "mirrorstream_server_"


def queries() -> list[str]:
    """Return every query of the dashboards and rules on workers, for all jobs and five minutes."""
    dashboard: dict[str, Any] = json.loads((CHART / "dashboards" / "worker.json").read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    alerted = [alert["expr"] for alert in alerts() if "mirrorstream_experiment" not in alert["expr"]]
    found = [query.replace("$job", ".*").replace("$__rate_interval", "5m") for query in (*shown, *alerted)]
    assert len(found) > 100
    return found


@pytest.fixture(scope="module")
def selectors() -> set[str]:
    return {selector for query in queries() for selector in SELECTOR.findall(query)}


@pytest.fixture
def worker(stage: Stage) -> Iterator[Worker]:
    """A worker that follows definitions, and has answered some events, which came with a sampled trace."""
    stage.create()
    steering = {"experiments_topic": f"{stage.name}-definitions", "readouts_topic": f"{stage.name}-readouts"}
    for topic in steering.values():
        stage.create_topic(topic)
    events = (impression(number, num_items=5) for number in range(NUM_EVENTS))
    send_raw(stage, ((event["user"]["user_id"].encode(), encode(event)) for event in events), headers=HEADERS)
    with stage.worker(engine="vllm", model="mirror-tiny", max_tokens=160, max_num_seqs=16, **steering) as worker:
        worker.until(
            lambda: worker.metric("end_to_end_seconds_count") == NUM_EVENTS, "every event", timeout_s=patience(180)
        )
        yield worker


def test_what_dashboards_and_alerts_name_is_there(worker: Worker, selectors: set[str], tmp_path: Path) -> None:
    text = worker.page("/metrics")[1]
    assert "Ready: it answers impressions." in worker.page("/")[1]
    with prometheus(tmp_path, {"worker": f"127.0.0.1:{worker.port}"}, RULES) as server:
        server.until(lambda: bool(server.query("mirrorstream_build_info")), "scraped worker")
        assert server.query("up")[0]["value"][1] == "1"
        missing = [one for one in selectors if not one.startswith(OF_SERVERS) and not server.query(f"count({one})")]
        assert missing == []
        families = {re.split(r"\{|_bucket", one)[0] for one in selectors if one.startswith(OF_SERVERS)}
        assert families
        assert [one for one in families if f"\n# TYPE {one} " not in text] == []
        for query in queries():
            server.query(query)  # raises if it refuses one
        see_that_rules_are_evaluated(server)
        for name in ("draw_duration_seconds", "end_to_end_seconds"):
            server.until(lambda name=name: TRACE in exemplars(server, name), f"trace among the exemplars of {name}")  # type: ignore[misc]


def see_that_rules_are_evaluated(server: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
        return found

    server.until(lambda: all(rule["health"] != "unknown" for rule in rules()), "evaluation of each rule")
    named = [alert["alert"] for alert in alerts() if "mirrorstream_experiment" not in alert["expr"]]
    assert [rule["name"] for rule in rules()] == named
    assert {(rule["health"], rule.get("lastError", "")) for rule in rules()} == {("ok", "")}
    firing = [rule["name"] for rule in rules() if rule["state"] == "firing"]
    assert firing == [], "of a healthy worker"


def exemplars(server: Prometheus, name: str) -> set[str]:
    """Return the traces that a histogram names; Prometheus finds them in OpenMetrics alone."""
    now_s = time.time()
    found = server.get(
        "query_exemplars",
        query=f"mirrorstream_{name}_bucket",
        start=str(now_s - 3_600),
        end=str(now_s + 60),
    )
    return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
