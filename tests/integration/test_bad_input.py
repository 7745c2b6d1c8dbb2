"""Records that can never be answered: one dead letter each, with all that came, while the good ones are answered."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import shake_256
from itertools import chain
from statistics import median
from typing import Any

import pytest

from tests.support.events import PREFIX, encode, event_id, film, impression, payload
from tests.support.harness import Stage, send_raw
from tests.support.judge import Judge, judge_of, plain_json, single_object
from tests.support.patience import patience
from tests.support.protobuf import encode_protobuf, plain_protobuf

TITLE = "Film 1"
ROUNDS = 5  # of every kind of bad record
LETTER_WITHIN_S = 1.0


Bad = Mapping[str, tuple[bytes, str]]  # name to value and reason


def encode_json(event: Any) -> bytes:
    return json.dumps(event).encode()


def changed(encode: Callable[[Any], bytes], **slate_fields: Any) -> bytes:
    """Return an impression whose first slate is not as it should be."""
    event = impression(0)
    event["slates"][0] |= slate_fields
    return encode(event)


def item(position: int = 0, **fields: Any) -> dict[str, Any]:
    return {"item_id": f"item-{position}", "position": position, "attributes": film(position)} | fields


def bad_events(encode: Callable[[Any], bytes]) -> Bad:
    """What is wrong in any format."""
    controls = [impression(0)["slates"][0] | {"variant": variant} for variant in "ab"]
    broken_text = encode(impression(0)).replace(TITLE.encode(), b"\xff\xfe" + TITLE[2:].encode())
    return {
        "no slate": (encode(impression(0, slates=[])), "limit"),
        "empty slate": (changed(encode, items=[]), "limit"),
        "id too long": (changed(encode, items=[item(item_id="x" * 257)]), "limit"),
        "item without text and attributes": (changed(encode, items=[item(attributes={})]), "invalid"),
        "one position twice": (changed(encode, items=[item(3), item(3)]), "invalid"),
        "one variant twice": (changed(encode, variant="shadow"), "invalid"),
        "two controls": (encode(impression(0, slates=controls)), "invalid"),
        "year 300000": (encode(impression(0, occurred_at=2**63 - 1)), "invalid"),
        "text that is not UTF-8": (broken_text, "utf8"),
    }


BAD_AVRO: Bad = {
    "not Avro": (b"hello", "magic"),
    "empty": (b"", "magic"),
    "JSON": (b'{"event_id": "1"}', "magic"),
    "prefix alone": (PREFIX, "magic"),
    "unknown fingerprint": (b"\xc3\x01" + bytes(8) + payload(impression(0)), "schema"),
    "Confluent's prefix without a registry": (b"\x00\x00\x00\x00\x07" + payload(impression(0)), "schema"),
    "truncated": (encode(impression(0))[:-20], "avro"),
    "trailing bytes": (encode(impression(0)) + b"\x00", "avro"),
    "an impossible length": (PREFIX + b"\xfe\xff\xff\xff\x0f" + bytes(50), "avro"),
    **bad_events(encode),
}
BAD_JSON: Bad = {
    "not JSON": (b"hello", "magic"),
    "empty": (b"", "magic"),
    "Avro": (encode(impression(0)), "magic"),
    "a list": (b"[]", "magic"),
    "prefix alone": (b"\x00\x00\x00\x00\x07", "magic"),
    "prefix and no JSON": (b"\x00\x00\x00\x00\x07hello", "json"),
    "truncated": (encode_json(impression(0))[:-20], "json"),
    "trailing bytes": (encode_json(impression(0)) + b"}", "json"),
    "one field twice": (b'{"event_id": "a", ' + encode_json(impression(0))[1:], "json"),
    "NaN, which JSON does not have": (encode_json(impression(0, occurred_at=float("nan"))), "json"),
    "nested too deeply": (b'{"user": ' + b"[" * 1_000 + b"]" * 1_000 + b"}", "limit"),
    "more values than a record may have": (b'{"user": [' + b"0," * 70_000 + b"0]}", "limit"),
    "an unknown field": (changed(encode_json, propensity=0.5), "invalid"),
    "an object as an attribute": (changed(encode_json, items=[item(attributes={"price": {"amount": 5}})]), "invalid"),
    **bad_events(encode_json),
}


BAD_PROTOBUF: Bad = {
    "not Protobuf": (b"hello", "protobuf"),
    "empty": (b"", "magic"),
    "JSON": (b'{"event_id": "1"}', "protobuf"),
    "prefix alone": (b"\x00\x00\x00\x00\x07", "magic"),
    "prefix without valid message indexes": (b"\x00\x00\x00\x00\x07\xff\xff\xff\xff\xff\xff", "magic"),
    "truncated": (encode_protobuf(impression(0))[:-20], "protobuf"),
    "trailing bytes": (encode_protobuf(impression(0)) + b"\x00", "protobuf"),
    "an impossible length": (b"\x0a\xfe\xff\xff\xff\x0f" + bytes(50), "protobuf"),
    "nested too deeply": (b"\xfb\x01" * 5_000, "limit"),
    "more values than a record may have": (encode_protobuf(impression(0)) + b"\x3a\x00" * 70_000, "limit"),
    "NaN as a number": (changed(encode_protobuf, slate_propensity=float("nan")), "invalid"),
    **bad_events(encode_protobuf),
    # In Protobuf an empty list is a missing one.
    "no slate": (encode_protobuf(impression(0, slates=[])), "invalid"),
    "empty slate": (changed(encode_protobuf, items=[]), "invalid"),
}


@dataclass(frozen=True, slots=True)
class Format:
    """A format of the input, with what is wrong in it."""

    name: str
    encode: Callable[[Any], bytes]
    read: Callable[[bytes], dict[str, Any] | None]
    bad: Bad


AVRO = Format("avro", encode, single_object, BAD_AVRO)
JSON = Format("json", encode_json, plain_json, BAD_JSON)
PROTOBUF = Format("protobuf", encode_protobuf, plain_protobuf, BAD_PROTOBUF)
FORMATS = pytest.mark.parametrize("form", [AVRO, JSON, PROTOBUF], ids=lambda form: form.name)


@FORMATS
def test_each_bad_record_is_one_dead_letter_between_answered_ones(stage: Stage, form: Format) -> None:
    judge, bad = judge_of(stage, decode_in=form.read), form.bad
    stage.create(partitions=1)
    headers = [("tenant", b"t\x00\xff"), ("none", None), ("ms-reason", b"of an earlier worker")]
    good = [(b"user", form.encode(impression(number))) for number in range(1, len(bad) + 1)]
    for fine, (name, (value, _)) in zip(good, bad.items(), strict=True):
        send_raw(stage, [fine, (name.encode(), value)], headers=headers)
    send_raw(stage, [(b"tombstone", None)])
    with stage.worker(input_format=form.name) as worker:
        worker.until(judge.all_committed, "commit to the end")
        assert worker.metric("dead_letters_total") == len(bad)
        assert worker.metric("records_skipped_total") == 1  # the tombstone
        assert worker.stop() == 0

    verdict = judge.verdict()
    answered = {key for key in verdict.expected if key[0] != event_id(0)}  # the judge can read some that we refuse
    assert verdict.seen == dict.fromkeys(answered, 1)
    assert {event for event, _, _ in answered} == {event_id(number) for number in range(1, len(bad) + 1)}

    letters = judge.read(stage.dead_letters)
    assert [letter.key().decode() for letter in letters] == list(bad)
    for place, letter in enumerate(letters):
        value, reason = bad[letter.key().decode()]
        assert letter.value() == value
        found = letter.headers()
        assert found[:2] == headers[:2]
        why = dict(found[2:])
        assert why["ms-reason"].decode() == reason, letter.key()
        assert why["ms-source-topic"].decode() == stage.topic
        assert (why["ms-source-partition"], why["ms-source-offset"]) == (b"0", str(2 * place + 1).encode())
        assert why["ms-detail"]
        assert len(why) == len(found) - 2  # each header once: what an earlier worker said is replaced
        assert TITLE.encode() not in why["ms-detail"]  # no payload, which may be personal, in what logs may show


@FORMATS
def test_a_dead_letter_of_each_kind_comes_within_a_second(stage: Stage, form: Format) -> None:
    """From the record's own time to the letter's, as their producers set them, so the wait in Kafka counts too.

    No clock of the test is in it, which may be late itself; and it is the median of each kind, because a machine that
    is busy with other things stops everybody for a second now and then, while a kind that waits for something does so
    every time.
    """
    judge, bad = judge_of(stage, decode_in=form.read), form.bad
    stage.create(partitions=1)
    with stage.worker(input_format=form.name) as worker:
        worker.until_ready()
        for _ in range(ROUNDS):
            pairs = (
                [(b"user", form.encode(impression(1))), (name.encode(), value)] for name, (value, _) in bad.items()
            )
            send_raw(stage, chain.from_iterable(pairs))  # the good ones keep the breaker closed
            worker.until(judge.all_committed, "commit to the end")
        assert worker.stop() == 0

    waits_s: dict[str, list[float]] = {name: [] for name in bad}
    for letter in judge.read(stage.dead_letters):
        read_ms = int(dict(letter.headers())["ms-source-timestamp-ms"])
        waits_s[letter.key().decode()].append((letter.timestamp()[1] - read_ms) / 1000)
    assert {len(waits) for waits in waits_s.values()} == {ROUNDS}
    slow = {name: waits for name, waits in waits_s.items() if not 0 <= median(waits) < patience(LETTER_WITHIN_S)}
    assert not slow


SMALL = 20_000  # max.message.bytes of the outputs


def noise(num_bytes: int) -> bytes:
    """Return bytes that no compression makes smaller: a broker's limit is on what is sent."""
    return shake_256(b"noise").digest(num_bytes)


@pytest.fixture
def small(stage: Stage) -> Stage:
    """One partition, and outputs that take small messages only."""
    stage.create(partitions=1, config={"max.message.bytes": str(SMALL)})
    return stage


def test_a_dead_letter_too_large_for_its_topic_is_cut_and_says_so(small: Stage, judge: Judge) -> None:
    send_raw(small, [(b"large", noise(100_000)), (b"user", encode(impression(1)))])
    assert small.run("--until-end").exit_code() == 0
    (letter,) = judge.read(small.dead_letters)
    assert dict(letter.headers())["ms-truncated"] == b"100000"
    assert 10_000 < len(letter.value()) < SMALL
    assert noise(100_000).startswith(letter.value())
    judge.verdict().assert_exactly_once()


def test_headers_and_keys_too_large_for_the_dead_letter_topic_do_not_stop_it(small: Stage, judge: Judge) -> None:
    send_raw(small, [(b"user", b"bad")], headers=[("baggage", noise(30_000)), ("tenant", b"t1")])
    send_raw(small, [(noise(30_000), b"bad"), (b"user", encode(impression(1)))])
    assert small.run("--until-end").exit_code() == 0
    assert len(judge.read(small.dead_letters)) == 2
    judge.verdict().assert_exactly_once()


def test_a_response_too_large_for_its_topic_is_no_dead_end(small: Stage, judge: Judge) -> None:
    """What the impression carries along can be larger than the output takes; its event is a dead letter then."""
    event = impression(1)
    event["user"]["segments"] = {f"segment-{i}": noise(1_500 + i).hex() for i in range(20)}
    send_raw(small, [(b"user", encode(event)), (b"user", encode(impression(2)))])
    assert small.run("--until-end").exit_code() == 0
    assert {str(answer["event_id"]) for answer in judge.answers()} == {event_id(2)}
    (letter,) = judge.read(small.dead_letters)
    assert dict(letter.headers())["ms-reason"] == b"too_large"
    assert judge.all_committed()


def test_many_answers_at_once_fit_a_topic_with_small_messages(small: Stage, judge: Judge) -> None:
    """The broker holds what the client sends together against the limit, not each message."""
    send_raw(small, [(b"user", encode(impression(number, num_items=12))) for number in range(300)])
    assert small.run("--until-end", kafka_options={"compression.type": "none"}).exit_code() == 0
    judge.verdict().assert_exactly_once()


@pytest.mark.parametrize("skipped", ["is_test", "is_bot", "sample_rate"])
def test_what_is_not_simulated_is_passed_over_and_committed(stage: Stage, judge: Judge, skipped: str) -> None:
    stage.create(partitions=1)
    event = impression(1, is_test=skipped == "is_test")
    event["user"]["is_bot"] = skipped == "is_bot"
    send_raw(stage, [(b"user", encode(event))])
    rate = {"sample_rate": 1e-9} if skipped == "sample_rate" else {}
    assert stage.run("--until-end", **rate).exit_code() == 0
    assert judge.answers() == []
    assert judge.read(stage.dead_letters) == []
    assert judge.all_committed()
