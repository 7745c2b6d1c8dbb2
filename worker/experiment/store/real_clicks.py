"""What real users did with the slates that they were shown, beside what simulated users were asked about them.

    shown      (configuration, event, variant)   items, positions, simulated probabilities
    outcome    (event, variant)                  items that were clicked, whether the window is closed

An event may have several outcome records: clicks add up, and one that closes the window closes it.  Clicked or not,
an outcome counts once its window is closed, or has passed while the feed moved on; until then it is pending.  A click
that counted at once would be known sooner than a no, and rates would be too high while events come in.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from hashlib import sha256

import numpy as np
from pydantic import TypeAdapter, ValidationError

from worker.core.errors import BadRecord
from worker.core.outcomes import ActionKind, Outcome
from worker.core.simulation.questions import Status
from worker.core.validation_text import all_told
from worker.experiment.real_clicks.shown_slates import Exposure, Seen
from worker.experiment.statistics.user_means import reached
from worker.experiment.store.answers import Answer

CLICKS = (ActionKind.CLICK, ActionKind.PURCHASE)  # a purchase was a click before
MAX_CLICKS = 64  # of one event that are kept

_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


def read_outcome(record: Mapping[str, object]) -> Outcome:
    """Parse an `Outcome` as Avro decodes it.  Raises `BadRecord`."""
    try:
        return _OUTCOME.validate_python(dict(record))
    except ValidationError as error:
        raise BadRecord("malformed_outcome", all_told([dict(one) for one in error.errors()])) from error


class Real:
    """Writes shown slates and outcomes inside the caller's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use the connection of an open state."""
        self._db = db

    def take_answer(self, stream: int, user: int, answer: Answer) -> None:
        """Store a slate that was really shown, and how likely a candidate would have shown it."""
        name = (stream, answer.event_id, answer.variant)
        if shown := answer.shown:
            row = (*name, user, answer.occurred_at, json.dumps(shown.items) if shown.items else None, shown.weight,
                   shown.propensity, shown.whole_slate, shown.assigned, shown.arm_probability,
                   shown.assigned_at)  # fmt: skip
            self._db.execute(
                """insert or ignore into shown (stream, event, variant, user, occurred_at, items, weight, propensity,
                whole, assigned, arm_probability, assigned_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                row,
            )
        if answer.target_propensity is not None:
            self._db.execute("insert or ignore into target values (?, ?, ?, ?)", (*name, answer.target_propensity))

    def take_outcome(self, outcome: Outcome, user: int) -> None:
        """Add what an outcome says to what is known of its event."""
        query = "select clicks, closed, observed_at from outcome where event = ? and variant = ?"
        found = self._db.execute(query, (outcome.event_id, outcome.variant)).fetchone()
        before, closed, observed_at = found or ("[]", 0, 0)
        clicks = {tuple(click) for click in json.loads(before)}
        clicks |= {(one.item_id, one.occurred_at or outcome.observed_at)
                   for one in outcome.actions if one.kind in CLICKS}  # fmt: skip
        kept = json.dumps(sorted(clicks, key=lambda click: (click[1], click[0]))[:MAX_CLICKS])
        closed, observed_at = closed or outcome.window_closed, max(observed_at, outcome.observed_at)
        row = (outcome.event_id, outcome.variant, user, kept, int(closed), observed_at)
        self._db.execute("insert or replace into outcome values (?, ?, ?, ?, ?, ?)", row)


def seen(db: sqlite3.Connection, epoch: int, variant: str, *, window_us: int) -> Iterator[Seen]:
    """Yield the asked and shown slates of a variant by event time; clicks after the window do not count."""
    query = """select shown.event, user.name, shown.occurred_at, items, weight, clicks, closed
        from shown join epoch on epoch.stream = shown.stream join user on user.id = shown.user
        left join outcome on outcome.event = shown.event and outcome.variant = shown.variant
        where epoch.id = ? and shown.variant = ? and items is not null
        and shown.occurred_at between epoch.first and epoch.last order by shown.occurred_at, shown.event"""
    watermark = _watermark(db)
    for event, user, at, items, weight, clicks, closed in db.execute(query, (epoch, variant)):
        names, positions, probabilities = zip(*json.loads(items), strict=True)
        clicked = {item for item, when in json.loads(clicks or "[]") if when < at + window_us}
        indices = tuple(index for index, name in enumerate(names) if name in clicked)
        over = closed or watermark >= at + window_us
        known = over and (indices or not clicked)  # a click below the depth asked is neither a no nor an option
        yield Seen(event, _number(user), at, names, positions, probabilities, indices if known else None, weight)


def shown_variants(db: sqlite3.Connection, epoch: int) -> set[str]:
    """Return the variants that real users were shown; a log of one policy has one, and nothing to compare."""
    query = "select distinct variant from shown join epoch on epoch.stream = shown.stream where epoch.id = ?"
    return {variant for (variant,) in db.execute(query, (epoch,))}


def exposures(
    db: sqlite3.Connection, epoch: int, candidate: str, control: str, *, window_us: int
) -> Iterator[Exposure]:
    """Yield the events of an epoch whose real user saw one of the two slates, by event time."""
    query = """select shown.event, user.name, shown.variant = ?1, shown.occurred_at, shown.propensity, whole, assigned,
            clicks, closed, duel.status, duel.metric_duel_share, target.propensity, shown.arm_probability,
            coalesce(shown.assigned_at, shown.occurred_at)
        from shown join epoch on epoch.stream = shown.stream join user on user.id = shown.user
        left join outcome on outcome.event = shown.event and outcome.variant = shown.variant
        left join answer duel on duel.stream = shown.stream and duel.event = shown.event and duel.question = 'DUEL'
            and duel.variant = ?1 and duel.control = ?2
        left join target on target.stream = shown.stream and target.event = shown.event and target.variant = ?1
        where epoch.id = ?3 and shown.variant in (?1, ?2) and shown.occurred_at between epoch.first and epoch.last
        order by shown.occurred_at, shown.event, shown.variant"""
    watermark = _watermark(db)
    for (event, user, of_candidate, at, propensity, whole, assigned, clicks, closed, status, share, target,
         arm_probability, assigned_at) in db.execute(query, (candidate, control, epoch)):  # fmt: skip
        clicked = any(when < at + window_us for _, when in json.loads(clicks or "[]"))
        over = closed or watermark >= at + window_us
        yield Exposure(
            event_id=event,
            user=_number(user),
            shown_candidate=bool(of_candidate),
            outcome=float(clicked) if over else None,
            identical=status == Status.IDENTICAL,
            duel_share=share,
            propensity=propensity,
            whole_slate=bool(whole),
            target_propensity=target,
            assigned=bool(assigned),
            arm_probability=arm_probability,
            assigned_at=assigned_at,
        )


def _number(user: str) -> int:
    """Return a user's number in real clicks: the same in every state, where the table's own is that of who came first.

    Groups of a bootstrap, ties and the order of additions go by it.
    """
    return int.from_bytes(sha256(user.encode("utf-8", "surrogatepass")).digest()[:8]) >> 1


def _watermark(db: sqlite3.Connection) -> int:
    """Return how far the feed of outcomes has come, by the newest of each user: a few clocks ahead move it not."""
    newest = [at for (at,) in db.execute("select max(observed_at) from outcome group by user")]
    return reached(np.array(newest, np.int64)) if newest else 0


def has_outcomes(db: sqlite3.Connection) -> bool:
    """Return whether any outcome was read."""
    return db.execute("select 1 from outcome limit 1").fetchone() is not None


def unchanged(db: sqlite3.Connection, epoch: int, candidate: str, control: str) -> list[tuple[str, int, int]]:
    """Return (event, user, time) where the real user saw control's slate and the candidate's is the same list."""
    query = """select shown.event, user.name, shown.occurred_at from shown join epoch on epoch.stream = shown.stream
        join user on user.id = shown.user
        join answer duel on duel.stream = shown.stream and duel.event = shown.event and duel.question = 'DUEL'
            and duel.variant = ? and duel.control = shown.variant
        where epoch.id = ? and shown.variant = ? and duel.status = 'IDENTICAL'
        and shown.occurred_at between epoch.first and epoch.last"""
    return [(event, _number(user), at) for event, user, at in db.execute(query, (candidate, epoch, control))]


def duels(db: sqlite3.Connection, epoch: int, candidate: str, control: str) -> dict[str, tuple[float, float]]:
    """Return (duel share, contested mass) by event; slates that do not differ contest nothing.

    A duel that was asked and does not say what it contests is left out: its two masses are not known.
    """
    query = """select event, metric_duel_share, coalesce(contested, 0)
        from answer join epoch on epoch.stream = answer.stream
        where epoch.id = ? and question = 'DUEL' and variant = ? and control = ? and metric_duel_share is not null
        and (status != 'OK' or contested is not null) and occurred_at between epoch.first and epoch.last"""
    return {event: (share, contested) for event, share, contested in db.execute(query, (epoch, candidate, control))}


def without_response(db: sqlite3.Connection) -> int:
    """Return how many outcomes are of no event that was asked about."""
    query = """select count(*) from outcome where not exists
        (select 1 from shown where shown.event = outcome.event and shown.variant = outcome.variant)"""
    return int(db.execute(query).fetchone()[0])
