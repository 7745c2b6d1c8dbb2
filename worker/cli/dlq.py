"""`mirrorstream dlq`: look at dead letters, put them back, and say that they are right."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from heapq import nlargest
from typing import Annotated, Any

import typer
from rich.console import Console

from worker.cli.options import (
    Bootstrap,
    Config,
    Json,
    Set,
    group,
    moment,
    record_time,
    settings_of,
    tell as tell_result,
)
from worker.core.delivery.dead_letter import attempts, told
from worker.core.errors import BadSettings
from worker.core.records import Record

app = group("List, show and replay dead letters; close a worker's breaker.")

_PLACE = re.compile(r"(?:.*\[)?(\d{1,9})\]?@(\d{1,18})", re.ASCII)


@app.command("list", epilog="Example: mirrorstream dlq list --limit 50 --json")
def list_letters(
    limit: Annotated[int, typer.Option(min=0, max=10_000, help="Maximum number of dead letters, newest first.")] = 20,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Count the dead letters by reason, and show the newest."""
    from worker.kafka import dead_letters

    found = settings_of(config, bootstrap, settings)
    reasons: Counter[str] = Counter()
    newest: list[tuple[int, int, int, dict[str, Any]]] = []
    with _progress() as tell:
        for letter in dead_letters.read(found):
            reasons[told(letter.headers).get("reason", "")] += 1
            newest.append((letter.timestamp_ms or 0, letter.partition.number, letter.offset, _row(letter)))
            if len(newest) > 2 * limit:  # what is shown is held, never the topic
                newest = nlargest(limit, newest)
                tell(f"{reasons.total()} dead letters read")
    rows = [row for *_, row in nlargest(limit, newest)]
    if as_json:
        everything = {
            "topic": found.dead_letter_topic, "letters": reasons.total(), "reasons": dict(reasons), "newest": rows,
        }  # fmt: skip
        typer.echo(json.dumps(everything))
        return
    typer.echo(f"{found.dead_letter_topic}: {reasons.total()} dead letters")
    for reason, number in reasons.most_common():
        typer.echo(f"{number:>8}  {_clean(reason)}")
    for row in rows:
        again = f" (replayed {row['attempts']} times)" if row["attempts"] else ""
        typer.echo(f"{row['at']}  {row['time']}  {row['reason']}  {row['source']}{again}  {row['detail']}")


@app.command(epilog="Example: mirrorstream dlq show 0@123")
def show(
    place: Annotated[str, typer.Argument(help="PARTITION@OFFSET in the dead-letter topic, as `dlq list` shows it.")],
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Print one dead letter: its reason, its source, its headers, and the record decoded, or in hex if it cannot be."""
    from worker.cli.replay import decoded_letter
    from worker.kafka import dead_letters

    match = _PLACE.fullmatch(place)
    if match is None:
        raise BadSettings(f"{place}: want PARTITION@OFFSET, such as 0@123")
    found = settings_of(config, bootstrap, settings)
    letter = dead_letters.find(found, int(match[1]), int(match[2]))
    record, problem = decoded_letter(found, letter)
    shown = {
        **_row(letter),
        "key": _text(letter.key),
        "headers": [[_clean(name), _text(value)] for name, value in letter.headers],
        **({"record": record} if problem is None else {"undecodable": problem, "hex": (letter.value or b"").hex()}),
    }
    if as_json:
        typer.echo(json.dumps(shown))
        return
    for name, value in shown.items():
        if name == "headers":
            typer.echo("\n".join(f"header {key}: {text}" for key, text in shown["headers"]))
        else:
            typer.echo(f"{name}: {json.dumps(value, indent=2) if name == 'record' else value}")


@app.command(epilog="Example: mirrorstream dlq replay --from-start --reason schema --dry-run")
def replay(
    reason: Annotated[str | None, typer.Option(help="Only dead letters with this reason.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only dead letters since this time, such as 2026-11-01T00:00Z, or a day.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Maximum number of records (0: all).")] = 0,
    max_attempts: Annotated[
        int, typer.Option(min=1, max=100, help="Skip dead letters already replayed this many times.")
    ] = 3,
    from_start: Annotated[
        bool,
        typer.Option(
            "--from-start",
            help="Start with the oldest dead letter if no position is stored (first use, or none for 7 days).",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would happen and change nothing.")] = False,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Write the records of dead letters to their topic again, each once, however often this runs."""
    from worker.kafka import dead_letters

    start = moment("--since", since)
    with _progress() as tell:
        outcome = dead_letters.replay(
            settings_of(config, bootstrap, settings),
            reason=reason,
            since_ms=int(start.timestamp() * 1000) if start else 0,
            max_attempts=max_attempts,
            limit=limit,
            from_start=from_start,
            dry_run=dry_run,
            tell=lambda number: tell(f"{number} replayed"),
        )
    if as_json:
        everything = {
            "dry_run": dry_run, "put_back": dict(outcome.put_back), "left": dict(outcome.left),
            "impossible": outcome.impossible,
        }  # fmt: skip
        typer.echo(json.dumps(everything))
        return
    verb = "would be replayed" if dry_run else "replayed"
    typer.echo(f"{outcome.put_back.total()} {verb}")
    for topic, number in outcome.put_back.items():
        typer.echo(f"{number:>8}  to {topic}")
    for why, number in outcome.left.items():
        typer.echo(f"{number:>8}  not replayed: {why}")
    for where, why in outcome.impossible.items():
        typer.echo(f"{where}: {why}")


@app.command(epilog="Example: kubectl exec mirrorstream-0 -- mirrorstream dlq accept")
def accept(
    url: Annotated[str, typer.Option(help="The worker's health server, on the same machine or in the same pod.")] = (
        "http://127.0.0.1:8080"
    ),
    next_: Annotated[
        int,
        typer.Option("--next", min=0, max=9_999_999, help="Also accept this many further bad records within an hour."),
    ] = 0,
    as_json: Json = False,
) -> None:
    """Close a worker's breaker by hand: what it holds really is bad, and leaves as dead letters."""
    from worker.cli.replay import accept_dead_letters

    said = accept_dead_letters(url, next_)
    tell_result({"worker": said}, as_json=as_json, text=said)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show on standard error, if that is a terminal, how far long work is."""
    with Console(stderr=True).status("reading dead letters") as status:
        yield status.update


def _row(letter: Record) -> dict[str, Any]:
    """Return what one looks for first; all text is foreign, so nothing of it may steer a terminal."""
    why = {name: _clean(text) for name, text in told(letter.headers).items()}
    source = f"{why.get('source-topic', '')}[{why.get('source-partition', '')}]@{why.get('source-offset', '')}"
    return {
        "at": f"{letter.partition.number}@{letter.offset}",
        "time": _time(letter.timestamp_ms),
        "reason": why.get("reason", ""),
        "detail": why.get("detail", ""),
        "source": source,
        "attempts": attempts(letter.headers),
    }


def _time(timestamp_ms: int | None) -> str:
    if timestamp_ms is None:
        return "no time"
    return record_time(timestamp_ms, precision="seconds") or f"{timestamp_ms} ms"


def _text(value: bytes | None) -> str | None:
    """Return bytes as text, or as hex if they are none."""
    if value is None:
        return None
    try:
        return _clean(value.decode())
    except UnicodeDecodeError:
        return f"0x{value.hex()}"


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
