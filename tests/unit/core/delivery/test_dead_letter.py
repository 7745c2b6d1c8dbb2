"""A dead letter carries the original and says why, and no topic refuses it for its size."""

from dataclasses import replace

import pytest

from tests.support.examples import record
from worker import __version__
from worker.core.delivery.dead_letter import MAX_DETAIL_BYTES, OURS, attempts, forms, put_back, to_message
from worker.core.errors import BadRecord
from worker.core.records import HEADER_FRAME_BYTES, DeadLetter, Headers, LetterForm, Message, Reason, Record

LIMIT = 10_000  # the least that the settings allow


def letter(of: Record | None = None, detail: str = "0 slates", limit: int = LIMIT) -> Message:
    return to_message(
        DeadLetter(of or record(b"\x00bytes"), Reason.INVALID, detail), "impressions.dlq", max_bytes=limit
    )


def why(message: Message) -> dict[str, str]:
    return {name[3:]: (value or b"").decode() for name, value in message.headers if name.startswith("ms-")}


def num_bytes(message: Message) -> int:
    headers = sum(len(name.encode()) + len(value or b"") + HEADER_FRAME_BYTES for name, value in message.headers)
    return headers + len(message.key or b"") + len(message.value or b"")


def test_a_dead_letter_is_the_original_and_says_why_and_where_from() -> None:
    message = letter(record(b"\xff\x00", headers=(("traceparent", b"00-1"), ("empty", None))))
    assert (message.topic, message.key, message.value) == ("impressions.dlq", b"u-1", b"\xff\x00")
    assert message.headers[:2] == (("traceparent", b"00-1"), ("empty", None))
    assert why(message) == {
        "reason": "invalid",
        "detail": "0 slates",
        "source-topic": "impressions",
        "source-partition": "3",
        "source-offset": "1842",
        "source-timestamp-ms": "973080000000",
        "worker-version": __version__,
    }


def test_headers_of_the_producer_that_only_look_like_ours_stay() -> None:
    own = (("ms-tenant", b"t1"), ("ms-", b""), ("ms-attempts", b"7"))
    message = letter(record(headers=(*own, ("ms-reason", b"theirs"), ("ms-truncated", b"9"))))
    assert message.headers[:3] == own
    assert (why(message)["reason"], "truncated" in why(message)) == ("invalid", False)
    assert put_back(as_read(message)).headers == (*own, ("ms-attempt", b"1"))
    assert {f"ms-{name}" for name in why(message)} - {name for name, _ in own} <= OURS


def test_a_record_without_key_and_value_stays_without() -> None:
    message = letter(record(None, key=None))
    assert (message.key, message.value) == (None, None)


def test_a_letter_that_comes_again_says_why_once() -> None:
    again = letter(replace(record(), headers=letter().headers), detail="now utf8")
    names = [name for name, _ in again.headers]
    assert len(names) == len(set(names))
    assert why(again)["detail"] == "now utf8"


@pytest.mark.parametrize("detail", ["x" * 5_000, "\u0e01" * 5_000, "x" + "\U0001f600" * 5_000, "\ud800" * 5_000])
def test_a_long_detail_is_cut_at_a_whole_character(detail: str) -> None:
    found = why(letter(detail=detail))["detail"]
    assert MAX_DETAIL_BYTES - 4 < len(found.encode()) <= MAX_DETAIL_BYTES
    assert detail.startswith(found) or found == "?" * MAX_DETAIL_BYTES


@pytest.mark.parametrize(
    ("key", "value", "headers", "cut"),
    [
        (b"k", b"v" * 5_000, (), set()),
        (b"k", b"v" * 20_000, (), {"truncated"}),
        (b"k", b"v" * 5_000, (("h", b"x" * 3_000),), {"truncated"}),
        (b"k", b"v" * 5_000, (("h", b"x" * 20_000),), {"dropped-headers"}),
        (b"k", b"", tuple((f"h{number}", None) for number in range(5_000)), {"dropped-headers"}),
        (b"k", b"", (("\u0e01" * 4_000, b""),), {"dropped-headers"}),
        (b"k" * 20_000, b"v", (("h", b"x"),), {"truncated-key", "dropped-headers", "truncated"}),
        (b"k" * 5_999, b"v" * 9_000, (("h", b"x" * 9_000),), {"dropped-headers", "truncated"}),
        (None, None, (("h", b"x" * 20_000),), {"dropped-headers"}),
    ],
)
def test_what_does_not_fit_the_topic_is_cut_and_named(
    key: bytes | None, value: bytes | None, headers: Headers, cut: set[str]
) -> None:
    message = letter(record(value, headers, key), detail="\u0e01" * 5_000)
    assert num_bytes(message) <= LIMIT
    assert why(message).keys() & {"truncated", "dropped-headers", "truncated-key"} == cut
    assert (value or b"").startswith(message.value or b"")


def test_a_cut_value_tells_how_long_it_was() -> None:
    assert why(letter(record(b"v" * 20_000)))["truncated"] == "20000"


# -- the way back


def as_read(message: Message) -> Record:
    """The letter as a reader of the dead letters has it."""
    return replace(record(message.value, message.headers, message.key), offset=7)


def test_a_record_that_is_put_back_is_the_original_and_counts_how_often() -> None:
    original = record(b"\xff\x00", headers=(("traceparent", b"00-1"), ("empty", None)))
    for attempt in range(1, 4):
        message = put_back(as_read(letter(original)))
        assert (message.topic, message.key, message.value) == ("impressions", b"u-1", b"\xff\x00")
        assert message.headers == (("traceparent", b"00-1"), ("empty", None), ("ms-attempt", str(attempt).encode()))
        original = replace(original, headers=message.headers)
    assert why(letter(original))["attempt"] == "3"


@pytest.mark.parametrize(("before", "after"), [(b"999998", 999_999), (b"999999", 999_999)])
def test_a_count_stays_one_that_is_read(before: bytes, after: int) -> None:
    message = put_back(as_read(letter(record(headers=(("ms-attempt", before),)))))
    assert attempts(message.headers) == after


@pytest.mark.parametrize("text", [b"", b"-1", b"1.5", b"many", b"\xff", "\u0663".encode(), b"9" * 5_000])
def test_a_count_that_is_not_ours_counts_as_none(text: bytes) -> None:
    assert attempts((("ms-attempt", text),)) == 0
    assert "attempt" not in why(letter(record(headers=(("ms-attempt", text),))))


@pytest.mark.parametrize(
    ("of", "reason"),
    [
        (letter(record(b"v" * 20_000)), "truncated"),
        (letter(record(key=b"k" * 20_000)), "truncated"),
        (letter(record(headers=(("h", b"x" * 20_000),))), "truncated"),
        (to_message(DeadLetter(record(), Reason.HEADERS, "not UTF-8"), "impressions.dlq", max_bytes=LIMIT), "headers"),
        (Message("impressions.dlq", b"k", b"somebody else's"), "source"),
    ],
)
def test_a_letter_that_lacks_part_of_its_record_is_not_put_back(of: Message, reason: str) -> None:
    with pytest.raises(BadRecord) as caught:
        put_back(as_read(of))
    assert caught.value.reason == reason


# -- forms, for topics that refuse the whole letter


def test_a_keyless_record_is_tried_with_a_key_that_the_way_back_takes_off_again() -> None:
    found = record(b"bytes", (("h", b"v"),), None)
    assert forms(found) == (LetterForm.FULL, LetterForm.KEYED, LetterForm.BARE)
    message = to_message(DeadLetter(found, Reason.REFUSED, "why", LetterForm.KEYED), "dlq", max_bytes=LIMIT)
    assert (message.key, message.value) == (b"impressions[3]@1842", b"bytes")
    back = put_back(replace(found, key=message.key, headers=message.headers))
    assert (back.key, back.value) == (None, b"bytes")


def test_a_record_with_a_key_goes_bare_at_once() -> None:
    assert forms(record(b"bytes")) == (LetterForm.FULL, LetterForm.BARE)


@pytest.mark.parametrize("key", [None, b"k" * 900_000])
def test_a_bare_letter_is_small_says_where_from_and_cannot_go_back(key: bytes | None) -> None:
    found = record(b"v" * 900_000, (("h", b"x" * 900_000),), key)
    message = to_message(DeadLetter(found, Reason.TOO_LARGE, "\u0e01" * 5_000, LetterForm.BARE), "dlq", max_bytes=LIMIT)
    assert message.num_bytes < 2_000
    assert why(message)["source-offset"] == "1842"
    with pytest.raises(BadRecord, match="too large"):
        put_back(replace(found, key=message.key, value=message.value, headers=message.headers))


def test_a_letter_of_an_unreadable_batch_names_all_its_offsets_and_cannot_go_back() -> None:
    found = replace(record(None), offset=9, unreadable_from=5, problem="offsets 5 to 9: _BAD_COMPRESSION")
    message = to_message(DeadLetter(found, Reason.UNREADABLE, found.problem), "dlq", max_bytes=LIMIT)
    assert (why(message)["source-offset"], why(message)["source-last-offset"]) == ("5", "9")
    with pytest.raises(BadRecord, match="no client could read it"):
        put_back(replace(found, headers=message.headers))


def test_a_record_without_a_time_says_what_kafka_says() -> None:
    assert why(letter(replace(record(b"x"), timestamp_ms=None)))["source-timestamp-ms"] == "-1"
