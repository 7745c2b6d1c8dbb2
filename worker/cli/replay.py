"""What commands do that is more than a call: replaying a file, reading a dead letter, asking a worker."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from worker.cli import finished_tests, replay_sources
from worker.cli.replay_sources import Impressions
from worker.core.codec import framing, impression as codec, json_reader
from worker.core.codec.avro_encoder import Encoder
from worker.core.codec.input_forms import ProtobufInput, TsvInput
from worker.core.codec.mapping import EventMapping
from worker.core.errors import BadSettings, Fatal, Poison, Retryable
from worker.core.records import Record
from worker.core.topics.topic_patterns import is_pattern
from worker.kafka import admin, registry
from worker.settings import Settings, input_forms

ACCEPT_S = 15.0  # how long a worker may take to answer


@dataclass(frozen=True, slots=True)
class FinishedFiles:
    """Finished A/B tests to replay, and the table of their real lifts to write; `users` per test, 0 is all."""

    tests: Path
    personas: Path
    users: int = 0
    real_to: Path | None = None


def source(
    file: Path | None,
    movielens: Path | None,
    finished: FinishedFiles | None,
    *,
    limit: int,
    number_positions: bool = False,
    mapping: EventMapping | None = None,
    items: Path | None = None,
    joined_later: bool = False,
    strict: bool = True,
) -> Impressions:
    """Return what is replayed; one of the three is given.  Raises `BadSettings` for a file that is something else."""
    if finished is not None:
        tests = finished_tests.read_tests(finished.tests)
        personas = finished_tests.read_personas(finished.personas)
        if finished.real_to is not None:
            finished_tests.write_lifts(finished.real_to, tests)
        return finished_tests.FinishedTests(tests, personas, users=finished.users, limit=limit)
    if movielens is not None:
        return replay_sources.from_movielens(movielens, limit=limit)
    rules = replace(json_reader.FILE_RULES, number_positions=number_positions)
    return replay_sources.EventFile(
        file or Path(), limit=limit, rules=rules, mapping=mapping, items=items, joined_later=joined_later, strict=strict
    )


def replay(
    settings: Settings, moments: Impressions, *, rate: float, outcomes_topic: str | None, console: Console
) -> dict[str, object]:
    """Send impressions to the first input topic, outcomes to theirs, with a progress bar; return a summary."""
    topic = settings.input_topics[0]
    if settings.mapping is not None:
        raise BadSettings(f"mapping: {topic} has foreign events, and a replay sends impressions; --mapping maps a file")
    if is_pattern(topic):
        raise BadSettings(f"input_topics: {topic} is a pattern; a replay needs the name of one topic")
    for name in filter(None, (topic, outcomes_topic)):
        admin.num_partitions(settings, name)  # said before anything is sent
    registered = (settings.schema_registry_url, settings.registry_access)
    messages = replay_sources.messages(
        moments,
        topic=topic,
        outcomes_topic=outcomes_topic,
        impressions=registry.impressions_encoder(settings, topic),
        outcomes=registry.encoder(*registered, outcomes_topic, "Outcome") if outcomes_topic else Encoder("Outcome"),
    )
    publisher = admin.Publisher(settings)
    start_s = time.monotonic()
    with _bar(topic, console) as tell:
        for message in replay_sources.paced(messages, rate):
            publisher.send(message)
            tell(publisher, moments.share)
        publisher.close()
        tell(publisher, 1.0)
    seconds = time.monotonic() - start_s
    sent = dict(sorted(publisher.delivered.items()))
    note = moments.note(outcomes_topic)
    summary = {"sent": sent, "seconds": round(seconds, 1), "per_second": round(sum(sent.values()) / seconds, 1)}
    wrong = {"wrong_lines": moments.num_bad, "first_wrong": moments.bad} if moments.num_bad else {}
    return summary | ({"note": note} if note else {}) | wrong


@contextmanager
def _bar(topic: str, console: Console) -> Iterator[Callable[[admin.Publisher, float | None], None]]:
    """Show how much Kafka has taken; with a share that is known also the percentage, and the time that is left.

    The function that this gives is told the share that was read: what of it is delivered is the share of the bar.
    """
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[num]:,} delivered"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(topic, total=None, num=0)

        def tell(publisher: admin.Publisher, share: float | None) -> None:
            num = publisher.delivered[topic]
            done = (share or 0.0) * publisher.delivered.total() / max(1, publisher.num_sent)
            progress.update(task, total=None if share is None else 1.0, completed=done, num=num)

        yield tell


def decoded_letter(settings: Settings, letter: Record) -> tuple[object, str | None]:
    """Return the record inside a dead letter as far as its format is read, or why it is not."""
    if letter.value is None:
        return None, None
    if settings.input_format == "json":
        return _json_letter(letter)
    form, schemas = input_forms.load(settings), registry.schemas(settings)
    try:
        if isinstance(form, TsvInput):
            return form.mapping.row(letter.value), None
        if isinstance(form, ProtobufInput):
            ref = form.schema_of(letter.value, letter.headers)
            return form.plain(letter.value, letter.headers, schemas.fetch_now(ref) if ref else None)[2], None
        named, payload = framing.split(letter.value, letter.headers)
        return codec.decode_plain(payload, schemas.avro_now(named), "RecommendationImpression"), None
    except (Poison, Retryable) as error:
        return None, str(error)


def _json_letter(letter: Record) -> tuple[object, str | None]:
    """Return the JSON of a dead letter, whatever its fields; else why it is none."""
    try:
        return json_reader.parse(framing.split_json(letter.value or b"", letter.headers)[1].decode("utf-8-sig")), None
    except (Poison, UnicodeDecodeError) as error:
        return None, str(error)


def accept_dead_letters(url: str, num_next: int) -> str:
    """Confirm to a worker that the records its breaker holds are bad; return its answer."""
    if not url.startswith(("http://", "https://")):
        raise BadSettings(f"--url {url}: want http://HOST:PORT")
    page = f"{url.rstrip('/')}/breaker/accept?next={num_next}"
    request = urllib.request.Request(page, method="POST")  # noqa: S310 - made sure of above
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no way to this machine
    try:
        with direct.open(request, timeout=ACCEPT_S) as answer:
            return str(answer.read().decode(errors="replace")).strip()
    except urllib.error.HTTPError as error:
        raise Fatal(f"{url}: {error.code}: {error.read().decode(errors='replace').strip()}") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        why = getattr(reason, "strerror", None) or reason
        raise Fatal(f"{url}: no worker answers there ({why}): want the http_port of one that runs, by --url") from error
