"""The verdict on each candidate as metrics that an alert can watch: bounded, and behind the token."""

import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.support.experiment import page_examples as made
from tests.support.experiment.page_client import BASE
from worker.experiment.page.app import create_app
from worker.experiment.page.prometheus import MAX_EXPERIMENTS, MAX_LABEL_CHARS, Requests, exposition
from worker.experiment.quality import ageing
from worker.experiment.readout import Check, CheckState, OutlyingItem, Report
from worker.experiment.webhook.deliveries import Deliveries, Outbound

TOKEN = "a secret of some length"  # noqa: S105 - of this test
ORDER = ("experiment", "candidate", "verdict", "check")


def samples(report: Report) -> dict[tuple[str, ...], float]:
    """Return each sample by its name and labels, as Prometheus would read them."""
    families = text_string_to_metric_families(exposition(report).decode())
    return {
        (one.name.removeprefix("mirrorstream_"), *(one.labels[name] for name in ORDER if name in one.labels)): one.value
        for family in families
        for one in family.samples
    }


def test_an_experiments_verdicts_are_metrics_by_candidate() -> None:
    """One series per candidate and verdict, 1 for the one that holds; a failed check is 1, the others 0."""
    found = samples(made.report(made.readout("e", made.epoch(made.losing(), made.comparison()))))
    assert found["experiment_verdict", "e", "late", "CONTROL_PREFERRED"] == 1
    assert found["experiment_verdict", "e", "candidate", "CANDIDATE_PREFERRED"] == 1
    assert sum(value for name, value in found.items() if name[0] == "experiment_verdict") == 2
    assert found["experiment_check_failed", "e", "candidate", "position profile"] == 1
    assert found["experiment_check_failed", "e", "candidate", "pair completeness"] == 0
    assert found["experiment_users", "e", "late"] == 3_120
    assert found["experiment_outlying_items", "e", "late"] == 0
    outlying = made.comparison(outlying_items=(OutlyingItem("i", "", 50, 0.9, 0.1, 0.5),))
    assert (
        samples(made.report(made.readout("e", made.epoch(outlying))))["experiment_outlying_items", "e", "candidate"]
        == 1
    )


def test_an_experiments_metrics_are_bounded_whatever_its_names_are() -> None:
    """Long and hostile names are cut and escaped; of many experiments the newest have metrics, and it says so."""
    many = [made.readout(f"e-{n}", made.epoch(made.comparison(), hour=n)) for n in range(MAX_EXPERIMENTS + 7)]
    found = samples(made.report(*many))
    assert found["experiments_left_out",] == 7
    assert ("experiment_users", "e-206", "candidate") in found
    assert ("experiment_users", "e-6", "candidate") not in found
    hostile = samples(made.report(made.hostile(), replace(made.hostile(), experiment_id="W" * 10_000)))
    assert max(len(label) for name in hostile for label in name) < 10 * MAX_LABEL_CHARS


def test_what_the_reader_has_read_is_told_by_kind_and_age() -> None:
    report = made.report(made.readout("e", made.epoch(made.comparison())))
    found = {
        (one.name, *one.labels.values()): one.value
        for family in text_string_to_metric_families(
            exposition(replace(report, data_health={"outcomes": 7, "test": 2})).decode()
        )
        for one in family.samples
    }
    kinds = [found["mirrorstream_experiment_records", kind] for kind in ("read", "outcomes", "test")]
    assert kinds == [0.0, 7.0, 2.0]
    age_s = time.time() - report.readouts[0].current.last_occurred_at / 1e6
    assert found["mirrorstream_experiment_newest_event_age_seconds", "e"] == pytest.approx(max(0.0, age_s), abs=60)


def test_requests_of_the_page_are_counted_by_status() -> None:
    page = TestClient(create_app(made.Changing(made.report())), base_url=BASE)
    before = page.get("/metrics").text
    assert 'mirrorstream_experiment_page_requests_total{status="5xx"} 0.0' in before
    page.get("/api/experiments")
    page.get("/nowhere")
    text = page.get("/metrics").text
    assert 'mirrorstream_experiment_page_requests_total{status="2xx"} 2.0' in text
    assert 'mirrorstream_experiment_page_requests_total{status="4xx"} 1.0' in text
    assert "mirrorstream_experiment_page_seconds_count 3.0" in text
    assert "_created" not in text


def test_a_request_that_fails_is_counted_too() -> None:
    """Its answer is made outside of the app, by what catches its error."""
    source = made.Changing(made.report())
    page = TestClient(create_app(source), base_url=BASE, raise_server_exceptions=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(made.Changing, "report", lambda _: 1 / 0)
        assert page.get("/api/experiments").status_code == 500
    assert 'mirrorstream_experiment_page_requests_total{status="5xx"} 1.0' in page.get("/metrics").text


def aged() -> Report:
    figures = {"first": 0.2, "recent": 0.1, "log_e": 5.0, "since": 1.0}
    check = Check(ageing.NAME, CheckState.FAILED, "the mirror has aged", figures, forbids=False)
    one = made.comparison()
    return made.report(made.readout("e", made.epoch(made.losing(), replace(one, checks=(*one.checks, check)))))


def test_the_age_of_the_mirror_is_told_by_experiment() -> None:
    text = exposition(aged()).decode()
    assert 'mirrorstream_experiment_mirror_aged{experiment="e"} 1.0' in text
    assert 'mirrorstream_experiment_skill{experiment="e",period="recent"} 0.1' in text
    assert 'mirrorstream_experiment_skill{experiment="e",period="first"} 0.2' in text


def test_dashboard_and_alerts_name_what_there_is() -> None:
    report = aged()
    text = exposition(report, Outbound(Deliveries(), Deliveries()), Requests()).decode()
    there = {one.name for family in text_string_to_metric_families(text) for one in family.samples}
    chart = Path(__file__).parents[4] / "helm" / "mirrorstream"
    files = ("dashboards/experiment.json", "rules/experiment.yaml")
    texts = [(chart / name).read_text(encoding="utf-8") for name in files]
    named = set(re.findall(r"mirrorstream_experiments?_\w+", " ".join(texts)))
    assert len(named) > 5
    assert named <= there


def test_a_webhooks_counts_are_metrics_only_where_there_is_one() -> None:
    counts = Deliveries()
    counts.delivered, counts.failures, counts.pending = 3, 2, 1
    text = exposition(made.report(), Outbound(webhook=counts)).decode()
    for line in ("delivered_total 3.0", "failures_total 2.0", "pending 1.0"):
        assert f"\nmirrorstream_experiment_webhook_{line}\n" in text
    assert b"webhook" not in exposition(made.report())
    assert "readouts" not in text


def test_counts_of_published_readouts_are_metrics_only_where_they_are_published() -> None:
    counts = Deliveries()
    counts.delivered, counts.failures, counts.pending = 3, 2, 1
    text = exposition(made.report(), Outbound(readouts=counts)).decode()
    for line in ("published_total 3.0", "failures_total 2.0", "pending 1.0"):
        assert f"\nmirrorstream_experiment_readouts_{line}\n" in text
    assert "webhook" not in text


def test_an_experiments_metrics_need_the_token_of_the_page() -> None:
    """They name experiments and verdicts: without the token 401, as Prometheus understands it, and no form."""
    page = TestClient(create_app(made.Changing(made.report()), token=TOKEN), base_url=BASE)
    assert page.get("/metrics", headers={"Accept": "text/html"}, follow_redirects=False).status_code == 401
    answer = page.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"mirrorstream_experiment_verdict{" in answer.content
