"""Which records are of an event: those of others may hold its id too."""

from dataclasses import replace

import pytest

from tests.support.events import encode, impression
from tests.support.examples import record
from worker.cli.trace import _Decoder, _result, _text
from worker.core.errors import Retryable
from worker.core.event_trace import AnswerTrace, stages
from worker.core.records import Partition
from worker.kafka.event_search import EventRecords
from worker.settings import load


def test_a_record_of_another_event_that_mentions_the_id_is_not_the_events() -> None:
    sent = impression(3)
    value = encode(sent)
    for topic in ("impressions", "impressions.dlq"):
        found = replace(record(value), partition=Partition(topic, 0))
        assert _Decoder(load(None), sent["event_id"]).is_of(found)
        for other in (sent["user"]["user_id"], sent["event_id"][:8]):
            assert other.encode() in value
            assert not _Decoder(load(None), other).is_of(found)


def test_what_nobody_can_read_may_be_of_the_event_but_a_response_is_not() -> None:
    decoder, broken = _Decoder(load(None), "event-1"), record(b"event-1")
    assert decoder.is_of(broken)
    assert not decoder.is_of(replace(broken, partition=Partition("responses", 0)))


def test_no_name_of_outside_steers_the_terminal() -> None:
    evil = "\x1b[2Jevent"
    responses = [{"at": "responses[0]@1", "question": "SLATE", "variant": evil, "status": "OK", "written_at": "now"}]
    letters = [{"at": "impressions.dlq[0]@1", "written_at": "now", "reason": evil, "detail": f"{evil}\nline"}]
    nothing = _result(evil, EventRecords(), _Decoder(load(None), evil), group_id="shadow")
    text = _text({**nothing, "responses": responses, "dead_letters": letters})
    assert [char for char in text if not char.isprintable() and char != "\n"] == []
    assert text.count("[2Jevent") == 4
    assert "\nline" not in text


def test_a_registry_that_is_away_is_no_reason_to_say_that_nothing_was_answered() -> None:
    settings = load(None, {"schema_registry_url": "http://127.0.0.1:1"})
    framed = replace(record(b"\x00\x00\x00\x00\x07event-1"), partition=Partition("responses", 0))
    with pytest.raises(Retryable, match="registry"):
        _Decoder(settings, "event-1").is_of(framed)


@pytest.mark.parametrize("number", ["9" * 5_000, "9" * 19, "\u0663", "-1", "1_0", ""])
def test_a_dead_letter_whose_place_is_none_has_no_place(number: str) -> None:
    """A number of 5,000 digits ended the command with a traceback."""
    decoder = _Decoder(load(None), "event-1")
    for partition, offset, is_place in ((number, "1", False), ("1", number, False), ("1", "9" * 18, True)):
        headers = (("ms-source-topic", b"t"), ("ms-source-partition", partition.encode()),
                   ("ms-source-offset", offset.encode()))  # fmt: skip
        letter = replace(record(b"event-1"), partition=Partition("impressions.dlq", 0), headers=headers)
        assert (decoder.source_of(letter) is not None) is is_place


def test_times_that_are_none_are_left_out() -> None:
    """An engine's infinite time ended the command with a traceback."""
    answer = AnswerTrace("SLATE", "a", "OK", float("nan"), float("inf"), 4_000_000, 4_500)
    assert stages(1_000, [answer]) == [("released", 0.5)]
