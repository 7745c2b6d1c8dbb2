"""Whether both lists are there where they should be: for each event of either side that the candidate serves.

A shadow service that times out on hard requests leaves no slate, so there is no question, no answer and nothing
missing among the pairs, and what is left are the easy requests.  With no true effect and half of the slates absent
where the candidate would lose, simulations showed it preferred with 0.60 to 0.63.

    events                 1,000    of either side, of users whom the definition's `eligible` names, if it does
    without the other list   900    or without the duel, where the primary metric is of duels
    declared               10 % of events (`eligible_share: 0.1`)  ->  OK, as planned

A share alone cannot tell slates that were left out by chance from those that would have lost: where one is declared,
the sentence of a result says that it is about the events that have a slate.

Each user is one value, the share of the user's events without the slate: one user or robot is not a crowd.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, log

from worker.experiment.quality.checks import ALPHA, MAX_MISSING, state_of
from worker.experiment.readout import Check, CheckState
from worker.experiment.statistics.evalues import log_e_above

NAME = "candidate slates"
_PART = (
    "this holds for the events that have a slate of the candidate (eligible_share): whether the others lack one by "
    "chance is not known"
)


@dataclass(frozen=True, slots=True)
class Served:
    """One user's events of either side, and those among them that lack what is compared."""

    user: int  # its number in the state
    events: int
    absent: int


def absent_slates(users: Sequence[Served], *, declared: float = 1.0, pairs: int = 0) -> Check:
    """Return whether at least the declared share of the events has both lists compared.

    `pairs` is how many were compared: some, but no event that the candidate serves, is an `eligible` that names none.
    """
    if pairs and not users:
        words = f"`eligible` fits none of the events, although {pairs:,} pairs were compared: is a name wrong?"
        return Check(NAME, CheckState.FAILED, words)
    events, absent = sum(one.events for one in users), sum(one.absent for one in users)
    mean = fsum(one.absent / one.events for one in users) / max(1, len(users))
    bound = 1 - declared + min(MAX_MISSING, declared / 2)  # of a share of 1 % or less, half of it may be absent
    log_e = log_e_above(mean * len(users), len(users), bound=bound)
    state = state_of(len(users), failed=log_e >= -log(ALPHA), fine=mean <= bound)
    planned = "all were expected" if declared == 1 else f"{declared:.1%} were declared (eligible_share)"
    words = (
        f"{events - absent:,} of {events:,} events have both lists compared, {1 - mean:.1%} of a user's on average; "
        f"{planned}"
    )
    figures = {"share": 1 - mean, "declared": declared, "absent": absent}
    return Check(NAME, state, words, figures, qualifies="" if declared == 1 else _PART)


def beyond_plan(users: Sequence[Served], *, declared: float) -> dict[int, float]:
    """Return by user how many slates are absent that should be there: all, or what exceeds the declared share.

    >>> beyond_plan([Served(0, 10, 2), Served(1, 10, 0)], declared=1.0)
    {0: 2.0}
    >>> beyond_plan([Served(0, 10, 3), Served(1, 10, 1)], declared=0.9)
    {0: 1.5, 1: 0.5}
    """
    events, absent = sum(one.events for one in users), sum(one.absent for one in users)
    excess = max(0.0, absent - round(1 - declared, 9) * events)
    return {one.user: one.absent * excess / absent for one in users if one.absent and excess}
