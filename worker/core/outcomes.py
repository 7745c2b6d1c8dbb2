"""What real users did with the slates that they were shown; the field names are those of `schemas/Outcome.avsc`."""

from dataclasses import dataclass
from enum import StrEnum

from worker.core.records import Id, Place, TimeUs


class ActionKind(StrEnum):
    """What a real user did with an item."""

    CLICK = "CLICK"
    VIEW = "VIEW"
    PURCHASE = "PURCHASE"
    LIKE = "LIKE"
    HIDE = "HIDE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a real user did."""

    item_id: Id
    position: Place | None = None
    kind: ActionKind = ActionKind.UNKNOWN
    value: float | None = None
    dwell_ms: int | None = None
    occurred_at: TimeUs | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the real user did with a shown slate; no action and a closed window is a real no."""

    outcome_id: Id
    event_id: Id
    user_id: Id
    variant: Id
    observed_at: TimeUs
    request_id: Id | None = None
    experiment_id: Id | None = None
    actions: tuple[Action, ...] = ()
    window_closed: bool = False
    is_test: bool = False
