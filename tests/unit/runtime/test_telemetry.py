"""Series that are there at 0 from the start."""

import re
import time
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from tests.support.examples import impression, record
from worker.core.blockers import Blocker
from worker.core.client_stats import ClientStats
from worker.core.delivery.handover_messages import FenceCause, FlushEnd, Rebalanced, RebalanceKind
from worker.core.delivery.lag import LagReport, PartitionLag
from worker.core.delivery.micro_batcher import BatchEnd
from worker.core.delivery.stages import LatencyStage
from worker.core.delivery.window import ShutBy
from worker.core.flags import Flag
from worker.core.joining.facts import FactKind
from worker.core.prompts.rationale import ParseStatus
from worker.core.records import Partition, Reason
from worker.core.service_requests import RegistryEnd, ServerEnd
from worker.core.simulation.draws import Drawn, DrawRetry, EngineCard, Usage
from worker.core.simulation.questions import Depths, Kind, Status, plan
from worker.core.simulation.response import Draw, SimulatedResponse
from worker.core.simulation.response_builder import AskedQuestion, Setup, respond, source_of
from worker.core.simulation.sampling import Skip
from worker.core.steering.followed import Taken
from worker.pipeline.joins import JoinResult
from worker.runtime.health_state import HealthState
from worker.runtime.metrics.formats import metric_format
from worker.runtime.telemetry import Telemetry

CARD = EngineCard("choice-model", "0", "choice-model", None, {}, reads_prompt=False)


class Watched:
    """A `Telemetry` of its own, and what it counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.telemetry = Telemetry(CARD, registry=self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value("mirrorstream_" + name, labels)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def a_response(**changes: Any) -> SimulatedResponse:
    """Return a response without draws, with these fields changed."""
    asked = AskedQuestion(plan(impression(), lambda item: item.item_id, Depths())[0], (), (), frozenset())
    setup = Setup(CARD, None, None, 2, Depths(), 10).with_fingerprint()
    (made,) = respond(impression(), [asked], setup, source_of(record(), None), sample_rate=1.0, produced_at_us=0)
    return replace(made, **{"status": Status.OK, "copied_from": None, **changes})


def tokens(watched: Watched) -> list[float | None]:
    """Return the counts of tokens: prompt, cached, completion."""
    return [
        watched.value("tokens_total", model="choice-model", direction=one) for one in ("prompt", "cached", "completion")
    ]


# -- counts


def test_every_series_is_there_at_zero_from_the_start(watched: Watched) -> None:
    zero = [watched.value(f"records_{name}_total") for name in ("consumed", "stale")]
    zero += [watched.value("records_skipped_total", reason=reason) for reason in Skip]
    zero += [watched.value("dead_letters_total", reason=reason) for reason in Reason]
    zero += [watched.value("responses_total", question=kind, status=status) for kind in Kind for status in Status]
    zero += [watched.value("flushes_total", outcome=outcome) for outcome in FlushEnd]
    zero += [
        watched.value("tokens_total", model="choice-model", direction=name)
        for name in ("prompt", "cached", "completion")
    ]
    zero += [
        watched.value(f"{name}_count")
        for name in ("flush_duration_seconds", "draw_duration_seconds", "end_to_end_seconds")
    ]
    zero += [
        watched.value(name)
        for name in (
            "in_flight_records",
            "assigned_partitions",
            "paused_partitions",
            "head_of_line_seconds",
            "breaker_open",
            "user_days_forgotten",
        )
    ]
    zero += [watched.value("batches_total", reason=reason) for reason in BatchEnd]
    zero += [watched.value("window_shut", reason=reason) for reason in ShutBy]
    zero += [watched.value("window_share", of=of) for of in ("records", "bytes", "tokens")]
    zero += [watched.value("fences_total", cause=cause) for cause in FenceCause]
    zero += [watched.value("rebalance_duration_seconds_count", kind=kind) for kind in RebalanceKind]
    zero += [watched.value("partitions_moved_total", kind=kind) for kind in RebalanceKind]
    zero += [watched.value(name) for name in ("producers_rebuilt_total", "in_doubt_seconds_count")]
    zero += [watched.value("stage_seconds_count", stage=stage) for stage in LatencyStage]
    zero += [watched.value("held_records", why=why) for why in ("breaker", "schema")]
    zero += [watched.value("response_flags_total", flag=flag) for flag in Flag]
    zero += [watched.value("rationales_total", parse_status=status) for status in ParseStatus]
    zero += [watched.value("answer_entropy_bits_count", of=of) for of in ("total", "within")]
    zero += [watched.value(name) for name in ("letter_mass_count", "answers_compared_total", "answers_flipped_total")]
    zero += [watched.value("engine_starts_total", outcome=outcome) for outcome in ("started", "failed")]
    zero += [watched.value(f"engine_{name}") for name in ("load_seconds", "restarts_left", "seats", "deaths_total")]
    zero += [watched.value("draw_retries_total", reason=reason) for reason in DrawRetry]
    zero += [watched.value("registry_requests_total", outcome=end) for end in RegistryEnd]
    zero += [watched.value("registry_request_seconds_count")]
    assert set(zero) == {0.0}


def series(watched: Watched) -> set[str]:
    lines = watched.telemetry.exposition()[0].decode().splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


def test_what_is_counted_of_the_engine_and_the_registry_makes_no_new_series(watched: Watched) -> None:
    before = series(watched)
    watched.telemetry.engine_died()
    watched.telemetry.engine_start(seconds=2.5, ok=True)
    watched.telemetry.engine_start(seconds=9.0, ok=False)
    watched.telemetry.restarts_left(2)
    watched.telemetry.seats(80)
    for retry in DrawRetry:
        watched.telemetry.draw_retried(retry)
    for found in RegistryEnd:
        watched.telemetry.registry_asked(found, 0.02)
    assert series(watched) == before
    assert watched.value("engine_starts_total", outcome="failed") == 1.0
    assert [watched.value(f"engine_{name}") for name in ("load_seconds", "restarts_left", "seats")] == [2.5, 2.0, 80.0]
    assert watched.value("draw_retries_total", reason="timeout") == 1.0
    assert watched.value("registry_request_seconds_count") == 3.0


def test_nothing_that_is_counted_makes_a_new_series(watched: Watched) -> None:
    before = series(watched)
    watched.telemetry.consumed()
    watched.telemetry.stale()
    for skip in Skip:
        watched.telemetry.skipped(skip)
    for end in FlushEnd:
        watched.telemetry.flushed(end, 0.01)
    for reason in Reason:
        watched.telemetry.dead_letter(reason)
    watched.telemetry.state(in_flight=1, assigned=2, paused=1, head_s=0.5)
    watched.telemetry.answered(())
    watched.telemetry.event_committed((0.1, 0.0, 0.0, 0.0, 0.25, 0.0, 0.1, 0.05), end_to_end_s=0.5)
    watched.telemetry.event_committed((0.0,) * len(LatencyStage), end_to_end_s=None)
    for ended_by in BatchEnd:
        watched.telemetry.batch(16, ended_by)
    for shut_by in (*ShutBy, None, ShutBy.TOKENS):
        watched.telemetry.window((0.1, 0.25, 1.0), shut_by)
        shut = {one for one in ShutBy if watched.value("window_shut", reason=one)}
        assert shut == ({shut_by} if shut_by else set())
    watched.telemetry.settled(3.0)
    for fence in FenceCause:
        watched.telemetry.fenced(fence)
    for kind in RebalanceKind:
        watched.telemetry.rebalanced(Rebalanced(kind, 2, 0.5))
    watched.telemetry.breaker(is_open=True)
    watched.telemetry.held(3, waiting=2)
    assert watched.value("held_records", why="breaker") == 3.0
    assert watched.value("held_records", why="schema") == 2.0
    watched.telemetry.forgotten(7)
    assert series(watched) == before
    assert (watched.value("batches_total", reason="linger"), watched.value("batch_records_sum")) == (1.0, 64.0)
    assert [watched.value("window_share", of=of) for of in ("records", "bytes", "tokens")] == [0.1, 0.25, 1.0]
    assert (watched.value("producers_rebuilt_total"), watched.value("in_doubt_seconds_sum")) == (1.0, 3.0)
    assert watched.value("fences_total", cause="timeout") == 1.0
    assert watched.value("partitions_moved_total", kind="lost") == 2.0
    assert watched.value("rebalance_duration_seconds_sum", kind="revoked") == 0.5
    assert watched.value("user_days_forgotten") == 7.0
    assert watched.value("breaker_open") == 1.0
    assert watched.value("records_skipped_total", reason="sample") == 1.0
    assert watched.value("flushes_total", outcome="indoubt") == 1.0
    assert watched.value("end_to_end_seconds_sum") == 0.5
    assert watched.value("stage_seconds_sum", stage="engine") == 0.25
    assert watched.value("stage_seconds_sum", stage="transaction") == 0.05
    assert watched.value("records_without_time_total") == 1.0


def test_draws_are_counted_with_their_tokens(watched: Watched) -> None:
    watched.telemetry.drawn(Drawn(Status.OK, (1.0,), usage=Usage(10, 8, 5)), 0.2)
    assert tokens(watched) == [10.0, 8.0, 5.0]
    assert watched.value("draw_duration_seconds_sum") == pytest.approx(0.2)


def test_a_latency_has_its_trace_as_exemplar(watched: Watched) -> None:
    watched.telemetry.event_committed((0.1,) * len(LatencyStage), end_to_end_s=0.8, trace_id="c" * 32)
    watched.telemetry.drawn(Drawn(Status.OK, (1.0,)), 0.2, trace_id="c" * 32)
    text = watched.telemetry.exposition(metric_format("application/openmetrics-text;version=1.0.0"))[0].decode()
    exemplar = f'1.0 # {{trace_id="{"c" * 32}"}}'
    found = {line.partition("{")[0] for line in text.splitlines() if exemplar in line}
    latencies = ("end_to_end_seconds", "stage_seconds", "draw_duration_seconds")
    assert found == {f"mirrorstream_{one}_bucket" for one in latencies}
    assert "trace_id" not in watched.telemetry.exposition()[0].decode(), "only OpenMetrics has exemplars"


def test_a_bucket_keeps_its_exemplar_for_a_second(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs more than all else that is counted of a draw; a scrape reads the last one only."""

    def shown() -> list[str]:
        text = watched.telemetry.exposition(metric_format("application/openmetrics-text;version=1.0.0"))[0].decode()
        return re.findall(r'draw_duration_seconds_bucket.*trace_id="(.)', text)

    for name, seconds in (("a", 0.2), ("b", 0.2), ("c", 7.0)):
        watched.telemetry.drawn(Drawn(Status.OK, (1.0,)), seconds, trace_id=name * 32)
    assert shown() == ["a", "c"], "a slow one is never passed over for a fast one"
    now_s = time.monotonic()
    monkeypatch.setattr("worker.runtime.metrics.latency.time.monotonic", lambda: now_s + 1.1)
    watched.telemetry.drawn(Drawn(Status.OK, (1.0,)), 0.2, trace_id="d" * 32)
    assert shown() == ["d", "c"]
    assert watched.value("draw_duration_seconds_count") == 4


@pytest.mark.parametrize("version", ["abc", "1.0.0-x", "9" * 300, "99.9", "\u0663.0.0", "1.0.0.0"])
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_a_format_that_there_is_not_is_plain_text(watched: Watched, kind: str, version: str) -> None:
    """Each such request made an error with a traceback in the log; or the answer said to be of that version."""
    text, content_type = watched.telemetry.exposition(metric_format(f"{kind}; version={version}"))
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert text == watched.telemetry.exposition()[0]


def test_metrics_are_openmetrics_for_those_who_ask_for_it(watched: Watched) -> None:
    """Prometheus asks so, and can then take exemplars; who asks for nothing gets the text format."""
    text, kind = watched.telemetry.exposition(
        metric_format("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2")
    )
    assert (kind.partition(";")[0], text.endswith(b"# EOF\n")) == ("application/openmetrics-text", True)
    text, kind = watched.telemetry.exposition()
    assert (kind.partition(";")[0], b"# EOF" in text) == ("text/plain", False)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "application/openmetrics-text",
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75",  # Prometheus 2
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6",  # Prometheus 3
        "application/openmetrics-text;version=1.0.0;escaping=underscores",
        "text/plain;version=1.0.0;escaping=underscores",
    ],
)
def test_vllms_metrics_keep_their_names_whoever_asks(watched: Watched, accept: str) -> None:
    """The client library made `vllm_` of `vllm:` in samples alone, so that no dashboard found them (0.26)."""
    Counter("vllm:num_preemptions", "as vLLM makes it", ["engine"], registry=watched.registry).labels("0").inc(3)
    lines = watched.telemetry.exposition(metric_format(accept))[0].decode().splitlines()
    assert 'vllm:num_preemptions_total{engine="0"} 3.0' in lines
    assert [line for line in lines if "vllm_" in line or "_created" in line] == []


def test_an_event_of_hours_ago_has_a_bucket(watched: Watched) -> None:
    """A worker that works off a backlog is as old as the backlog; above the last bucket no percentile is known."""
    watched.telemetry.event_committed((4 * 3_600.0, *(0.0,) * 7), end_to_end_s=4 * 3_600.0)
    assert watched.value("stage_seconds_bucket", stage="topic", le="3600.0") == 0.0
    assert watched.value("end_to_end_seconds_bucket", le="14400.0") == 1.0
    assert watched.value("end_to_end_seconds_bucket", le="3600.0") == 0.0


def test_a_partitions_series_are_there_while_it_is_assigned(watched: Watched) -> None:
    behind = PartitionLag(Partition("impressions", 3), 130, 100, time.time() - 30.0, time.time() - 7_200.0, None)
    assert watched.value("drain_seconds") == 0.0
    watched.telemetry.lag(LagReport((behind,), 12.5))
    of = {"topic": "impressions", "partition": "3"}
    assert watched.value("lag_records", **of) == 30.0
    assert watched.value("lag_seconds", **of) == pytest.approx(7_200.0, abs=5.0)
    assert (watched.value("high_watermark", **of), watched.value("committed_offset", **of)) == (130.0, 100.0)
    assert watched.value("commit_age_seconds", **of) == pytest.approx(30.0, abs=5.0)
    assert watched.value("event_time_watermark_age_seconds", **of) is None, "no event was committed yet"
    assert watched.value("drain_seconds") == 12.5
    watched.telemetry.lag(LagReport((), 0.0))
    assert watched.value("lag_records", **of) is None


def test_each_kafka_client_says_how_it_is(watched: Watched) -> None:
    names = ("round_trip_seconds", "throttle_seconds", "pending_requests", "queued_messages", "queued_bytes")
    found = [
        watched.value(f"kafka_{name}", client=client)
        for name in (*names, "request_failures_total")
        for client in ("consumer", "producer")
    ]
    assert found == [0.0] * 12
    watched.telemetry.watch_clients(
        consumer=lambda: ClientStats(0.1, 0.0, 1, 0, 7, 700), producer=lambda: ClientStats(0.002, 0.5, 2, 3, 4, 5)
    )
    assert [watched.value(f"kafka_{name}", client="producer") for name in names] == [0.002, 0.5, 2.0, 4.0, 5.0]
    assert watched.value("kafka_request_failures_total", client="producer") == 3.0
    assert watched.value("kafka_queued_messages", client="consumer") == 7.0


def test_an_unknown_end_is_no_lag_and_a_clock_that_is_behind_no_negative_age(watched: Watched) -> None:
    unknown = PartitionLag(Partition("impressions", 0), None, None, time.time() + 60.0, None, time.time() + 60.0)
    watched.telemetry.lag(LagReport((unknown,), 0.0))
    of = {"topic": "impressions", "partition": "0"}
    assert (watched.value("lag_records", **of), watched.value("lag_seconds", **of)) == (0.0, 0.0)
    assert (watched.value("high_watermark", **of), watched.value("committed_offset", **of)) == (None, None)
    assert watched.value("commit_age_seconds", **of) == 0.0
    assert watched.value("event_time_watermark_age_seconds", **of) == 0.0


def test_the_quality_of_answers_is_counted(watched: Watched) -> None:
    """Two draws that prefer different options are a flip; a copy, and an answer without draws, are not looked at."""
    sure = Draw(None, "Bored.", (0.9, 0.1), (0, 1), "stop", ParseStatus.COMPLETE, 0.98)
    other = replace(sure, probabilities=(0.2, 0.8), parse_status=ParseStatus.PARTIAL, letter_mass=0.5)
    agreed = a_response(draws=(sure, sure), entropy_total=0.5, entropy_within=0.25, flags=("depth_cut",))
    flipped = replace(agreed, draws=(sure, other), flags=())
    direct = replace(agreed, draws=(replace(sure, text=None),), flags=())
    copied = replace(flipped, status=Status.IDENTICAL, copied_from="control", flags=("depth_cut",))
    failed = replace(agreed, status=Status.LENGTH, draws=(replace(sure, probabilities=(), letter_mass=None),), flags=())
    watched.telemetry.answered((agreed, flipped, direct, copied, failed))
    assert (watched.value("answers_compared_total"), watched.value("answers_flipped_total")) == (2.0, 1.0)
    assert (watched.value("letter_mass_count"), watched.value("letter_mass_bucket", le="0.5")) == (5.0, 1.0)
    assert watched.value("answer_entropy_bits_sum", of="total") == 1.5
    assert watched.value("answer_entropy_bits_count", of="within") == 3.0
    assert watched.value("response_flags_total", flag="depth_cut") == 2.0
    parsed = [watched.value("rationales_total", parse_status=status) for status in ("COMPLETE", "PARTIAL", "NONE")]
    assert parsed == [4.0, 1.0, 0.0]


def test_a_server_has_its_series_from_when_it_is_named(watched: Watched) -> None:
    watched.telemetry.server_up("http://gpu-1:8000", is_up=False)
    of = {"server": "http://gpu-1:8000"}
    assert (watched.value("server_up", **of), watched.value("server_requests_in_flight", **of)) == (0.0, 0.0)
    assert {watched.value("server_requests_total", **of, outcome=end) for end in ServerEnd} == {0.0}
    watched.telemetry.server_up("http://gpu-1:8000", is_up=True)
    watched.telemetry.server_asked("http://gpu-1:8000")
    assert (watched.value("server_up", **of), watched.value("server_requests_in_flight", **of)) == (1.0, 1.0)
    watched.telemetry.server_done("http://gpu-1:8000", ServerEnd.ANSWERED, 2.0)
    assert watched.value("server_requests_in_flight", **of) == 0.0
    assert watched.value("server_request_seconds_sum", **of) == 2.0


def test_a_shared_server_has_its_seats_and_whether_it_is_left_to_others(watched: Watched) -> None:
    watched.telemetry.server_yields("http://gpu-1:8000", yields=True, seats=0)
    of = {"server": "http://gpu-1:8000"}
    assert (watched.value("server_yielding", **of), watched.value("server_seats", **of)) == (1.0, 0.0)
    watched.telemetry.server_yields("http://gpu-1:8000", yields=False, seats=3)
    assert (watched.value("server_yielding", **of), watched.value("server_seats", **of)) == (0.0, 3.0)


def test_totals_are_told_in_a_line(watched: Watched) -> None:
    watched.telemetry.consumed()
    watched.telemetry.skipped(Skip.SAMPLE)
    watched.telemetry.dead_letter(Reason.AVRO)
    assert watched.telemetry.totals() == "1 records received, 1 skipped, 0 responses, 1 dead letters"


def test_the_position_profile_is_a_series_a_slot(watched: Watched) -> None:
    watched.telemetry.position_profile({2: (0.6, 0.4)})
    assert watched.value("position_share", options="2", slot="0") == 0.6
    assert watched.value("position_share", options="2", slot="1") == 0.4


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_for_a_dead_letter_has_its_series(watched: Watched, reason: Reason) -> None:
    assert watched.value("dead_letters_total", reason=reason) == 0.0
    watched.telemetry.dead_letter(reason)
    assert watched.value("dead_letters_total", reason=reason) == 1.0


def test_the_stages_of_an_event_never_change() -> None:
    """Dashboards stack them."""
    assert list(LatencyStage) == ["topic", "window", "decode", "batch", "engine", "encode", "release", "transaction"]


def test_what_is_joined_is_counted_in_series_that_are_there_from_the_start(watched: Watched) -> None:
    before = series(watched)
    for facts in FactKind:
        for result in JoinResult:
            watched.telemetry.joined(facts, result, 2)
        for taken in Taken:
            watched.telemetry.facts_taken(facts, taken, 3)
        watched.telemetry.facts_held(facts, 4)
        watched.telemetry.facts_lag(facts, 5)
    watched.telemetry.joining(6)
    assert watched.value("joins_total", kind="items", result="waited") == 2.0
    assert watched.value("facts_records_total", kind="users", result="refused") == 3.0
    assert watched.value("facts_held", kind="items") == 4.0
    assert watched.value("facts_lag_records", kind="users") == 5.0
    assert watched.value("joins_waiting") == 6.0
    assert series(watched) == before


def test_the_words_of_public_labels_never_change(watched: Watched) -> None:
    """Dashboards and alerts name them, and dead letters carry the reasons."""
    reasons = (
        "magic schema avro json protobuf utf8 limit invalid headers unreadable engine_killer too_large refused"
        " item_unknown"
    )
    assert set(Reason) == set(reasons.split())
    assert set(FlushEnd) == {"committed", "aborted", "indoubt", "refused"}
    assert set(BatchEnd) == {"records", "tokens", "linger", "stop"}
    assert set(ShutBy) == {"records", "bytes", "tokens", "partition", "engine", "stopping"}
    assert set(FenceCause) == {"timeout", "identity"}
    assert set(RebalanceKind) == {"assigned", "revoked", "lost"}
    assert set(JoinResult) == {"found", "waited", "missing"}
    assert set(FactKind) == {"items", "users"}
    assert set(DrawRetry) == {"timeout", "died", "away", "withdrawn"}
    assert set(RegistryEnd) == {"answered", "not_found", "failed"}
    assert set(ServerEnd) == {"answered", "refused", "busy", "unreachable", "failed", "cancelled"}
    for reason in ("too_large", "refused"):
        assert watched.value("refusals_total", reason=reason) == 0.0


def test_what_runs_is_told(watched: Watched) -> None:
    assert b'engine="choice-model",model="choice-model"' in watched.telemetry.exposition()[0]


def test_ready_and_what_holds_up_are_what_readyz_says() -> None:
    registry, state = CollectorRegistry(), HealthState()
    Telemetry(CARD, registry=registry, blockers=state.blockers)

    def shown() -> tuple[float | None, set[str]]:
        held_up = {one: registry.get_sample_value("mirrorstream_held_up", {"reason": one}) for one in map(str, Blocker)}
        assert set(held_up.values()) <= {0.0, 1.0}, "every reason has its series"
        return registry.get_sample_value("mirrorstream_ready"), {one for one, value in held_up.items() if value}

    assert (shown(), state.ready()) == ((0.0, {"engine"}), "the engine is loading")
    state.waits(Blocker.START, "Kafka at kafka:9092 does not answer")
    assert shown() == (0.0, {"start"})
    for kinds in ((), *[(one,) for one in Blocker], tuple(Blocker)):
        texts = {one: f"because of {one}" if one in kinds else "" for one in Blocker}
        state.works(live=str, blockers=texts.copy, accept=str)
        assert shown() == (not kinds, set(kinds))
        assert state.ready() == "; ".join(f"because of {one}" for one in kinds)


def test_the_reasons_of_an_unready_worker_never_change() -> None:
    """Alerts name them."""
    words = "engine start group positions topics transactions unreadable breaker schema refusals stalled stopping"
    assert set(Blocker) == {*words.split(), "facts"}
