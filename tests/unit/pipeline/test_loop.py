"""The loop with fakes around it: what becomes of a record, and of everything that can go wrong with it."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.examples import impression
from tests.support.fakes import WALL_S, jumping, until
from tests.support.world import (
    DRAWS,
    IMPRESSIONS,
    POISON,
    QUESTIONS,
    A,
    B,
    World,
    event,
    events,
    failing,
    held_by,
    response,
    rules,
    statuses,
    working,
)
from worker.core.blockers import Blocker
from worker.core.codec.avro_encoder import JsonEncoder
from worker.core.codec.input_forms import JsonInput
from worker.core.codec.json_reader import JsonRules
from worker.core.delivery.handover_messages import (
    Aborted,
    Committed,
    InDoubt,
    Rebalanced,
    RebalanceKind,
    Refusal,
    Refused,
    Revoking,
)
from worker.core.delivery.stages import LatencyStage
from worker.core.delivery.window import ShutBy
from worker.core.errors import Fatal, Fenced
from worker.core.pseudonyms import pseudonym
from worker.core.records import Domain, Item, Reason, Record, Slate, User
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.privacy import FAILED, Privacy
from worker.core.simulation.questions import Status
from worker.core.simulation.sampling import USER_DAY_BYTES, Sampling, UserBudget
from worker.pipeline.decoder import Decoded
from worker.pipeline.in_flight import RecordInFlight
from worker.pipeline.ports import AllRead
from worker.pipeline.refusals import MAX_ROW
from worker.settings import mappings

# -- one record


@jumping
async def test_an_events_responses_and_its_offset_leave_in_one_flush() -> None:
    async with working() as world:
        await world.read(event("event-0"), event("event-1"), headers=(("tenant", b"t"), ("secret", b"s")))
        await world.committed(A, 2)
    for flush in world.sink.flushes:
        found = [response(message) for message in flush.messages]
        assert flush.offsets == {A: 1 + max(one["source"]["offset"] for one in found)}
        asked = Counter(one["event_id"] for one in found)
        assert set(asked.values()) == {QUESTIONS}
    assert Counter(response(message)["event_id"] for message in world.sink.log) == {"event-0": 3, "event-1": 3}
    assert statuses(world) == {"OK": 2 * QUESTIONS}
    assert {message.key for message in world.sink.log} == {b"user"}
    assert world.sink.log[0].headers == (("tenant", b"t"), ("traceparent", b"00-event-0"))


@jumping
async def test_a_record_that_can_never_be_answered_is_a_dead_letter_in_the_flush_of_its_offset() -> None:
    headers = (("tenant", b"t"), ("empty", None))
    async with working() as world:
        await world.read(POISON, headers=headers)
        await world.committed(A, 1)
    (flush,) = world.sink.flushes
    (letter,) = flush.messages
    assert flush.offsets == {A: 1}
    assert (letter.topic, letter.key, letter.value) == ("impressions.dlq", b"key", POISON)
    assert letter.headers[:2] == headers
    why = dict(letter.headers[2:])
    assert (why["ms-reason"], why["ms-source-topic"]) == (b"magic", b"impressions")
    assert (why["ms-source-partition"], why["ms-source-offset"]) == (b"0", b"0")
    assert world.watch.counts["dead letter magic"] == 1


@jumping
async def test_one_bad_record_among_good_ones_costs_only_itself() -> None:
    async with working() as world:
        await world.read(event("event-0"), POISON, event("event-2"))
        await world.committed(A, 3)
    topics = Counter(message.topic for message in world.sink.log)
    assert topics == {"responses": 2 * QUESTIONS, "impressions.dlq": 1}


@jumping
async def test_a_schema_that_nobody_has_makes_a_dead_letter() -> None:
    async with working() as world:
        await world.read(b"\x00\x00\x00\x00\x07" + event())
        await world.committed(A, 1)
    assert world.watch.counts["dead letter schema"] == 1


@jumping
async def test_tombstones_and_skipped_events_leave_nothing_but_their_offset() -> None:
    async with working(sampling=Sampling(sample_rate=0.0)) as world:
        await world.read(None, event("event-1"), event("event-2", is_test=True))
        await world.committed(A, 3)
    assert world.sink.log == []
    assert world.engine.asks == []
    counted = {name: num for name, num in world.watch.counts.items() if name.startswith("skipped")}
    assert counted == {"skipped tombstone": 1, "skipped sample": 1, "skipped test": 1}


@jumping
async def test_a_start_position_is_committed_though_nothing_is_read() -> None:
    async with working() as world:
        world.source.assign(A, resume_at=7)
        await world.committed(A, 7)
    assert world.sink.log == []


@jumping
async def test_a_response_too_large_for_the_topic_loses_its_texts_and_says_so() -> None:
    world = World(max_message_bytes=6_000)
    world.engine.text = "x" * 5_000
    async with working(world):
        await world.read(event())
        await world.committed(A, 1)
    for message in world.sink.log:
        found = response(message)
        assert found["flags"] == ["text_cut"]
        assert found["status"] == "OK"
        assert all(draw["text"] is None and draw["rationale"] is None for draw in found["draws"])
        assert len(message.value or b"") <= 6_000


@jumping
async def test_what_is_published_is_decided_before_it_leaves_and_a_failed_redactor_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails_on_names(text: str) -> str:
        if "Ann" in text:
            raise ValueError(text)
        return text.replace("secret", "[x]")

    world = World(privacy=Privacy(redactor=fails_on_names, pseudonym_key=b"k" * 16))
    async with working(world):
        world.engine.text = "a secret"
        await world.read(event())
        await world.committed(A, 1)
        world.engine.text = "Ann's"
        await world.read(*events(2), first=1)
        await world.committed(A, 3)
    texts = {draw["text"] for message in world.sink.log for draw in response(message)["draws"]}
    assert texts == {"a [x]", FAILED}
    user = pseudonym(b"k" * 16, "user")
    assert {(message.key, response(message)["user_id"]) for message in world.sink.log} == {(user.encode(), user)}
    assert world.watch.counts["redactor failed"] == 2 * world.watch.counts["redacted"] > 0
    (line,) = [one.getMessage() for one in caplog.records if "redactor" in one.getMessage()]
    assert "ValueError" in line
    assert "Ann" not in caplog.text


@jumping
async def test_half_a_character_that_a_model_escapes_in_json_is_no_crash() -> None:
    """UTF-8 has none, so no response could hold it: the worker would end at this event, again and again."""
    world = World()
    world.engine.text = r'{"Thought": {"Stimulus": "a \ud83d b", "\ud800": "c"}, "Knowledge Factors": ["\udfff"]}'
    async with working(world):
        await world.read(event())
        await world.committed(A, 1)
    assert len(world.sink.log) == QUESTIONS
    rationales = [draw["rationale"] for message in world.sink.log for draw in response(message)["draws"]]
    assert {one["stimulus"] for one in rationales} == {"a \ufffd b"}


@jumping
async def test_a_response_too_large_even_without_its_texts_makes_its_event_a_dead_letter() -> None:
    """Segments are echoed: sent all the same, the broker would refuse every flush that holds it, for ever."""
    async with working(max_message_bytes=6_000) as world:
        wide = impression(event_id="wide", user=User("user", segments={"plan": "x" * 4_000, "city": "y" * 4_000}))
        await world.read(IMPRESSIONS.encode(wide), event("event-1"))
        await world.committed(A, 2)
    assert all(len(message.value or b"") <= 6_000 for message in world.sink.log)
    assert Counter(message.topic for message in world.sink.log) == {"impressions.dlq": 1, "responses": QUESTIONS}


@jumping
async def test_a_tracestate_that_makes_a_response_too_large_is_dropped_before_its_texts() -> None:
    world = World(max_message_bytes=6_000)
    state = ("tracestate", b"k=" + b"v" * 5_500)
    world.watch.trace = {"traceparent": "00-a", "tracestate": state[1].decode()}
    async with working(world):
        await world.read(event(), headers=(("tenant", b"t"), state))
        await world.committed(A, 1)
    assert len(world.sink.log) == QUESTIONS
    for message in world.sink.log:
        assert message.headers == (("tenant", b"t"), ("traceparent", b"00-a"))
        assert response(message)["flags"] == []
        assert message.num_bytes <= 6_000


@jumping
async def test_keys_and_headers_count_against_the_topics_limit() -> None:
    """A response that fits by its value alone and not with its key would be refused for ever."""
    world = World(max_message_bytes=6_000)
    async with working(world):
        wide = impression(event_id="wide", user=User("u" * 250, segments={"plan": "x" * 3_900}))
        await world.read(IMPRESSIONS.encode(wide), headers=(("tenant", b"t" * 2_000),))
        await world.committed(A, 1)
    (letter,) = world.sink.log
    assert dict(letter.headers)["ms-reason"] == b"too_large"
    assert "topic responses takes at most 6000" in (dict(letter.headers)["ms-detail"] or b"").decode()


# -- what Kafka refuses


def refusing(*offsets: int, reason: Reason = Reason.TOO_LARGE) -> Refused:
    found = tuple(Refusal(A, offset, reason, "topic responses refuses it") for offset in offsets)
    return Refused(found, certain=True, now_s=0.0)


@jumping
async def test_a_refused_response_costs_its_event_alone() -> None:
    async with working() as world:
        world.sink.ends.append(refusing(1))
        await world.read(event("event-0"), event("event-1"), event("event-2"))
        await world.committed(A, 3)
        assert world.pipeline.held_up == ""
    topics = Counter(message.topic for message in world.sink.log)
    assert topics == {"responses": 2 * QUESTIONS, "impressions.dlq": 1}
    (letter,) = [message for message in world.sink.log if message.topic == "impressions.dlq"]
    assert letter.value == event("event-1")
    assert dict(letter.headers)["ms-reason"] == b"too_large"
    assert world.watch.counts["refused too_large"] == 1
    assert world.watch.counts["dead letter too_large"] == 1
    assert world.watch.counts["flush refused"] == 1


@jumping
async def test_a_refused_dead_letter_goes_in_a_smaller_form_and_then_waits_aloud() -> None:
    """Its partition waits; the other one goes on, and when the topic is mended it goes too."""
    async with working() as world:
        world.sink.ends.extend([refusing(0)] * 2)
        await world.read(POISON, event("event-1"))
        await until(lambda: "no dead letter of it either" in world.pipeline.held_up)
        assert world.sink.committed == {}
        await world.read(event("event-2"), partition=B)
        await world.committed(B, 1)
        await world.committed(A, 2)
        assert world.pipeline.held_up == ""
    (letter,) = [message for message in world.sink.log if message.topic == "impressions.dlq"]
    assert (letter.key, letter.value) == (b"impressions[0]@0", b"")
    assert dict(letter.headers)["ms-truncated"] == str(len(POISON)).encode()
    assert world.watch.counts["dead letter magic"] == 1


@jumping
async def test_a_topic_that_refuses_every_event_is_not_drained_into_dead_letters() -> None:
    async with working() as world:
        for number in range(MAX_ROW + 1):
            world.sink.ends.extend([refusing(number, reason=Reason.REFUSED), Committed()])
            await world.read(event(f"event-{number}"), first=number)
            if number < MAX_ROW:
                await world.committed(A, number + 1)
        await until(lambda: f"{MAX_ROW} events in a row" in world.pipeline.held_up)
        await world.committed(A, MAX_ROW + 1)
        assert world.pipeline.held_up == ""
    topics = Counter(message.topic for message in world.sink.log)
    assert topics == {"impressions.dlq": MAX_ROW, "responses": QUESTIONS}


# -- how far behind


@jumping
async def test_a_worker_says_how_far_each_partition_is_behind_and_since_when() -> None:
    """The oldest record waits behind a slow engine; what has not even been received counts as well."""
    world = World()
    gate = world.engine.gates["event-0"] = asyncio.Event()
    async with working(world):
        world.source.assign(A, resume_at=100)
        world.source.ends = {A: 1_000_000}
        written_ms = int(1000 * (WALL_S - 7_200))
        world.source.deliver([Record(A, 1, 100 + n, b"k", event(f"event-{n}"), (), written_ms) for n in range(2)])
        await until(lambda: A in world.watch.lags and world.watch.lags[A].behind_since_s is not None)
        behind = world.watch.lags[A]
        assert (behind.lag, behind.behind_since_s) == (999_900, WALL_S - 7_200)
        assert world.watch.drain_s == float("inf")
        gate.set()
        await world.committed(A, 102)
        await until(lambda: world.watch.lags[A].commit_offset == 102)
        caught_up = world.watch.lags[A]
        assert (caught_up.lag, caught_up.behind_since_s) == (999_898, None), "nothing paused, nothing in flight"
        assert caught_up.event_s == impression().occurred_at / 1e6


@jumping
async def test_the_lag_of_a_partition_goes_with_it() -> None:
    async with working() as world:
        world.source.assign(A, B)
        await until(lambda: world.watch.lags.keys() == {A, B})
        await world.source.revoke(A)
        await until(lambda: world.watch.lags.keys() == {B})
        world.source.lose(B)
        await until(lambda: not world.watch.lags)


# -- records that say less than others


@pytest.mark.parametrize("written_ms", [None, 0, 1_793_534_400])
@jumping
async def test_a_record_without_a_usable_time_has_no_latency(written_ms: int | None) -> None:
    async with working() as world:
        world.source.assign(A)
        world.source.deliver([Record(A, 1, 0, b"k", event(), timestamp_ms=written_ms)])
        await world.committed(A, 1)
    assert (world.watch.counts["untimed"], world.watch.latencies_s) == (1, [])
    assert len(world.sink.log) == QUESTIONS


@jumping
async def test_a_latency_ends_with_the_commit_and_not_with_the_answer() -> None:
    """An answer behind an older record, or in a slow transaction, is not there yet for any reader."""
    world = World()
    world.sink.flush_s = 0.8
    gate = world.engine.gates["event-0"] = asyncio.Event()
    async with working(world):
        await world.read(event("event-0"), event("event-1"))
        await until(lambda: world.watch.counts["answered"] == QUESTIONS)
        await asyncio.sleep(1.0)
        assert world.watch.counts["committed"] == 0
        gate.set()
        await world.committed(A, 2)
    assert len(world.watch.latencies_s) == 2
    assert all(1.8 < latency_s < 2.5 for latency_s in world.watch.latencies_s)


@jumping
async def test_each_stage_of_an_event_has_its_time_and_all_of_them_add_up() -> None:
    world = World()
    world.sink.flush_s = 0.8
    gate = world.engine.gates["event-0"] = asyncio.Event()
    async with working(world):
        world.source.assign(A)
        await asyncio.sleep(10.0)
        written_ms = int(1000 * (WALL_S + world.pipeline.last_tick_s - 3.0))
        late = [
            Record(A, 1, n, b"k", event(f"event-{n}"), (), written_ms, polled_s=world.pipeline.last_tick_s - 1.0)
            for n in range(2)
        ]
        world.source.deliver(late)
        await until(lambda: len(world.engine.asks) == 2 * QUESTIONS * DRAWS)
        await asyncio.sleep(4.0)
        gate.set()
        await world.committed(A, 2)
    found = world.watch.stages_s
    assert sum(found.values()) == pytest.approx(sum(world.watch.latencies_s), rel=0.001)
    assert found[LatencyStage.TOPIC] == pytest.approx(2 * 2.0, abs=0.1)
    assert found[LatencyStage.WINDOW] == pytest.approx(2 * 1.0, abs=0.1)
    assert found[LatencyStage.BATCH] == pytest.approx(2 * 0.02, abs=0.05)
    assert found[LatencyStage.ENGINE] == pytest.approx(4.0, abs=0.1), "one of the two"
    assert found[LatencyStage.RELEASE] == pytest.approx(4.0, abs=0.5), "the other, which waits behind it"
    assert found[LatencyStage.TRANSACTION] == pytest.approx(2 * 0.8, abs=0.1)


@jumping
async def test_only_answers_have_a_latency() -> None:
    async with working(sampling=Sampling(sample_rate=0.0)) as world:
        await world.read(None, POISON, event())
        await world.committed(A, 3)
    assert (world.watch.counts["committed"], world.watch.latencies_s) == (0, [])


@jumping
async def test_a_record_dated_ahead_of_our_clock_has_no_negative_latency() -> None:
    async with working() as world:
        world.source.assign(A)
        world.source.deliver([Record(A, 1, 0, b"k", event(), timestamp_ms=int(1000 * (WALL_S + 3_600)))])
        await world.committed(A, 1)
    assert world.watch.latencies_s == [0.0]


@jumping
async def test_a_batch_that_nobody_can_read_is_one_dead_letter_and_its_whole_range_is_committed() -> None:
    async with working() as world:
        world.source.assign(A)
        problem = "offsets 5 to 9: _BAD_COMPRESSION"
        world.source.deliver([Record(A, 1, 9, None, None, problem=problem, unreadable_from=5)])
        await world.committed(A, 10)
    (letter,) = world.sink.log
    told = dict(letter.headers)
    assert (told["ms-reason"], told["ms-source-offset"], told["ms-source-last-offset"]) == (b"unreadable", b"5", b"9")
    assert letter.value is None


@jumping
async def test_headers_decoded_records_and_waiting_messages_fill_the_window() -> None:
    async with working() as world:
        gate = world.engine.gates["event-0"] = asyncio.Event()
        await world.read(event("event-0"), headers=(("blob", b"x" * 10_000),))
        await until(lambda: bool(world.engine.asks))
        assert held_by(world.window)[1] > 10_000 + 3 * len(event("event-0"))
        await world.read(*events(2)[1:], first=1)
        await until(lambda: len(world.engine.asks) == 2 * QUESTIONS * DRAWS)
        await until(lambda: not world.engine.gates.get("event-1"))
        gate.set()
        await world.committed(A, 2)
        assert held_by(world.window)[1] == 0


@jumping
async def test_events_of_one_user_stand_side_by_side_in_the_engine() -> None:
    async with working() as world:
        await world.read(event("event-0", "ann"), event("event-1", "bob"), event("event-2", "ann"))
        await world.committed(A, 3)
    users = [ask.impression.user.user_id for ask in world.engine.asks]
    assert users == sorted(users)


# -- order


@jumping
async def test_a_commit_never_passes_an_unfinished_record() -> None:
    world = World()
    async with working(world):
        world.engine.gates["event-1"] = asyncio.Event()
        await world.read(*events(4))
        await world.committed(A, 1)
        await asyncio.sleep(1.0)
        assert world.offsets() == [{A: 1}]
        assert world.watch.counts["answered"] == 3 * QUESTIONS, "what stands behind it is answered meanwhile"
        world.engine.gates["event-1"].set()
        await world.committed(A, 4)
    order = [response(message)["source"]["offset"] for message in world.sink.log]
    assert order == sorted(order)


@jumping
async def test_a_slow_record_of_one_partition_does_not_hold_another() -> None:
    world = World()
    async with working(world):
        world.engine.gates["slow"] = asyncio.Event()
        await world.read(event("slow"))
        await world.read(*events(3), partition=B)
        await world.committed(B, 3)
        assert A not in world.sink.committed
        world.engine.gates["slow"].set()


# -- the engine


@jumping
async def test_a_question_past_its_deadline_is_aborted_tried_once_more_and_then_a_timeout() -> None:
    world = World()
    async with working(world):
        world.engine.gates["event-0"] = asyncio.Event()
        await world.read(event())
        await world.committed(A, 1)
    assert set(Counter(ask.ask_id for ask in world.engine.asks).values()) == {2}
    assert world.engine.num_cancelled == len(world.engine.asks) == QUESTIONS * DRAWS * 2
    assert statuses(world) == {"TIMEOUT": QUESTIONS}
    assert all(response(message)["choice"] is None for message in world.sink.log)


@jumping
async def test_a_question_answered_at_its_second_try_is_answered() -> None:
    world = World()
    async with working(world):
        gate = world.engine.gates["event-0"] = asyncio.Event()
        asyncio.get_running_loop().call_later(3.0, gate.set)  # the deadline is at 2 s
        await world.read(event())
        await world.committed(A, 1)
    assert statuses(world) == {"OK": QUESTIONS}


@jumping
async def test_what_the_engine_cannot_do_is_a_status_and_not_a_lost_event() -> None:
    def breaks(ask: Ask) -> Drawn:
        if ask.question.name == "DUEL:candidate":
            raise ValueError("this prompt breaks the engine")
        return world.engine.even(ask)

    world = World()
    world.engine.answer = breaks
    async with working(world):
        await world.read(event())
        await world.committed(A, 1)
    assert statuses(world) == {"OK": 2, "ENGINE_ERROR": 1}


@jumping
async def test_a_status_of_the_engine_is_passed_on_without_a_second_try() -> None:
    world = World()
    world.engine.answer = lambda _: Drawn(Status.LENGTH)
    async with working(world):
        await world.read(event())
        await world.committed(A, 1)
    assert statuses(world) == {"LENGTH": QUESTIONS}
    assert len(world.engine.asks) == QUESTIONS * DRAWS


@jumping
async def test_never_more_draws_are_in_the_engine_than_allowed() -> None:
    world = World(max_draws=5)
    async with working(world):
        for number in range(3):
            world.engine.gates[f"event-{number}"] = asyncio.Event()
        await world.read(*events(3))
        await asyncio.sleep(1.0)
        assert len(world.engine.asks) == 5
        for gate in world.engine.gates.values():
            gate.set()
        await world.committed(A, 3)
    assert len(world.engine.asks) == 3 * QUESTIONS * DRAWS


# -- the registry


@jumping
async def test_a_registry_outage_holds_records_and_makes_no_dead_letters() -> None:
    world = World()
    world.schemas.outages = 6
    async with working(world):
        await world.read(*events(2))
        assert "registry is away" in world.pipeline.held_up
        await asyncio.sleep(5.0)
        assert world.sink.flushes == []
        await world.committed(A, 2)
        assert world.pipeline.held_up == ""
    assert statuses(world) == {"OK": 2 * QUESTIONS}
    assert not [name for name in world.watch.counts if name.startswith("dead letter")]


@jumping
async def test_a_record_whose_partition_goes_during_an_outage_is_not_asked() -> None:
    world = World()
    world.schemas.outages = 3
    async with working(world):
        await world.read(event())
        await world.source.revoke(A)
        await until(lambda: world.pipeline.held_up == "")
        await asyncio.sleep(1.0)
    assert world.engine.asks == []
    assert world.watch.counts["stale"] == 1


# -- transactions


@jumping
async def test_an_aborted_flush_goes_again_with_the_same_bytes_and_without_new_inference() -> None:
    world = World()
    world.sink.ends += [Aborted(0.0), Aborted(0.0)]
    async with working(world):
        await world.read(event())
        await world.committed(A, 1)
    first, second, third = world.sink.flushes
    assert first.heads == second.heads == third.heads
    assert len(world.engine.asks) == QUESTIONS * DRAWS
    assert len(world.sink.log) == QUESTIONS


@pytest.mark.parametrize("landed", [True, False])
@jumping
async def test_a_flush_in_doubt_is_sent_again_only_if_the_broker_does_not_have_it(*, landed: bool) -> None:
    world = World()
    world.sink.ends.append(InDoubt())
    world.sink.lands_in_doubt = landed
    world.sink.settle_s = 3.0
    async with working(world):
        await world.read(event())
        await until(lambda: world.sink.calls["settle"] == 1 and world.handover.idle)
        await world.committed(A, 1)
    assert world.watch.counts["settled"] == 1
    assert world.watch.in_doubt_s == pytest.approx(3.0, abs=0.1)
    assert world.watch.counts["fence timeout"] == 0
    assert len(world.sink.flushes) == (1 if landed else 2)
    assert len(world.sink.log) == QUESTIONS


@jumping
async def test_a_fenced_producer_ends_the_run() -> None:
    world = World()
    world.sink.ends.append(Fenced("another holder took over"))
    running = asyncio.create_task(failing(world))
    await until(lambda: world.pipeline.held_up == "")
    await world.read(event())
    assert isinstance(await running, Fenced)
    assert world.sink.committed == {}
    assert world.watch.counts["fence identity"] == 1


@jumping
async def test_a_fenced_member_is_counted_before_the_run_ends() -> None:
    world = World()
    running = asyncio.create_task(failing(world))
    await until(lambda: world.pipeline.held_up == "")
    world.source.deliver(Fenced("poll: another member has our group instance id"))
    assert isinstance(await running, Fenced)
    assert world.watch.counts["fence identity"] == 1


@jumping
async def test_a_transaction_that_the_broker_ended_is_a_fence_and_the_worker_goes_on() -> None:
    world = World()
    world.sink.ends.append(InDoubt(is_fenced=True))
    async with working(world):
        await world.read(event())
        await world.committed(A, 1)
    assert (world.watch.counts["fence timeout"], world.watch.counts["fence identity"]) == (1, 0)


@jumping
async def test_rebalances_are_counted_with_their_partitions() -> None:
    async with working() as world:
        for kind, num in ((RebalanceKind.ASSIGNED, 3), (RebalanceKind.ASSIGNED, 0), (RebalanceKind.LOST, 2)):
            world.source.deliver(Rebalanced(kind, num, 0.1))
    assert (world.watch.counts["rebalance assigned"], world.watch.counts["rebalance lost"]) == (3, 2)


# -- rebalances


@jumping
async def test_a_revocation_sends_the_finished_head_before_it_lets_go() -> None:
    world = World()
    async with working(world):
        world.engine.gates["event-1"] = asyncio.Event()
        await world.read(*events(3))
        await until(lambda: world.watch.counts["answered"] == 2 * QUESTIONS)
        await world.source.revoke(A)
        assert world.sink.committed == {A: 1}
        await until(lambda: world.watch.gauges["assigned"] == 0)
    assert world.source.calls["let_go"] == 1


@jumping
async def test_a_late_result_of_a_revoked_partition_is_dropped_and_its_requests_are_aborted() -> None:
    world = World()
    async with working(world):
        gate = world.engine.gates["event-0"] = asyncio.Event()
        await world.read(event())
        await until(lambda: len(world.engine.asks) == QUESTIONS * DRAWS)
        await world.source.revoke(A)
        await asyncio.sleep(0.01)
        assert world.engine.num_cancelled == QUESTIONS * DRAWS
        gate.set()
        await asyncio.sleep(1.0)
        assert (world.sink.flushes, world.handover.in_flight) == ([], 0)


@jumping
async def test_records_read_before_a_rebalance_are_dropped_after_it() -> None:
    world = World()
    async with working(world):
        world.source.assign(A)
        late = Record(A, world.source.epochs[A], 0, b"key", event())
        world.source.lose(A)
        world.source.assign(A)
        world.source.deliver([late])
        await until(lambda: world.watch.counts["stale"] == 1)
        await world.read(event())
        await world.committed(A, 1)
    assert world.watch.counts["consumed"] == 1


@jumping
async def test_what_waits_in_a_micro_batch_is_not_asked_once_its_partition_is_gone() -> None:
    """Read again in the next assignment, it is asked once."""
    async with working() as world:
        await world.read(event())
        world.source.lose(A)
        await world.read(event())
        await world.committed(A, 1)
    assert len(world.engine.asks) == QUESTIONS * DRAWS
    assert world.watch.counts["consumed"] == 2


@jumping
async def test_a_partition_that_comes_back_after_a_revocation_gave_up_counts_as_assigned() -> None:
    """The callback returned unheard; a partition that is not counted is never paused."""
    async with working() as world:
        world.sink.flush_s = 1.0
        await world.read(event())
        await until(lambda: bool(world.sink.flushes))
        world.source.deliver(Revoking(frozenset({A}), deadline_s=99.0))  # waits for the flush, and gives up
        world.source.assign(A)
        await until(lambda: world.handover.idle)
        assert world.watch.gauges["assigned"] == 1


@jumping
async def test_a_partition_that_comes_back_is_answered_anew_from_its_commit() -> None:
    world = World()
    async with working(world):
        gate = world.engine.gates["event-0"] = asyncio.Event()
        await world.read(event())
        world.source.lose(A)
        gate.set()
        await world.read(event())
        await world.committed(A, 1)
    assert len(world.sink.log) == QUESTIONS


# -- the window


@jumping
async def test_a_full_window_pauses_every_partition_and_who_filled_it_until_it_is_half_empty() -> None:
    world = World(max_records=4)
    async with working(world):
        for number in range(4):
            world.engine.gates[f"event-{number}"] = asyncio.Event()
        world.source.assign(B)
        await world.read(*events(4))
        assert world.source.paused == {A, B}
        world.engine.gates["event-0"].set()
        await world.committed(A, 1)
        assert world.source.paused == {A}, "the marks stand apart for who holds much; B holds nothing"
        world.engine.gates["event-1"].set()
        await world.committed(A, 2)
        await until(lambda: world.source.paused == frozenset())
        for gate in world.engine.gates.values():
            gate.set()
    assert world.watch.most_paused == 2
    assert {None, ShutBy.RECORDS} <= world.watch.shut_by, "4 records of 4"
    assert ShutBy.ENGINE not in world.watch.shut_by


@jumping
async def test_batches_are_counted_by_why_they_closed() -> None:
    async with working() as world:
        await world.read(*events(5))  # of 4 in a batch
        await world.committed(A, 5)
    batches = {name: num for name, num in world.watch.counts.items() if name.startswith("batch")}
    assert batches == {"batch records": 4, "batch linger": 1}
    assert ShutBy.STOPPING in world.watch.shut_by


@jumping
async def test_what_is_in_flight_returns_to_nothing() -> None:
    async with working() as world:
        await world.read(*events(5), POISON, None)
        assert world.handover.in_flight > 0
        await world.committed(A, 7)
        await until(lambda: world.watch.gauges["in_flight"] == 0)
        assert world.watch.gauges == {"in_flight": 0, "assigned": 1, "paused": 0, "head_s": 0.0}
        assert held_by(world.window)[0] == 0


@pytest.mark.usefixtures("coarse")
@jumping
async def test_a_record_that_nobody_works_on_any_more_is_noticed() -> None:
    """The task is lost and the count stays: what a leak looks like from outside."""
    async with working() as world:
        world.engine.gates = {"event-0": asyncio.Event()}
        await world.read(event())
        await until(lambda: bool(world.engine.asks))
        for task in asyncio.all_tasks():
            if "_answer" in repr(task.get_coro()):
                task.cancel()
        await asyncio.sleep(60.0)
        assert world.pipeline.held_up == ""
        await asyncio.sleep(10.0)
        assert "no record finished" in world.pipeline.held_up
        world.source.lose(A)
        await until(lambda: world.pipeline.held_up == "")


@pytest.mark.usefixtures("coarse")
@jumping
async def test_a_question_that_runs_into_its_deadline_is_work() -> None:
    async with working() as world:
        world.engine.gates = {"event-0": asyncio.Event()}
        await world.read(event())
        await world.committed(A, 1)
        await asyncio.sleep(100.0)
        assert world.pipeline.held_up == ""


# -- the end


@jumping
async def test_a_stop_finishes_what_is_in_flight_and_commits_it() -> None:
    world = World()
    async with working(world):
        gate = world.engine.gates["event-0"] = asyncio.Event()
        asyncio.get_running_loop().call_later(1.0, gate.set)
        await world.read(*events(3))
        world.stop.set()
        await until(lambda: world.source.calls["close"] == 1)
        assert world.source.paused == {A}
    assert world.sink.committed == {A: 3}
    assert statuses(world) == {"OK": 3 * QUESTIONS}


@jumping
async def test_a_stop_gives_up_after_its_budget_and_commits_nothing_unfinished() -> None:
    world = World(question_timeout_s=100.0)
    running = asyncio.create_task(world.pipeline.run(world.stop))
    await until(lambda: world.pipeline.held_up == "")
    world.engine.gates["event-1"] = asyncio.Event()
    await world.read(*events(3))
    world.stop.set()
    await running
    await asyncio.sleep(0)
    assert world.sink.committed == {A: 1}
    assert world.engine.num_cancelled == QUESTIONS * DRAWS


@jumping
async def test_all_that_holds_a_worker_up_is_told_by_its_kind() -> None:
    world = World()

    def kinds() -> set[Blocker]:
        return {kind for kind, why in world.pipeline.blockers.items() if why}

    assert kinds() == {Blocker.GROUP}
    world.schemas.outages = 1_000
    async with working(world):
        assert kinds() == set()
        await world.read(event())
        await until(lambda: kinds() == {Blocker.SCHEMA})
        world.sink.held_up = "Kafka accepts no transaction"
        world.sink.flush_s = 2.0
        world.source.assign(B, resume_at=7)  # which is flushed
        await until(lambda: kinds() == {Blocker.SCHEMA, Blocker.TRANSACTIONS})
        assert world.pipeline.held_up.endswith("; Kafka accepts no transaction")
        world.schemas.outages = 0
        await world.committed(A, 1)
        await until(lambda: kinds() == set())
    assert kinds() == {Blocker.STOPPING}


@jumping
async def test_a_worker_that_starts_or_stops_says_why_it_is_not_ready() -> None:
    world = World()
    said = [world.pipeline.held_up]
    async with working(world):
        world.engine.gates["event-0"] = asyncio.Event()
        await world.read(event())
        said.append(world.pipeline.held_up)
        world.stop.set()
        await until(lambda: bool(world.pipeline.held_up))
        said.append(world.pipeline.held_up)
        world.engine.gates["event-0"].set()
    assert said == ["joining the group", "", "stopping"]


@jumping
async def test_the_run_ends_by_itself_when_everything_is_read_answered_and_committed() -> None:
    world = World()
    running = asyncio.create_task(world.pipeline.run(world.stop))
    await until(lambda: world.pipeline.held_up == "")
    gate = world.engine.gates["event-1"] = asyncio.Event()
    await world.read(*events(3))
    world.source.deliver(AllRead())
    await asyncio.sleep(1.0)
    assert not running.done()
    gate.set()
    await running
    assert world.sink.committed == {A: 3}


@jumping
async def test_the_run_does_not_end_while_a_delivery_is_only_half_taken() -> None:
    """The record that waits for the registry is lost to a rebalance; what stands behind it is still to be taken."""
    world = World()
    world.schemas.outages = 3
    running = asyncio.create_task(world.pipeline.run(world.stop))
    await until(lambda: world.pipeline.held_up == "")
    world.source.assign(A, B)
    late = Record(A, world.source.epochs[A], 0, b"key", event("event-0"))
    next_one = Record(B, world.source.epochs[B], 0, b"key", event("event-1"))
    world.source.deliver([late, next_one])
    world.source.deliver(AllRead())
    await until(lambda: bool(world.pipeline.held_up))
    world.source.lose(A)
    world.source.deliver(AllRead())
    await running
    assert world.sink.committed == {B: 1}


@jumping
async def test_a_backfill_that_loses_its_partitions_is_not_done() -> None:
    world = World()
    world.engine.gates["event-0"] = asyncio.Event()
    running = asyncio.create_task(world.pipeline.run(world.stop))
    await until(lambda: world.pipeline.held_up == "")
    await world.read(event())
    world.source.deliver(AllRead())
    world.source.lose(A)
    await asyncio.sleep(1.0)
    assert not running.done()
    world.engine.gates.clear()
    await world.read(event())
    world.source.deliver(AllRead())
    await running
    assert world.sink.committed == {A: 1}


@jumping
async def test_a_failure_of_the_source_ends_the_run() -> None:
    world = World()
    running = asyncio.create_task(failing(world))
    await until(lambda: world.pipeline.held_up == "")
    world.source.deliver(Fatal("the committed offset is no longer there"))
    assert "no longer there" in str(await running)


@jumping
async def test_an_answer_to_a_freeze_of_no_member_sends_nothing() -> None:
    world = World()
    async with working(world):
        world.source.generation = -1
        await world.read(event())
        await asyncio.sleep(1.0)
        assert world.sink.flushes == []
        world.source.generation = 2
        await world.committed(A, 1)
    assert [flush.metadata for flush in world.sink.flushes] == [("metadata", 2)]


@jumping
async def test_a_record_that_the_client_could_not_read_whole_is_a_dead_letter() -> None:
    """A header's name that is not UTF-8 must not stop the partition."""
    async with working() as world:
        world.source.assign(A)
        bad = Record(A, world.source.epochs[A], 0, b"key", event(), problem="a header's name is not UTF-8")
        world.source.deliver([bad])
        await world.committed(A, 1)
    assert dict(world.sink.log[0].headers)["ms-reason"] == b"headers"
    assert world.sink.log[0].value == event()


# -- large events


@jumping
async def test_a_record_that_is_lost_while_it_is_prepared_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its preparing takes turns with everything else, a rebalance among it."""
    world = World()
    async with working(world):
        ready = world.pipeline.ready
        source = world.source

        async def lost_meanwhile(entry: RecordInFlight, decoded: Decoded) -> None:
            source.lose(A)
            await ready(entry, decoded)

        monkeypatch.setattr(world.pipeline, "ready", lost_meanwhile)
        await world.read(event())
        await until(lambda: world.watch.counts["stale"] == 1)
        await asyncio.sleep(1)
        assert not world.engine.asks
        assert not world.sink.log


@jumping
async def test_users_whose_day_is_forgotten_are_said_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    budget = UserBudget(1, max_bytes=2 * (USER_DAY_BYTES + 8))
    async with working(user_budget=budget) as world:
        await world.read(*(event(f"event-{number}", user=f"user-{number}") for number in range(5)))
        await world.committed(A, 5)
        await until(lambda: world.watch.counts["forgotten"] == 3)
    assert caplog.text.count("more users a day than this worker can count") == 1


@jumping
async def test_attributes_that_the_prompt_does_not_show_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    item = Item("i", 0, attributes={"name": "Shoe", "brand": "X", "anna@example.org": "y"})
    shown = (Slate("a", (item,)), Slate("b", (item, replace(item, item_id="j", position=1))))
    asking = replace(rules().asking, tokenise=lambda _prompt: (1,), max_prompt_tokens=10)
    async with working(asking=asking) as world:
        await world.read(*(event(f"event-{n}", slates=shown, domain=Domain.PRODUCTS) for n in range(3)))
        await world.committed(A, 3)
    told = [one.getMessage() for one in caplog.records if "no place" in one.getMessage()]
    assert told == [
        "products items: the prompt has no place for brand and 1 other; the page Domains lists what is shown"
    ]


@jumping
async def test_json_is_answered_whether_it_names_a_schema_or_not_and_no_registry_is_asked() -> None:
    text = JsonEncoder().encode(impression())
    async with working(form=JsonInput(JsonRules())) as world:
        await world.read(text, b"\x00\x00\x00\x00\x07" + text, b"\xef\xbb\xbf " + text, event())
        await world.committed(A, 4)
    sources = Counter(
        response(message)["source"]["schema_id"] for message in world.sink.log if message.topic == "responses"
    )
    assert sources == {None: 2 * QUESTIONS, "7": QUESTIONS}
    assert world.watch.counts["dead letter magic"] == 1, "Avro"


@jumping
async def test_mapped_events_are_answered_others_are_counted_and_bad_ones_are_dead_letters() -> None:
    case = json.loads((Path(__file__).parents[1] / "settings" / "mappings" / "ga4.json").read_text())
    texts = [json.dumps(case["event"] | change) for change in ({}, {"event_name": "page_view"}, {"items": 7})]
    async with working(form=JsonInput(mappings.load("ga4"))) as world:
        await world.read(*(text.encode() for text in texts))
        await world.committed(A, 3)
    topics = Counter(message.topic for message in world.sink.log)
    assert topics == {"responses": 1, "impressions.dlq": 1}, "one slate is one question"
    assert world.watch.counts["skipped unmapped"] == 1
    [letter] = [message for message in world.sink.log if message.topic == "impressions.dlq"]
    assert dict(letter.headers)["ms-detail"] == b"slates.0.items: want a list (from items)"
