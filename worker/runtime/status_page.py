"""The page `/` for people: what a worker does now, what it waits for, the last remarkable things, its settings.

It is HTML without scripts, loads nothing, and shows no secret; a browser asks for it anew every 10 s.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from worker import __version__
from worker.core.blockers import Blocker
from worker.core.errors import masked
from worker.core.simulation.draws import EngineCard
from worker.runtime.health_state import HealthState
from worker.runtime.remarkable import Remark
from worker.settings import Settings
from worker.settings.shown import shown

Figures = Mapping[str, Sequence[float]]  # by metric, of all its series

_RELOAD_S = 10
_MINUTE_S = 60
_FOR_PROGRAMS = ("/readyz", "/livez", "/startupz", "/metrics")
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}
h1{font-size:1.4rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse;width:100%}
td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #ddd}
td{overflow-wrap:break-word}.well{color:#15692f}.bad{color:#a11}.same{color:#666}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#16181c}td,th{border-color:#333}.well{color:#6c6}
.bad{color:#f88}.same{color:#999}}
"""
_WAITS_FOR = {  # what has to happen, by what keeps the worker from being ready
    Blocker.ENGINE: "the engine",
    Blocker.START: "Kafka, a topic, a right or the registry",
    Blocker.GROUP: "its group",
    Blocker.POSITIONS: "Kafka's answer where partitions start",
    Blocker.TOPICS: "its input topics",
    Blocker.TRANSACTIONS: "Kafka's transactions",
    Blocker.UNREADABLE: "somebody who passes an unreadable batch",
    Blocker.BREAKER: "records that can be decoded, or somebody who accepts dead letters",
    Blocker.SCHEMA: "the schema registry",
    Blocker.FACTS: "the items or users that events are joined with",
    Blocker.REFUSALS: "a topic that takes its messages",
    Blocker.STALLED: "its own progress",
    Blocker.STOPPING: "its end",
}


class StatusPage:
    """Makes the page; `figures` and `remarks` say how things are at that moment."""

    def __init__(
        self,
        settings: Settings,
        card: Callable[[], EngineCard],
        state: HealthState,
        *,
        figures: Callable[[], Figures],
        remarks: Callable[[], Sequence[Remark]],
    ) -> None:
        self._settings, self._card, self._state = settings, card, state
        self._figures, self._remarks = figures, remarks
        self._started_s = time.time()

    def html(self) -> str:
        """Return the page as it is now."""
        now_s, card = time.time(), self._card()
        title = f"Mirrorstream {__version__}: {card.model} on {card.engine} {card.engine_version}"
        links = ", ".join(f'<a href="{path}">{path}</a>' for path in _FOR_PROGRAMS)
        parts = [
            f"<h1>{escape(title)}</h1>",
            *self._state_of(),
            "<h2>Now</h2>",
            _table(_now(self._figures(), up_s=now_s - self._started_s)),
            "<h2>Last remarkable things</h2>",
            _table(_told(self._remarks(), now_s)) or "<p>None.</p>",
            "<h2>Settings</h2>",
            _table(_settings(self._settings)),
            f"<p>For programs: {links}</p>",
        ]
        head = f'<meta charset="utf-8"><meta http-equiv="refresh" content="{_RELOAD_S}">'
        head += f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        head += f"<style>{_STYLE}</style>"
        body = "\n".join(parts)
        return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>{body}</body></html>\n'

    def _state_of(self) -> Iterable[str]:
        reasons = [(blocker, why) for blocker, why in self._state.blockers().items() if why]
        if stuck := self._state.live():
            yield f'<p class="bad">Not alive: {escape(masked(stuck))}</p>'
        if not reasons:
            yield '<p class="well">Ready: it answers impressions.</p>'
            return
        yield '<p class="bad">Not ready.</p><h2>Waits for</h2>'
        yield _table((_WAITS_FOR[blocker], masked(why)) for blocker, why in reasons)


def _now(figures: Figures, *, up_s: float) -> Iterable[tuple[str, str]]:
    def total(name: str) -> float:
        return sum(figures.get(f"mirrorstream_{name}", ()))

    def most(name: str) -> float:
        return max(figures.get(f"mirrorstream_{name}", ()), default=0.0)

    yield "running for", span(up_s)
    yield "partitions", f"{total('assigned_partitions'):.0f} assigned, {total('paused_partitions'):.0f} paused"
    yield "in flight", f"{total('in_flight_records'):.0f} records, the oldest for {span(total('head_of_line_seconds'))}"
    yield "lag", f"{total('lag_records'):.0f} records, the oldest of {span(most('lag_seconds'))} ago"
    yield "time to catch up", span(most("drain_seconds"))
    yield "newest commit of the slowest partition", f"{span(most('commit_age_seconds'))} ago"
    yield (
        "since the start",
        (
            f"{total('records_consumed_total'):.0f} records received, {total('records_skipped_total'):.0f} skipped,"
            f" {total('responses_total'):.0f} responses, {total('dead_letters_total'):.0f} dead letters"
        ),
    )
    yield "engine", f"{total('engine_deaths_total'):.0f} deaths, {total('engine_restarts_left'):.0f} restarts left"


def _told(remarks: Sequence[Remark], now_s: float) -> Iterable[tuple[str, str, str]]:
    for one in remarks:
        times = f" ({one.number} like it)" if one.number > 1 else ""
        at = datetime.fromtimestamp(one.at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
        yield f"{at} UTC, {span(now_s - one.at_s)} ago", one.level, one.text + times


def _settings(settings: Settings) -> Iterable[tuple[str, str, str]]:
    """Yield those that were set before those that were not."""
    rows = sorted(shown(settings), key=lambda row: (row[2], row[0]))
    for name, text, is_default in rows:
        yield name, text, "default" if is_default else ""


def span(seconds: float) -> str:
    """Return a time for people.

    >>> span(0.25), span(75), span(7_300), span(float("inf"))
    ('0.2 s', '1 min 15 s', '2 h 1 min', 'unknown')
    """
    if seconds == float("inf"):
        return "unknown"
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), _MINUTE_S)
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s"


def _table(rows: Iterable[Sequence[str]]) -> str:
    """Return a table, "" without rows; a first cell is a heading."""
    lines = [
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in rows
    ]
    return f"<table>{''.join(lines)}</table>" if lines else ""
