"""What a bridge does not know, and so what its interval has to hold; or why there is no figure.

    slope   at least the fitted one, without an upper limit, see below
    spread  users who differ in how readily they click answer less to a better slate (`user_spread`)
    later   the click model must hold on control's slates of the second half, which it was not fitted on

Clicks show an engine's scale times its reliability, and neither alone (errors in variables: Fuller 1987):

    engine                  scale   reliability   fitted slope   the bridge is right with
    too sure of itself      0.3     1             0.3            0.3
    noisy                   1       0.5           0.5            1
    too unsure and noisy    3       0.3           0.9            3
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.experiment.real_clicks.click_model import FittedHead
from worker.experiment.real_clicks.shown_slates import Columns
from worker.experiment.real_clicks.user_spread import MIN_USERS, UserSpread, user_spread

STEPS = 5  # of slopes up to the fitted one or 1: the effect of a slope need not be monotone over events
BEYOND = (2.0, 4.0, 8.0, 16.0, 64.0, 1e6)  # times that; with the last, users take the side that the duel prefers
MAX_Z = 3.0  # of predicted against seen clicks of the second half
_ERRORS = 2.0  # standard errors of the slope


@dataclass(frozen=True, slots=True)
class Limits:
    """Slopes and spreads that the data leave open; with `withheld` there is no figure, only a sign."""

    slopes: tuple[float, ...]
    spreads: tuple[float, ...]
    words: str
    likeliest: float = 0.0  # spread
    withheld: str = ""


def limits(head: FittedHead, *, known: Columns, later: Columns) -> Limits:
    """Return what is left open by a head, all slates whose outcome is known, and those of the second half."""
    low, high = head.slope - _ERRORS * head.slope_se, head.slope + _ERRORS * head.slope_se
    fitted = np.linspace(min(low, 1.0), max(high, 1.0), STEPS)
    slopes = tuple(float(one) for one in (*fitted, *(fitted[-1] * np.array(BEYOND))))
    if low <= 0:
        return Limits((), (), "", withheld="simulated choices are not shown to follow real clicks")
    spread = user_spread(head.click_probability(known), known.any_click, known.user)
    if spread is None:
        why = f"how much users differ is not known: fewer than {MIN_USERS} have two known slates of control"
        return Limits(slopes, (0.0,), "", withheld=why)
    return Limits(
        slopes, tuple(dict.fromkeys((spread.low, spread.high))), _words(slopes, spread), spread.sd, _later(head, later)
    )


def _words(slopes: Sequence[float], spread: UserSpread) -> str:
    return (
        "read the end that is nearer to 0: clicks on control do not show how strongly they would follow the simulation"
        f"; the interval holds what they leave open: slopes of clicks on simulated choices from {slopes[0]:.2f} up, "
        f"and users who differ in how readily they click by {spread.low:.1f} to {spread.high:.1f} logits"
    )


def _later(head: FittedHead, later: Columns) -> str:
    """Return why the head does not hold on slates that it was not fitted on, by users; "" if it does."""
    if not later.user.size:
        return ""
    expected, seen = head.click_probability(later), later.any_click
    _, of = np.unique(later.user, return_inverse=True)
    gaps = np.bincount(of, seen - expected)
    error = float(np.sqrt((gaps**2).sum()))
    if error == 0 or abs(float(gaps.sum())) <= MAX_Z * error:
        return ""
    return (
        f"the click model does not hold on later slates of control: it expects {expected.mean():.1%} of them to be "
        f"clicked, and {seen.mean():.1%} were"
    )
