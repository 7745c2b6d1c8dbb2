"""`mirrorstream trace`: the way of one event, as far as Kafka's topics show it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from worker.cli.options import Bootstrap, Config, Json, Set, moment, record_time, settings_of, tell as tell_result
from worker.core.delivery.dead_letter import told
from worker.core.errors import BadSettings, Poison
from worker.core.event_trace import EventState, answer_of, stages, state_of, trace_id
from worker.core.records import Partition, Record
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.kafka.event_search import EventRecords

MAX_DIGITS = 18  # of an offset
BAR_CHARS = 40  # of the longest stage


def trace(
    event_id: Annotated[str, typer.Argument(help="Id of the event, as in its impression.")],
    since: Annotated[
        str | None, typer.Option(help="Only records since this time, such as 2026-11-01T00:00Z, or a day.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000_000, help="Maximum number of records read per partition, the newest.")
    ] = 100_000,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Find an event: its record, its responses or dead letter, where its time went, its trace id."""
    from worker.kafka.event_search import EventSearch

    if not event_id.strip():
        raise BadSettings("EVENT_ID: is empty; want the event_id of an impression")
    start = moment("--since", since)
    found_settings = settings_of(config, bootstrap, settings)
    decoder = _Decoder(found_settings, event_id)
    with Console(stderr=True).status("reading topics") as status:
        found = EventSearch(
            found_settings,
            event_id,
            decoder.source_of,
            decoder.is_of,
            since_ms=int(start.timestamp() * 1000) if start else 0,
            limit=limit,
            tell=lambda topic, number: status.update(f"{topic}: {number} records read"),
        ).run()
    result = _result(event_id, found, decoder, group_id=found_settings.group_id)
    tell_result(result, as_json=as_json, text=_text(result))
    raise typer.Exit(1 if result["state"] is EventState.NOT_FOUND else 0)


def _result(event_id: str, found: "EventRecords", decoder: "_Decoder", *, group_id: str) -> dict[str, Any]:
    """Return the document of `--json`."""
    responses = [(record, decoded) for record in found.responses if (decoded := decoder.response(record))]
    letters = [record for record in found.dead_letters if decoder.source_of(record)]
    answers, record = [answer_of(decoded, one.timestamp_ms) for one, decoded in responses], found.record
    state = state_of(
        answered=bool(responses),
        dead=bool(letters),
        offset=record.offset if record else None,
        commit_offset=found.commit_offset,
    )
    asked = ({"question": one.question, "variant": one.variant, "status": one.status} for one in answers)
    traced = [*(one for one, _ in responses), *letters, *([record] if record else [])]
    return {
        "event_id": event_id,
        "state": state,
        "record": _placed(record) if record else None,
        "responses": [_placed(one) | what for (one, _), what in zip(responses, asked, strict=True)],
        "dead_letters": [_placed(one) | _why(one) for one in letters],
        "trace_id": trace_id(one.headers for one in traced),
        "committed": {"group": group_id, "offset": found.commit_offset} if record else None,
        "stages": [
            {"stage": name, "seconds": round(seconds, 6)}
            for name, seconds in stages(record.timestamp_ms if record else None, answers)
        ],
        "searched": [
            {"topic": one.topic, "records": one.num_records, "whole": one.whole, "left_out": one.num_left_out}
            for one in found.searched
        ],
    }


class _Decoder:
    """Reads the records of one event."""

    def __init__(self, settings: Settings, event_id: str) -> None:
        from worker.kafka.registry import Schemas

        self._settings, self._event_id = settings, event_id
        self._schemas = Schemas(settings.schema_registry_url, settings.registry_access)

    def source_of(self, record: Record) -> tuple[Partition, int] | None:
        """Return the place of the record that a response or dead letter is about; None if it is none of this event."""
        if record.partition.topic == self._settings.dead_letter_topic:
            why = told(record.headers)
            number, offset = why.get("source-partition", ""), why.get("source-offset", "")
            if not (_is_count(number) and _is_count(offset) and why.get("source-topic")):
                return None
            return Partition(why["source-topic"], int(number)), int(offset)
        decoded = self.response(record)
        if decoded is None:
            return None
        source = decoded["source"]
        return Partition(source["topic"], source["partition"]), source["offset"]

    def is_of(self, record: Record) -> bool:
        """Return False for a record of another event, which only mentions this one.

        An impression, or the dead letter of one, that cannot be decoded may be of this event.
        """
        if record.partition.topic == self._settings.output_topic:
            return self.response(record) is not None
        decoded = self._decoded(record, "RecommendationImpression")
        return decoded is None or decoded["event_id"] == self._event_id

    def response(self, record: Record) -> Mapping[str, Any] | None:
        """Return a response of this event; None for one of another event, which only mentions this one."""
        decoded = self._decoded(record, "SimulatedResponse")  # foreign records in the topic are nobody's answer
        return decoded if decoded is not None and decoded["event_id"] == self._event_id else None

    def _decoded(self, record: Record, name: str) -> Mapping[str, Any] | None:
        """Return a record's fields, None if it cannot be decoded.  Raises `Retryable` if the registry is away."""
        from worker.core.codec import framing, impression as codec

        if record.value is None:
            return None
        try:
            ref, payload = framing.split(record.value, record.headers)
            return codec.decode_plain(payload, self._schemas.avro_now(ref), name)
        except Poison:
            return None


def _is_count(text: str) -> bool:
    """Say whether a foreign header is a partition or an offset: a number of 64 bits."""
    return text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS


def _text(result: Mapping[str, Any]) -> str:
    """Return a result for people; names in it come from outside."""
    return "\n".join(map(_clean, _lines(result)))


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    yield f"event      {result['event_id']}: {result['state']}"
    if record := result["record"]:
        yield f"record     {record['at']}, written {record['written_at']}"
    if responses := result["responses"]:
        statuses = ", ".join(
            f"{number} {status}" for status, number in Counter(one["status"] for one in responses).items()
        )
        yield f"responses  {len(responses)} ({statuses}), sent {responses[-1]['written_at']}"
        yield from (f"           {one['at']}  {one['question']} {one['variant']}: {one['status']}" for one in responses)
    for letter in result["dead_letters"]:
        yield f"letter     {letter['at']}, written {letter['written_at']}: {letter['reason']}: {letter['detail']}"
    yield f"trace id   {result['trace_id'] or 'none'}"
    if committed := result["committed"]:
        yield f"committed  group {committed['group']}: {_committed(committed['offset'], result['record'])}"
    longest = max((one["seconds"] for one in result["stages"]), default=0.0)
    for one in result["stages"]:
        bar = "█" * max(1, round(BAR_CHARS * one["seconds"] / longest)) if one["seconds"] > 0 else ""
        yield f"{one['stage']:<9} {one['seconds']:9.3f} s  {bar}".rstrip()
    for one in result["searched"]:
        part = "" if one["whole"] else ", the newest of each partition; --limit reads more"
        part += f"; {one['left_out']} of the event left out" if one["left_out"] else ""
        yield f"searched   {one['topic']}: {one['records']} records{part}"


def _committed(offset: int | None, record: Mapping[str, Any]) -> str:
    if offset is None:
        return "no offset of this partition"
    side = "after the record" if offset > record["offset"] else "at or before the record"
    return f"offset {offset}, {side}"


def _placed(record: Record) -> dict[str, Any]:
    return {
        "at": record.where,
        "topic": record.partition.topic,
        "partition": record.partition.number,
        "offset": record.offset,
        "written_at": _time(record.timestamp_ms),
    }


def _why(letter: Record) -> dict[str, str]:
    why = told(letter.headers)
    return {name: why.get(name, "") for name in ("reason", "detail")}


def _time(timestamp_ms: int | None) -> str:
    if timestamp_ms is None:
        return "at no time"
    return record_time(timestamp_ms, precision="milliseconds") or f"at {timestamp_ms} ms"


def _clean(text: str) -> str:
    """Return foreign text that cannot steer a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
