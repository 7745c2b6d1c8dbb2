"""The chart's alerts: promtool accepts them, each fires when it should and not before, and has a section for people."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import helm_python
import pytest
import yaml

from tests.support.prometheus import promtool
from tools.dashboards.__main__ import stale
from worker.experiment.statistics.confidence import Verdict

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "mirrorstream"
RULES = sorted((CHART / "rules").glob("*.yaml"), reverse=True)  # worker.yaml first
RUNBOOK = ROOT / "docs" / "how-to" / "runbook.md"
SEVERITIES = {"info", "warning", "critical"}

Series: TypeAlias = dict[str, str]  # values by series, as promtool writes both

WORKER = {'mirrorstream_build_info{job="w", instance="a", engine="vllm"}': "1x180"}
OTHER_ENGINE = {'mirrorstream_build_info{job="w", instance="a", engine="choice-model"}': "1x180"}
OF = 'job="w", instance="a"'
PARTITION = f'{OF}, topic="impressions", partition="0"'


@dataclass(frozen=True, slots=True)
class Case:
    """Series that make an alert fire after so many minutes, and those next to them that do not.

    A series is `NAME{LABELS}` with its values, one a minute, as promtool writes them: `0+5x60` rises by 5, 60 times.
    `early` is the last minute in which the alert does not fire yet; None where its time has no say.
    """

    alert: str
    minutes: int
    bad: Series
    good: Series
    early: int | None = None
    besides: Sequence[str] = field(default=())  # what fires too


def of(name: str, values: str, labels: str = OF) -> Series:
    return {f"mirrorstream_{name}{{{labels}}}": values}


def each(name: str, label: str, values: Series) -> Series:
    """Return a metric with several values of a label."""
    found: Series = {}
    for value, numbers in values.items():
        found |= of(name, numbers, f'{OF}, {label}="{value}"')
    return found


CASES = [
    Case("NoWorkers", 12, of("ready", "1x60"), WORKER, early=9),
    Case("NotReady", 20, of("held_up", "1x60", f'{OF}, reason="start"'),
         of("held_up", "1x60", f'{OF}, reason="stopping"'), early=14),
    Case("ImpressionsWait", 15, of("lag_seconds", "1000x60", PARTITION), of("lag_seconds", "800x60", PARTITION),
         early=9),
    Case("BacklogTakesTooLong", 20, of("drain_seconds", "99999x60"), of("drain_seconds", "3000x60"), early=14),
    Case("NothingCommitted", 10, of("lag_seconds", "700x60", PARTITION) | of("commit_age_seconds", "700x60", PARTITION),
         of("lag_seconds", "0x60", PARTITION) | of("commit_age_seconds", "7000x60", PARTITION), early=4),
    Case("DeadLetters", 30,
         of("dead_letters_total", "0+2x60", f'{OF}, reason="avro"') | of("records_consumed_total", "0+100x60"),
         of("dead_letters_total", "0+1x60", f'{OF}, reason="avro"') | of("records_consumed_total", "0+200x60")),
    Case("BreakerOpen", 10, of("breaker_open", "1x60"), of("breaker_open", "0x60"), early=4),
    Case("MessagesRefused", 30, of("refusals_total", "0x25 1x30", f'{OF}, reason="too_large"'),
         of("refusals_total", "1x60", f'{OF}, reason="too_large"')),
    Case("DefinitionsRefused", 30, of("followed_records_total", "0x25 1x30", f'{OF}, topic="e", result="refused"'),
         of("followed_records_total", "0x25 1x30", f'{OF}, topic="e", result="taken"')
         | of("followed_records_total", "1x60", f'{OF}, topic="e", result="refused"')),
    Case("DefinitionsRefused", 30, of("followed_records_total", "_x20 3x30", f'{OF}, topic="e", result="refused"'),
         of("followed_records_total", "_x20 0x30", f'{OF}, topic="e", result="refused"')),
    Case("ReadoutsNotPublished", 30, of("experiment_readouts_pending", "1x60", ""),
         of("experiment_readouts_pending", "0x60", ""), early=14),
    Case("UnreadableBatch", 10, of("unreadable_partitions", "1x60"), of("unreadable_partitions", "0x60"), early=4),
    Case("AnswersMissing", 40, each("responses_total", "status", {"TIMEOUT": "0+2x60", "OK": "0+98x60"}),
         each("responses_total", "status", {"IDENTICAL": "0+50x60", "OK": "0+50x60"})),
    Case("RationalesUnreadable", 60,
         each("rationales_total", "parse_status", {"NONE": "0+6x60", "COMPLETE": "0+94x60"}),
         each("rationales_total", "parse_status", {"PARTIAL": "0+6x60", "COMPLETE": "0+94x60"})),
    Case("LetterMassLow", 60, of("letter_mass_sum", "0+4x90") | of("letter_mass_count", "0+10x90"),
         of("letter_mass_sum", "0+9x90") | of("letter_mass_count", "0+10x90")),
    Case("LetterMassLow", 60, WORKER | of("letter_mass_sum", "0+4x90") | of("letter_mass_count", "0+10x90"),
         OTHER_ENGINE | of("letter_mass_sum", "0+4x90") | of("letter_mass_count", "0+10x90")),
    Case("EntropyCollapsed", 100,
         of("answer_entropy_bits_sum", "0+0.1x120", f'{OF}, of="total"')
         | of("answer_entropy_bits_count", "0+10x120", f'{OF}, of="total"'),
         of("answer_entropy_bits_sum", "0+15x120", f'{OF}, of="total"')
         | of("answer_entropy_bits_count", "0+10x120", f'{OF}, of="total"')),
    Case("DrawsSlow", 40, each("draw_duration_seconds_bucket", "le", {"60": "0+5x60", "120": "0+10x60"})
         | of("draw_duration_seconds_bucket", "0+10x60", f'{OF}, le="+Inf"'),
         each("draw_duration_seconds_bucket", "le", {"30": "0+10x60", "+Inf": "0+10x60"})),
    Case("DrawsRetried", 40, of("draw_retries_total", "0+1x60", f'{OF}, reason="timeout"')
         | of("draw_duration_seconds_count", "0+10x60"),
         of("draw_retries_total", "0+1x60", f'{OF}, reason="withdrawn"')
         | of("draw_duration_seconds_count", "0+10x60")),
    Case("EngineDied", 30, of("engine_deaths_total", "0x20 1x30"), of("engine_deaths_total", "1x60")),
    Case("EngineGivesUp", 30, of("engine_restarts_left", "2x20 0x30") | of("engine_deaths_total", "0x20 3x30"),
         of("engine_restarts_left", "0x60") | of("engine_deaths_total", "0x60"), besides=["EngineDied"]),
    Case("TransactionsFail", 40, each("flushes_total", "outcome", {"indoubt": "0+10x60", "committed": "0+90x60"}),
         each("flushes_total", "outcome", {"aborted": "0+1x60", "committed": "0+90x60"})),
    Case("Fenced", 30, of("fences_total", "0x20 1x30", f'{OF}, cause="timeout"'),
         of("fences_total", "0x60", f'{OF}, cause="timeout"')),
    Case("PartitionsLost", 30, of("partitions_moved_total", "0x20 3x30", f'{OF}, kind="lost"'),
         of("partitions_moved_total", "0x20 3x30", f'{OF}, kind="revoked"')),
    Case("RebalanceStorm", 60, of("rebalance_duration_seconds_count", "0+1x60", f'{OF}, kind="revoked"'),
         of("rebalance_duration_seconds_count", "0x20 10x60", f'{OF}, kind="revoked"')),
    Case("BrokersThrottle", 20, of("kafka_throttle_seconds", "2x60", f'{OF}, client="producer"'),
         of("kafka_throttle_seconds", "0.5x60", f'{OF}, client="producer"'), early=14),
    Case("RegistryFails", 30, of("registry_requests_total", "0+1x60", f'{OF}, outcome="failed"'),
         of("registry_requests_total", "0+1x60", f'{OF}, outcome="not_found"')),
    Case("ServerDown", 10, of("server_up", "0x60", f'{OF}, server="http://gpu"'),
         of("server_up", "1x60", f'{OF}, server="http://gpu"'), early=4),
    Case("ServersFail", 40,
         each("server_requests_total", 'server="http://gpu", outcome', {"failed": "0+10x60", "answered": "0+90x60"}),
         each("server_requests_total", 'server="http://gpu", outcome', {"refused": "0+10x60", "answered": "0+90x60"})),
    Case("KVCacheFull", 20,
         {f"vllm:kv_cache_usage_perc{{{OF}}}": "0.99x60", f"vllm:num_requests_waiting{{{OF}}}": "5x60"},
         {f"vllm:kv_cache_usage_perc{{{OF}}}": "0.99x60", f"vllm:num_requests_waiting{{{OF}}}": "0x60"}, early=14),
    Case("Preemptions", 40, {f"vllm:num_preemptions_total{{{OF}}}": "0+60x60"},
         {f"vllm:num_preemptions_total{{{OF}}}": "100x60"}),
    Case("SpansDropped", 40, of("spans_dropped_total", "0+1x60"), of("spans_dropped_total", "9x60")),
    Case("ExperimentDecided", 1, of("experiment_verdict", "1x9", 'candidate="b", verdict="NO_DIFFERENCE"'),
         of("experiment_verdict", "1x9", 'candidate="b", verdict="KEEP_RUNNING"')),
    Case("ExperimentCheckFailed", 20, of("experiment_check_failed", "1x60", 'candidate="b", check="placebo"'),
         of("experiment_check_failed", "0x60", 'candidate="b", check="placebo"'), early=14),
    Case("MirrorAged", 70, of("experiment_mirror_aged", "1x90", 'experiment="e"'),
         of("experiment_mirror_aged", "0x90", 'experiment="e"'), early=59),
    Case("ExperimentsLeftOut", 20, of("experiments_left_out", "1x60", ""), of("experiments_left_out", "0x60", ""),
         early=14),
]  # fmt: skip


def alerts() -> Iterator[Mapping[str, Any]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


def a_test(series: Series, minutes: int, firing: Sequence[str]) -> dict[str, Any]:
    """Return one of promtool's tests: which alerts fire after so many minutes."""
    expected = [{"labels": f'{{alertname="Mirrorstream{name}"}}', "value": 1} for name in firing]
    fires = 'count by (alertname) (ALERTS{alertstate="firing"})'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": fires, "eval_time": f"{minutes}m", "exp_samples": expected}],
    }


def test_promtool_accepts_the_rules() -> None:
    done = promtool("check", "rules", *RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    tests = []
    for case in CASES:
        there = {} if case.alert == "NoWorkers" or case.bad.keys() & WORKER.keys() else WORKER
        tests.append(a_test(there | case.bad, case.minutes, [case.alert, *case.besides]))
        tests.append(a_test((OTHER_ENGINE if case.good.keys() & OTHER_ENGINE.keys() else WORKER) | case.good,
                            case.minutes, []))  # fmt: skip
        if case.early is not None:
            tests.append(a_test(there | case.bad, case.early, []))
    file = tmp_path / "tests.yaml"
    file.write_text(json.dumps({"rule_files": [str(path) for path in RULES], "tests": tests}), encoding="utf-8")
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tested_and_has_a_section_in_the_runbook() -> None:
    """A person who is woken finds what to look at and what to do; a section without an alert is out of date."""
    names = [alert["alert"] for alert in alerts()]
    assert len(set(names)) == len(names)
    assert {f"Mirrorstream{case.alert}" for case in CASES} == set(names)
    sections = re.findall(r"^### (Mirrorstream\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == names, "one section an alert, in the same order"
    text = RUNBOOK.read_text(encoding="utf-8")
    for section in re.split(r"^### Mirrorstream\w+$", text, flags=re.MULTILINE)[1:]:
        assert "**Look at**" in section
        assert "**Do**" in section


@pytest.mark.parametrize("alert", list(alerts()), ids=lambda alert: str(alert["alert"]))
def test_each_alert_says_what_is_wrong(alert: Mapping[str, Any]) -> None:
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in SEVERITIES
    assert alert["annotations"].keys() == {"summary", "description"}
    assert all(alert["annotations"].values())


def test_verdicts_that_are_told_are_those_there_are() -> None:
    (told,) = [alert["expr"] for alert in alerts() if alert["alert"] == "MirrorstreamExperimentDecided"]
    named = set(re.findall(r"[A-Z_]{5,}", told))
    assert named == {verdict.value for verdict in Verdict} - {"KEEP_RUNNING", "DO_NOT_TRUST"}


def test_the_dashboards_are_those_of_the_table() -> None:
    assert stale(write=False) == [], "python -m tools.dashboards writes them anew"


# -- in the chart


def rendered(values: Mapping[str, Any], kind: str) -> dict[str, Any]:
    chart = helm_python.Chart.load(CHART)
    files = chart.render(dict(values), name="rel", namespace="ns").items()
    objects = [found for name, text in files if name.endswith(".yaml") for found in yaml.safe_load_all(text) if found]
    (one,) = [one for one in objects if one["kind"] == kind and "config.yaml" not in one.get("data", {})]
    found: dict[str, Any] = one
    return found


def test_the_chart_wraps_the_rules_as_they_are(tmp_path: Path) -> None:
    rule = rendered({"metrics": {"prometheusRule": {"enabled": True, "labels": {"release": "p"}}}}, "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "p"
    assert rule["spec"] == yaml.safe_load((CHART / "rules" / "worker.yaml").read_text(encoding="utf-8"))
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps(rule["spec"]), encoding="utf-8")
    assert promtool("check", "rules", file).returncode == 0


def test_alerts_can_be_changed_left_out_and_told_where_the_runbook_is() -> None:
    values = {
        "experiment": {"enabled": True, "allowAnonymous": True},
        "metrics": {
            "prometheusRule": {
                "enabled": True,
                "disabled": ["MirrorstreamNoWorkers"],
                "overrides": {"MirrorstreamImpressionsWait": {"for": "1m", "labels": {"team": "search"}}},
                "runbookUrl": "https://docs.example/how-to/runbook.html",
            }
        },
    }
    rules = {
        one["alert"]: one for group in rendered(values, "PrometheusRule")["spec"]["groups"] for one in group["rules"]
    }
    assert "MirrorstreamNoWorkers" not in rules
    assert "MirrorstreamExperimentCheckFailed" in rules
    changed = rules["MirrorstreamImpressionsWait"]
    assert (changed["for"], changed["labels"]) == ("1m", {"severity": "warning", "team": "search"})
    assert changed["annotations"]["runbook_url"].endswith("/runbook.html#mirrorstreamimpressionswait")


@pytest.mark.parametrize("values", [{"disabled": ["NoWorkers"]}, {"overrides": {"NoWorkers": {"for": "1m"}}}])
def test_an_alert_that_there_is_not_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(helm_python.HelmError, match="no alert NoWorkers; want one of MirrorstreamAnswersMissing"):
        rendered({"metrics": {"prometheusRule": {"enabled": True, **values}}}, "PrometheusRule")


def test_the_chart_delivers_the_dashboards_to_grafana() -> None:
    found = rendered(
        {"metrics": {"dashboards": {"enabled": True, "annotations": {"grafana_folder": "Ours"}}}}, "ConfigMap"
    )
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Ours"}
    for path in (CHART / "dashboards").glob("*.json"):
        assert json.loads(found["data"][path.name]) == json.loads(path.read_text(encoding="utf-8"))
