"""Whether the candidate's slates are there where they should be: for each event of control that it serves.

A shadow service that times out on hard requests leaves no slate, so there is no question, no answer and nothing
missing among the pairs, and what is left are the easy requests.  With no true effect and half of the slates absent
where the candidate would lose, simulations showed it preferred with 0.60 to 0.63.

    control's events       1,000    of users whom the definition's `eligible` names, if it does
    without a candidate      900
    declared               10 % of events (`eligible_share: 0.1`)  ->  OK, as planned

Each user is one value, the share of the user's events without the slate: one user or robot is not a crowd.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, log

from worker.experiment.quality.checks import ALPHA, MAX_MISSING, state_of
from worker.experiment.readout import Check
from worker.experiment.statistics.evalues import log_e_above


@dataclass(frozen=True, slots=True)
class Served:
    """One user's events of control, and those among them without a slate of the candidate."""

    user: int  # its number in the state
    events: int
    absent: int


def absent_slates(users: Sequence[Served], *, declared: float = 1.0) -> Check:
    """Return whether at least the declared share of control's events has a slate of the candidate."""
    events, absent = sum(one.events for one in users), sum(one.absent for one in users)
    mean = fsum(one.absent / one.events for one in users) / max(1, len(users))
    bound = min(1 - declared + MAX_MISSING, 1 - MAX_MISSING)
    log_e = log_e_above(mean * len(users), len(users), bound=bound)
    state = state_of(len(users), failed=log_e >= -log(ALPHA), fine=mean <= bound)
    planned = "all were expected" if declared == 1 else f"{declared:.1%} were declared (eligible_share)"
    words = (
        f"{events - absent:,} of {events:,} events of control have a slate of this candidate, {1 - mean:.1%} of a "
        f"user's on average; {planned}"
    )
    return Check("candidate slates", state, words, {"share": 1 - mean, "declared": declared, "absent": absent})
