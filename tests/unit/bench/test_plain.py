"""The half of the bench without an LLM: its parts that need no Kafka."""

import json
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path

import pytest

from worker.bench.harness import traffic
from worker.bench.harness.rounds import Measured, turns
from worker.bench.harness.steady_stretch import Stretch
from worker.bench.plain import scaling
from worker.bench.plain.contenders import PLAIN, WORKER, Run
from worker.bench.plain.handler import Handler
from worker.bench.plain.outputs import compare
from worker.bench.plain.peers.options import PeerOptions
from worker.bench.plain.run import require_promise
from worker.bench.plain.scaling import efficiency
from worker.bench.report import AT_LEAST, HEADLINES
from worker.core.codec.avro_encoder import Encoder
from worker.core.codec.avro_schemas import own_schema
from worker.core.codec.impression import decode_plain
from worker.core.errors import Fatal, Poison
from worker.core.records import Impression, Partition, Record
from worker.demo.independent_count import Count
from worker.settings import Settings

RUN = Run("localhost:9092", "in", "out", "dlq")
PREFIX = Encoder("RecommendationImpression").encode(next(traffic.impressions(1)))[:10]
KEY = ("event", "SLATE", "control")


@pytest.fixture(scope="module")
def impressions() -> list[Impression]:
    return list(traffic.impressions(3))


def record(impression: Impression, offset: int = 5) -> Record:
    value = Encoder("RecommendationImpression").encode(impression)
    return Record(Partition("in", 2), 0, offset, b"user", value)


def plain(response: bytes) -> Mapping[str, object]:
    return decode_plain(response[10:], own_schema("SimulatedResponse"), "SimulatedResponse")


def test_the_traffic_has_the_size_that_the_worker_is_made_for(impressions: list[Impression]) -> None:
    assert len({one.event_id for one in impressions}) == 3
    assert all(len(slate.items) == traffic.SLATE_SIZE for one in impressions for slate in one.slates)
    assert all([slate.role for slate in one.slates] == ["CONTROL", "CANDIDATE"] for one in impressions)
    assert all(len(one.user.history) >= traffic.MIN_HISTORY for one in impressions)


def test_the_handler_answers_every_question_of_a_record(impressions: list[Impression]) -> None:
    messages = Handler("out").answer(record(impressions[0]))
    found = [plain(one.value or b"") for one in messages]
    assert [(one["question"], one["variant"], one["status"]) for one in found] == [
        ("SLATE", "control", "OK"), ("SLATE", "candidate", "OK"), ("DUEL", "candidate", "OK"),
    ]  # fmt: skip
    assert len(found) == traffic.QUESTIONS_AN_EVENT
    assert all(one.key == impressions[0].user.user_id.encode() and one.topic == "out" for one in messages)
    assert all(one["source"] == found[0]["source"] for one in found)
    assert found[0]["source"] == {"topic": "in", "partition": 2, "offset": 5, "schema_id": PREFIX[2:].hex()}


def test_the_handler_takes_no_foreign_schema(impressions: list[Impression]) -> None:
    whole = record(impressions[0]).value or b""
    with pytest.raises(Poison, match="our own schema"):
        Handler("out").answer(Record(Partition("in", 0), 0, 0, None, b"\x00\x00\x00\x00\x07" + whole[10:]))


def test_peers_get_the_fetch_settings_and_the_commits_of_the_worker() -> None:
    defaults = Settings.model_construct()
    for name, guarantee in PLAIN.items():
        if name == WORKER:
            continue
        python, *module, text = RUN.peer(name, Path("python"))
        options = PeerOptions.of_json(text)
        assert [python, *module] == ["python", "-m", f"worker.bench.plain.peers.{name}"]
        assert PeerOptions.of_json(options.to_json()) == options
        assert (options.topic, options.output, options.group) == ("in", "out", "out")
        assert (options.flush_records, options.flush_interval_s) == (256, 0.1)
        assert (defaults.flush_max_records, defaults.flush_interval_s) == (256, 0.1)
        assert options.consumer["queued.min.messages"] == 100
        assert options.consumer["isolation.level"] == "read_committed"
        assert ("transactional.id" in options.producer) == (guarantee == "exactly once")


def test_the_worker_is_the_real_one_with_defaults_but_for_its_topics() -> None:
    command = RUN.worker(choice_latency_s=0.5)
    assert command[1:4] == ["-m", "worker", "run"]
    assert "--set=engine=choice-model" in command
    assert f"--set=input_topics={json.dumps(['in'])}" in command
    assert "--set=choice_latency_s=0.5" in command


def test_every_contender_goes_first_in_its_turn() -> None:
    contenders = ("bare", "quix", "faststream", WORKER)
    rounds = [turns(contenders, number) for number in range(5)]
    assert [order[0] for order in rounds] == [*contenders, "bare"]
    assert all(sorted(order) == sorted(contenders) for order in rounds)


def test_what_came_at_once_gives_no_rate() -> None:
    stretch = Stretch(100)
    stretch.saw(100, at_s=1.0, cpu_s=1.0)
    assert not stretch.passed


def test_who_promises_exactly_once_has_no_rate_without_it() -> None:
    """What came twice would stand in for what is missing."""
    lost = Count()
    lost.expect("event", ["control", "candidate"])
    require_promise("bare", Count())
    require_promise("faststream", lost)
    with pytest.raises(Fatal, match="bare: 3 responses are missing and 0 are duplicates"):
        require_promise("bare", lost)


def test_contenders_that_differ_are_named() -> None:
    compare({"bare": {KEY: b"x"}, WORKER: {KEY: b"x"}})
    with pytest.raises(Fatal, match=r"plain-worker and bare wrote 1 different responses, such as .*control"):
        compare({"bare": {KEY: b"x"}, WORKER: {KEY: b"y"}})
    with pytest.raises(Fatal, match="plain-worker and bare answered different questions"):
        compare({"bare": {KEY: b"x"}, WORKER: {}})


def test_a_round_without_cpu_to_spare_says_nothing_of_scaling() -> None:
    def run(size: int, number: int, events: int, share: float) -> Measured:
        return Measured(f"workers_{size}", number, events, 10.0, {"machine_cpu_share": share})

    rounds = [run(1, 0, 100, 0.2), run(4, 0, 380, 0.4), run(1, 1, 100, 0.2), run(4, 1, 200, 0.9)]
    assert efficiency(rounds, 4) == [0.95]


def test_every_number_of_workers_has_equal_shares_and_a_goal() -> None:
    assert max(scaling.SIZES) == 8
    assert [scaling.PARTITIONS % size for size in scaling.SIZES] == [0] * len(scaling.SIZES)
    assert {name: AT_LEAST[name] for name in scaling.SCALED} == dict.fromkeys(scaling.SCALED, 0.95)
    assert HEADLINES[-len(scaling.SCALED) :] == scaling.SCALED


def test_a_broker_without_a_coordinator_for_the_group_is_asked_again() -> None:
    """A new broker makes its topic of groups while the first workers join."""

    class Silent:
        def describe_consumer_groups(self, groups: list[str], **limits: float) -> dict[str, Future[None]]:
            assert limits["request_timeout"] < 60, "the whole time to join"
            late: Future[None] = Future()
            late.set_exception(TimeoutError())
            return dict.fromkeys(groups, late)

    assert scaling._shares(Silent(), "group") == []
