"""Workers obey definitions on a real Kafka: within 2 s, under kills, whatever happens to the topics.

Under both group protocols: what is followed is read before the group is joined, and beside it from then on.
"""

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_experiment import serving
from tests.integration.test_topics import make, make_anew
from tests.support.answered import encoder, records_of, responses, send as send_answers
from tests.support.events import START_US, event_id, impression
from tests.support.harness import Stage, Worker, send, send_raw
from tests.support.judge import Judge
from tests.support.patience import patience
from tests.support.served import TOKEN, Served
from worker.core.steering.orders import verdict_digest
from worker.engines.model_files import TINY
from worker.experiment.definition import as_record, from_record

OBEYED_S = 2.0
DEFINED: dict[str, Any] = {
    "experiment_id": "shelf", "start": START_US, "control": "control", "candidates": ["shadow"], "state": "RUNNING",
    "questions": "both",
}  # fmt: skip


@pytest.fixture(autouse=True, params=["classic", pytest.param("consumer", marks=pytest.mark.long)])
def group_protocol(stage: Stage, request: pytest.FixtureRequest) -> None:
    """Have every worker join its group by one of the two protocols."""
    stage.overrides |= {"group_protocol": request.param}


def topics(stage: Stage) -> dict[str, str]:
    return {"experiments_topic": f"{stage.name}-definitions", "readouts_topic": f"{stage.name}-readouts"}


def define(stage: Stage, **changes: Any) -> None:
    """Publish a definition of the experiment."""
    value = encoder("ExperimentDefinition")(as_record(from_record(DEFINED | changes)))
    send_raw(stage, [(b"shelf", value)], topic=topics(stage)["experiments_topic"])


def tell(stage: Stage, verdict: str, fingerprint: str, **rule: Any) -> None:
    """Publish a readout of the experiment."""
    of = as_record(from_record(DEFINED | rule))
    record = {
        "experiment_id": "shelf", "config_fingerprint": fingerprint, "as_of": START_US, "exploratory": False,
        "effects": [], "verdict": verdict, "reason": "", "produced_at": time.time_ns() // 1_000,
        "candidates": [{"candidate": "shadow", "control": "control", "verdict": verdict, "reason": "", "sentence": "",
                        "basis": "defined", "metric": "duel_share", "users": 1, "value": None, "low": None,
                        "high": None, "checks_failed": [], "guardrails_violated": []}],
        "definition_digest": verdict_digest(of),
    }  # fmt: skip
    send_raw(stage, [(b"shelf", encoder("ExperimentReadout")(record))], topic=topics(stage)["readouts_topic"])


def obeyed(worker: Worker, *, running: int = 1, decided: int = 0) -> float:
    """Wait until the worker has it, and return how long that took, seconds."""
    start_s = time.monotonic()
    worker.until(
        lambda: (worker.metric("experiments_running"), worker.metric("experiments_decided")) == (running, decided),
        f"{running} running and {decided} decided", timeout_s=patience(20),
    )  # fmt: skip
    return time.monotonic() - start_s


def until_done(worker: Worker, number: int) -> None:
    """Wait until so many records were read by this worker and nothing is in flight."""
    worker.until(
        lambda: worker.metric("records_consumed_total") >= number and worker.metric("in_flight_records") == 0,
        f"{number} records done",
    )


def asked(judge: Judge) -> dict[str, Counter[str]]:
    """Return of each event how often each question was answered, but for what was not asked."""
    found: dict[str, Counter[str]] = {}
    for one in judge.answers():
        if one["status"] != "NOT_ASKED":
            found.setdefault(one["event_id"], Counter())[f"{one['question']}:{one['variant']}"] += 1
    return found


def test_a_changed_definition_is_obeyed_within_two_seconds_and_under_kills_nothing_is_lost_or_repeated(
    stage: Stage, judge: Judge
) -> None:
    """Read whole before the group is joined, and followed; a broken record stops nobody."""
    stage.create(partitions=3)
    stage.create_topic(topics(stage)["experiments_topic"])
    define(stage, state="STOPPED")
    send(stage, map(impression, range(20)))
    took_s = []
    with stage.worker(**topics(stage)) as worker:
        until_done(worker, 20)
        define(stage)
        took_s.append(obeyed(worker))
        send(stage, map(impression, range(20, 400)))
        worker.until(lambda: worker.metric("responses_total") > 0, "some responses")
        worker.kill()
    with stage.worker(**topics(stage)) as worker:
        worker.until_ready()
        send(stage, map(impression, range(400, 420)))
        worker.until(lambda: judge_has(judge, 400), "all answers of the running experiment")
        broken = encoder("ExperimentDefinition")(as_record(from_record(DEFINED)) | {"draws": 0})
        send_raw(stage, [(b"shelf", b"nothing"), (b"shelf", broken)], topic=topics(stage)["experiments_topic"])
        worker.until(lambda: worker.log.count("cannot be used") == 2, "lines about broken records")
        assert "draws: want" in worker.log
        send(stage, map(impression, range(420, 440)))
        worker.until(lambda: judge_has(judge, 420), "answers after broken records")
        define(stage, questions=None, draws=1)  # the headline alone: duels
        worker.until(lambda: worker.log.count("draws 1") > 0, "the new form", timeout_s=patience(20))
        send(stage, map(impression, range(440, 460)))
        worker.until(lambda: judge_has(judge, 440), "answers with one draw")
        define(stage, state="STOPPED")
        took_s.append(obeyed(worker, running=0))
        before = worker.metric("records_consumed_total")
        send(stage, map(impression, range(460, 480)))
        worker.until(lambda: worker.metric("records_consumed_total") == before + 20, "skipped records")
        assert worker.stop() == 0
    found = asked(judge)
    assert set(found) == {event_id(number) for number in range(20, 460)}
    full, headline = {"SLATE:control": 1, "SLATE:shadow": 1, "DUEL:shadow": 1}, {"DUEL:shadow": 1}
    assert all(found[event_id(number)] == full for number in range(20, 440))
    assert all({**found[event_id(number)], "SLATE:control": 0} | {} == headline | {"SLATE:control": 0}
               for number in range(440, 460))  # fmt: skip
    verdict = judge.verdict()
    assert verdict.committed == verdict.ends
    assert max(took_s) < patience(OBEYED_S)


def judge_has(judge: Judge, number: int) -> bool:
    return len(asked(judge)) >= number


def test_a_worker_without_the_topic_of_definitions_goes_on_and_obeys_it_once_it_is_there(
    stage: Stage, judge: Judge
) -> None:
    """A topic that is made anew replaces what was known, without a moment in between."""
    stage.create(partitions=1)
    name = topics(stage)["experiments_topic"]
    with stage.worker(**topics(stage)) as worker:
        worker.until_ready()
        send(stage, map(impression, range(10)))
        worker.until(lambda: judge_has(judge, 10), "answers without a definition")
        assert f"topic {name} does not exist" in worker.log
        make(stage, name, 1)
        define(stage)
        obeyed(worker)
        make_anew(stage, name)
        define(stage, state="STOPPED")
        obeyed(worker, running=0)
        assert f"topic {name} was recreated; what it says now replaces what was known of it" in worker.log
        assert "on_data_loss" not in worker.log
        send(stage, map(impression, range(10, 20)))
        until_done(worker, 20)
        assert worker.metric("records_skipped_total") == 10
        assert worker.stop() == 0
    assert set(asked(judge)) == {event_id(number) for number in range(10)}


def test_asking_ends_with_a_final_verdict_and_goes_on_when_that_is_taken_back(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    for name in topics(stage).values():
        stage.create_topic(name)
    define(stage, stop_when_decided=True)
    with stage.worker(**topics(stage), calibration_share=0.0) as worker:
        worker.until_ready()
        send(stage, map(impression, range(10)))
        worker.until(lambda: judge_has(judge, 10), "answers")
        fingerprint = judge.answers()[0]["provenance"]["config_fingerprint"]
        tell(stage, "CANDIDATE_PREFERRED", fingerprint)
        took_s = obeyed(worker, decided=1)
        send(stage, map(impression, range(10, 20)))
        until_done(worker, 20)
        assert worker.metric("records_skipped_total") == 10
        tell(stage, "DO_NOT_TRUST", fingerprint)
        took_s = max(took_s, obeyed(worker))
        send(stage, map(impression, range(20, 30)))
        worker.until(lambda: judge_has(judge, 20), "answers again")
        assert worker.stop() == 0
    assert set(asked(judge)) == {event_id(number) for number in (*range(10), *range(20, 30))}
    assert took_s < patience(OBEYED_S)


def test_a_page_that_is_served_publishes_verdicts_and_workers_end_asking(
    stage: Stage, judge: Judge, tmp_path: Path
) -> None:
    """Without a job beside it: `experiment serve` publishes to the topic that the workers follow."""
    stage.create(partitions=1)
    for name in topics(stage).values():
        stage.create_topic(name)
    define(stage, stop_when_decided=True)
    words = (
        "--readouts-topic", topics(stage)["readouts_topic"], "--readouts-interval-s", "1",
        "--definitions-topic", topics(stage)["experiments_topic"], "--state", str(tmp_path / "state.db"),
    )  # fmt: skip
    later_us = (time.time_ns() // 1_000) + 3_600_000_000  # after the definition, so that it is not exploratory
    with stage.worker(**topics(stage), calibration_share=0.0) as worker:
        worker.until_ready()
        send(stage, [impression(9_020, occurred_at=later_us)])  # of a user who also has many of the made-up answers
        worker.until(lambda: judge_has(judge, 1), "answers")
        own = judge.answers()[0]["provenance"]
        with serving(stage, tmp_path / "serve.log", *words):
            send_answers(stage.bootstrap, stage.responses, (
                json.loads(json.dumps(one).replace('"candidate"', '"shadow"'))
                | {"occurred_at": later_us + at, "provenance": own}
                for at, one in enumerate(responses(2_000, effect=0.2))
            ))  # fmt: skip
            obeyed(worker, decided=1)
        send(stage, (impression(number, occurred_at=later_us) for number in range(9_021, 9_031)))
        until_done(worker, 11)
        assert worker.metric("records_skipped_total") == 10
        assert worker.stop() == 0
    last = records_of(stage.bootstrap, topics(stage)["readouts_topic"], "ExperimentReadout")[-1]
    assert (last["exploratory"], last["verdict"]) == (False, "CANDIDATE_PREFERRED")
    assert "Traceback" not in (tmp_path / "serve.log").read_text()


@pytest.mark.long
def test_a_budget_is_kept_over_kills_and_what_is_over_it_is_skipped(
    stage: Stage, judge: Judge, served: Served, tmp_path: Path
) -> None:
    """What was spent stands beside the offsets: a worker that comes after a kill does not begin again.

    The third worker alone gets events for more than the whole budget.
    """
    stage.create(partitions=2)
    stage.create_topic(topics(stage)["experiments_topic"])
    budget, window, num_kills = 24_000, 2, 2
    define(stage, questions="duels", draws=1, max_tokens_total=budget)
    (tmp_path / "token").write_text(TOKEN)
    ours = topics(stage) | {
        "engine": "vllm-server", "model": TINY, "server_urls": served.url, "server_auth_file": str(tmp_path / "token"),
        "mode": "direct", "window_max_records": window, "calibration_share": 0.0,
    }  # fmt: skip
    for life, least in enumerate((15, 10)):
        send(stage, map(impression, range(40 * life, 40 * (life + 1))))
        with stage.worker(**ours) as worker:
            worker.until(lambda want=least: worker.metric("responses_total") >= want, f"{least} responses")  # type: ignore[misc]
            worker.kill()
    send(stage, map(impression, range(80, 200)))
    with stage.worker(**ours) as worker:
        worker.until(judge.all_committed, "commit up to the ends", timeout_s=patience(120))
        worker.until(lambda: worker.metric('budget_share{period="total"}') == 0.0, "a budget that is spent")
        assert worker.metric('records_skipped_total{reason="over_budget"}') > 0
        assert "experiment shelf: the total budget of tokens is spent: its events are skipped" in worker.log
        assert worker.stop() == 0
    answers = [one for one in judge.answers() if one["status"] != "NOT_ASKED"]
    assert not judge.verdict().duplicated
    costs = [one["usage"]["prompt_tokens"] + one["usage"]["completion_tokens"] for one in answers]
    spent, most = sum(costs), max(costs)
    print(f"{len(answers)} answers cost {spent} tokens of {budget}, one at most {most}")
    # Answered, not yet committed when the worker was killed: paid, and asked again.
    assert budget - num_kills * window * most <= spent <= budget + (window + 2) * most
    assert 120 * min(costs) > budget


def test_hostile_records_on_the_topics_that_steer_stop_nobody_and_ask_nobody_without_bounds(
    stage: Stage, judge: Judge
) -> None:
    """What is no definition, numbers beyond bounds, names of any kind, a thousand experiments, one that flips."""
    stage.create(partitions=1)
    for topic in topics(stage).values():
        stage.create_topic(topic)
    encode, good = encoder("ExperimentDefinition"), as_record(from_record(DEFINED))
    far, nan = 2**62, float("nan")
    changes: list[dict[str, Any]] = [
        {"draws": 10**9}, {"slate_depth": -1}, {"sample_rate": nan}, {"slate_share": float("inf")},
        {"max_tokens_per_hour": -1}, {"max_tokens_total": far}, {"candidates": ["x"] * 30_000}, {"start": -far},
        {"eligible": {"k\x1b[2J\n{}": []}}, {"eligible": {"k": ["v" * 900_000]}}, {"experiment_id": ""},
        {"experiment_id": "x" * 300_000}, {"guardrails": [{"metric": "x", "margin": nan}] * 30_000},
    ]  # fmt: skip
    refused = [b"", b"{}", b"\xff" * 100, b"\0" * 100_000, encode(good)[:30], *(encode(good | one) for one in changes)]
    odd_ids = ["../../etc/passwd", 'a\x1b[2J\n{"level": "error"}', "\0", "shelf~split", *map(str, range(1_000))]
    taken = [encode(good | {"experiment_id": one, "start": far}) for one in odd_ids]
    with stage.worker(**topics(stage), draws=2) as worker:
        worker.until_ready()
        for topic in topics(stage).values():
            send_raw(stage, [(b"shelf", value) for value in (*refused, *refused, *refused)], topic=topic)
        send_raw(stage, [(b"any", value) for value in taken], topic=topics(stage)["experiments_topic"])
        flips = [(b"shelf", encode(good | {"draws": 1 + number % 2})) for number in range(5_000)]
        send_raw(stage, flips, topic=topics(stage)["experiments_topic"])
        send(stage, map(impression, range(200)))
        until_done(worker, 200)
        judge.verdict()
        assert {sum(one.values()) for one in asked(judge).values()} == {3}
        counted = re.findall(
            r'^mirrorstream_followed_records_total{.*result="refused".*} (\S+)$',
            worker.page("/metrics")[1],
            re.MULTILINE,
        )
        assert [float(one) for one in counted] == [3.0 * len(refused)] * 2
        assert len(worker.log) < 300_000
        assert "Traceback" not in worker.log
