"""A world's log as the topics carry it: what the worker would answer with an engine, and what real users did.

    event n    SLATE control, SLATE candidate, DUEL candidate     one of the slates was shown
               one outcome: a click, or a closed window

The engine is the truth's, with whatever bias it has; slates that are one list are IDENTICAL, as the worker has them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.support.experiment.made import AT_US, response, slate
from tests.support.experiment.truth import Engine, Floats, Log, duel_shares
from worker.core.records import Impression, Item, Role, Slate, User
from worker.core.simulation.question_set import WantedQuestions
from worker.core.simulation.questions import Depths, Status, plan

SECOND_US = 1_000_000
Record = dict[str, Any]


def responses(log: Log, engine: Engine, *, seed: int) -> Iterator[Record]:
    """Yield three responses an event, in order of arrival."""
    beliefs = engine.beliefs(log, seed=seed)
    offered = log.in_a | log.in_b
    letters = {name: engine.letters(beliefs, which, order=None)
               for name, which in (("control", log.in_a), ("candidate", log.in_b), ("both", offered))}  # fmt: skip
    shares, contested = duel_shares(log, letters["both"]), (letters["both"] * (log.in_a ^ log.in_b)).sum(axis=1)
    for n in range(log.user.size):
        frame: Record = {"event_id": f"e-{n}", "user_id": f"u{log.user[n]}", "occurred_at": AT_US + n * SECOND_US}
        same = not log.differs[n]
        control = _options(log, n, log.slate_a[n], letters["control"][n], "control")
        candidate = _options(log, n, log.slate_b[n], letters["candidate"][n], "candidate")
        yield slate(variant="control", **frame, options=control, **_shown(log, n, log.slate_propensity[n], b=False))
        yield slate(**frame, options=candidate, status="IDENTICAL" if same else "OK",
                    target_propensity=float(log.target_propensity[n]), **_shown(log, n, None, b=True))  # fmt: skip
        merged = _duel(_options(log, n, log.slate_a[n], letters["both"][n], "control"),
                       _options(log, n, log.slate_b[n], letters["both"][n], "candidate"))  # fmt: skip
        yield response(**frame, options=merged, duel_share=float(shares[n]),
                       status="IDENTICAL" if same else "OK", contested_mass=float(contested[n]))  # fmt: skip


def as_asked(records: Iterator[Record], wanted: WantedQuestions) -> Iterator[Record]:
    """Yield the three responses of each event as a worker has them that asks `wanted`: it is asked what to ask."""
    for event in zip(records, records, records, strict=True):
        items = (tuple(Item(of["item_id"], of["position"]) for of in one["options"]) for one in event[:2])
        named = ((one["variant"], Role(one["role"])) for one in event)
        slates = tuple(Slate(variant, found, role=role) for (variant, role), found in zip(named, items, strict=False))
        user_id = event[0]["user_id"]
        impression = Impression(event[0]["event_id"], event[0]["occurred_at"], User(user_id), slates)
        questions = plan(impression, lambda item: item.item_id, Depths(), user=wanted.of(user_id))
        for record, question in zip(event, questions, strict=True):
            if question.status not in (Status.NOT_ASKED, Status.NOT_SAMPLED):
                yield record | {"sample_rate": question.share}
                continue
            options = [one | {"probability": None} for one in record["options"]]
            nothing = {"duel_share": None, "contested_mass": None, "entropy_total": None}
            yield record | nothing | {"status": question.status.value, "options": options}


def outcomes(log: Log) -> Iterator[Record]:
    """Yield one outcome an event, when its window is closed."""
    for n in range(log.user.size):
        variant, shown = ("candidate", log.slate_b) if log.shown_b[n] else ("control", log.slate_a)
        clicks = [_item(log, n, shown[n][log.click[n]])] if log.click[n] >= 0 else []
        at = AT_US + n * SECOND_US
        yield {
            "outcome_id": f"00000000-0000-4000-8000-{n:012}", "event_id": f"e-{n}", "user_id": f"u{log.user[n]}",
            "variant": variant, "observed_at": at + 60 * SECOND_US, "window_closed": True,
            "actions": [{"item_id": item, "kind": "CLICK", "occurred_at": at + SECOND_US} for item in clicks],
        }  # fmt: skip


def _shown(log: Log, n: int, propensity: Floats | None, *, b: bool) -> Record:
    """Say what was logged of the slate; the arm of everybody, where there is a canary."""
    chance, inside = log.world.canary, bool(log.shown_b[n])
    arm: Record = {}
    if chance:
        arm = {"arm": "candidate" if inside else "control", "arm_probability": chance if inside else 1 - chance}
    logged = {"slate_propensity": float(propensity), "propensity_kind": "SLATE"} if propensity is not None else {}
    return {"shown": bool(log.shown_b[n]) == b, **arm, **logged}


def _options(log: Log, n: int, pools: np.ndarray[Any, Any], letters: Floats, variant: str) -> list[Record]:
    return [
        {"item_id": _item(log, n, pool), "position": position, "variants": [variant], "kind": "ORGANIC",
         "probability": float(letters[pool]), "value": None}
        for position, pool in enumerate(pools)
    ]  # fmt: skip


def _duel(control: list[Record], candidate: list[Record]) -> list[Record]:
    merged = {one["item_id"]: dict(one) for one in control}
    for one in candidate:
        mine = merged.setdefault(one["item_id"], dict(one, variants=[]))
        mine |= {"variants": [*mine["variants"], "candidate"], "candidate_position": one["position"]}
    return list(merged.values())


def _item(log: Log, n: int, pool: int) -> str:
    return f"i{log.item[n][pool]}"
