"""What the simulated letters say about a real click: a conditional logit with a no-click option, and the bridge.

    v_j   = a ln p_j + b[display position j]      b[0] = 0; positions from the last one on share one b
    logit P(any click)  = (1 - c1) ln sum_j e^v_j - c0      P(j | click) = e^v_j / sum e^v

(McFadden 1974; with c1 other than 0 it is a nested logit.)  a < 1: the simulated user is over-confident.  a and b are
fitted on slates with a click alone, then c0 and c1 on whether there was one: letters do not show how good a slate is
on the whole, and fitted together, what is clicked at all would pull a and b from what is clicked there.  A ridge of
`RIDGE` pulls all but c0 towards 0, which settles what the data cannot: a, where all letters are equal.

Letters sum to 1, so a head on the candidate's own answer never says how often it is clicked.  The bridge takes the
duel's masses instead:  logit P_B = logit P_A + a ln(m_B / m_A).  It assumes logit choice.  m is the mass of all of a
variant's items in the merged question, so a shared item counts in both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit, logsumexp

from worker.experiment.real_clicks.shown_slates import Columns, Flags, Floats, Ints

MIN_CLICKS = 200
MAX_POSITIONS = 12  # later ones share the last one's b
RIDGE = 0.1  # a normal prior of sd 3.2 on each parameter but c0
MIN_PROBABILITY = 1e-6  # the logarithm of a letter or a mass that was never named stays finite

ESTIMAND = "bridged"
ASSUMPTION = "assumes logit choice"

_STEP = 1e-5  # of the gradient's central difference, which gives the curvature


@dataclass(frozen=True, slots=True)
class FittedHead:
    """A fitted head; `parameters` are a, c0, c1, b[1], b[2], ..."""

    parameters: tuple[float, ...]
    slope_se: float  # of a, clustered by user; with the ridge
    clicks: int
    version: str

    @property
    def slope(self) -> float:
        """Return a."""
        return self.parameters[0]

    @property
    def taste(self) -> Floats:
        """Return (a, b[1], b[2], ...)."""
        return np.array([self.parameters[0], *self.parameters[3:]])

    def click_probability(self, slates: Columns) -> Floats:
        """Return P(any click) by slate."""
        total = _utilities(self.taste, slates)[1]
        return np.asarray(expit((1 - self.parameters[2]) * total - self.parameters[1]))


@dataclass(frozen=True, slots=True)
class NotIdentified:
    """There is no figure, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Tested:
    """How a head did on slates that it was not fitted on; both losses are of which item or none."""

    slates: int
    clicks: int
    log_loss: float
    rate_log_loss: float  # of the first slice's click rate, split evenly over the items
    click_rate: float
    predicted_rate: float


@dataclass(frozen=True, slots=True)
class Bridged:
    """Click probability of both variants by event; the means are over events."""

    control: Floats
    candidate: Floats
    log_ratio: Floats  # ln(m_B / m_A)
    head: str  # version
    estimand: str = ESTIMAND
    assumption: str = ASSUMPTION

    @property
    def lift(self) -> float:
        """Return the mean difference."""
        return float((self.candidate - self.control).mean())


def fit(slates: Columns) -> FittedHead | NotIdentified:
    """Fit on all slates given, which should be the first time slice only."""
    clicks = int(slates.any_click.sum())
    if clicks < MIN_CLICKS:
        return NotIdentified(f"{clicks:,} slates with a click so far, at least {MIN_CLICKS} needed")
    if clicks == slates.user.size:
        return NotIdentified(f"all {clicks:,} slates have a click: no-click outcomes are missing")
    num_positions = min(MAX_POSITIONS, int(slates.position.max()) + 1)
    chosen = slates.rows(slates.any_click)
    try:
        taste = _minimised(lambda x: choice_loss(x, chosen), np.concatenate([[1.0], np.zeros(num_positions - 1)]))
        total, clicked = _utilities(taste, slates)[1], slates.any_click
        outside = _minimised(lambda x: click_loss(x, total, clicked), np.zeros(2))
    except ArithmeticError as error:
        return NotIdentified(f"the fit did not converge: {error}")
    parameters = tuple(float(value) for value in (taste[0], *outside, *taste[1:]))
    version = sha256(repr([round(value, 9) for value in parameters]).encode()).hexdigest()[:12]
    return FittedHead(parameters, _slope_se(taste, chosen), clicks, version)


def _minimised(of: Callable[[Floats], tuple[float, Floats]], start: Floats) -> Floats:
    found = minimize(of, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-12})
    if not found.success:
        raise ArithmeticError(found.message)
    return np.asarray(found.x)


def score(head: FittedHead, *, fitted_on: Columns, slates: Columns) -> Tested | NotIdentified:
    """Score the head on the next time slice, beside the first slice's plain click rate."""
    if not slates.user.size:
        return NotIdentified("no slates after those that the click model was fitted on")
    n, clicked = slates.user.size, slates.any_click
    rate = float(fitted_on.any_click.mean())
    even = np.where(clicked, np.log(rate / slates.offered.sum(axis=1)), np.log1p(-rate))
    v, total = _utilities(head.taste, slates)
    z = (1 - head.parameters[2]) * total - head.parameters[1]
    which = np.where(slates.weight > 0, slates.weight * (v - total[:, None]), 0).sum()
    return Tested(
        slates=n,
        clicks=int(clicked.sum()),
        log_loss=float(np.logaddexp(0, np.where(clicked, -z, z)).sum() - which) / n,
        rate_log_loss=-float(even.mean()),
        click_rate=float(clicked.mean()),
        predicted_rate=float(head.click_probability(slates).mean()),
    )


def bridged(
    head: FittedHead | NotIdentified, slates: Columns, *, mass_a: Floats, mass_b: Floats
) -> Bridged | NotIdentified:
    """Carry control's click probability over to the candidate, by the masses of one merged question per event."""
    if isinstance(head, NotIdentified):
        return head
    bad = int((~(np.isfinite(mass_a) & np.isfinite(mass_b))).sum())
    if bad or not mass_a.size:
        return NotIdentified(f"{bad:,} of {mass_a.size:,} events lack the probability of one side")
    control = head.click_probability(slates)
    ratio = np.log(np.maximum(mass_b, MIN_PROBABILITY) / np.maximum(mass_a, MIN_PROBABILITY))
    candidate = np.asarray(expit(logit(control) + head.slope * ratio))
    return Bridged(control, candidate, ratio, head.version)


def choice_loss(taste: Floats, chosen: Columns) -> tuple[float, Floats]:
    """Return the negative log-likelihood of which item was clicked, with its ridge, and the gradient in (a, b)."""
    v, total = _utilities(taste, chosen)
    value = -np.where(chosen.weight > 0, chosen.weight * (v - total[:, None]), 0).sum()
    ridge = RIDGE * float(taste @ taste) / 2
    return float(value + ridge), -_scores(taste, chosen).sum(axis=0) + RIDGE * taste


def click_loss(outside: Floats, total: Floats, clicked: Flags) -> tuple[float, Floats]:
    """Return the negative log-likelihood of any click, with its ridge, and the gradient in (c0, c1)."""
    z = (1 - outside[1]) * total - outside[0]
    value = np.logaddexp(0, np.where(clicked, -z, z)).sum() + RIDGE * outside[1] ** 2 / 2
    surprise = clicked - expit(z)
    return float(value), np.array([surprise.sum(), (total * surprise).sum() + RIDGE * outside[1]])


def _utilities(taste: Floats, slates: Columns) -> tuple[Floats, Floats]:
    """Return v by option (-inf where not offered) and its logsumexp by slate."""
    bias = np.concatenate([[0.0], taste[1:]])
    v = np.where(slates.offered, taste[0] * _log_letters(slates) + bias[_place(taste, slates)], -np.inf)
    return v, np.asarray(logsumexp(v, axis=1))


def _scores(taste: Floats, chosen: Columns) -> Floats:
    """Return the gradient of each slate's log-likelihood."""
    v, total = _utilities(taste, chosen)
    by_v, place = chosen.weight - np.exp(v - total[:, None]), _place(taste, chosen)
    scores = [(by_v * _log_letters(chosen)).sum(axis=1)]
    scores += [np.where(place == b, by_v, 0).sum(axis=1) for b in range(1, taste.size)]
    return np.stack(scores, axis=1)


def _log_letters(slates: Columns) -> Floats:
    return np.asarray(np.log(np.maximum(slates.probability, MIN_PROBABILITY)))


def _place(taste: Floats, slates: Columns) -> Ints:
    """Return the index into b; a position later than any in the fit takes the last."""
    return np.asarray(np.minimum(slates.position, taste.size - 1))


def _slope_se(taste: Floats, chosen: Columns) -> float:
    """Return the user-clustered standard error of a (Liang and Zeger 1986): H^-1 (sum of g g') H^-1."""
    steps = _STEP * np.eye(taste.size)
    gradients = [choice_loss(taste + s, chosen)[1] - choice_loss(taste - s, chosen)[1] for s in steps]
    hessian = np.array(gradients) / (2 * _STEP)
    _, user = np.unique(chosen.user, return_inverse=True)
    by_user = np.stack([np.bincount(user, column) for column in _scores(taste, chosen).T], axis=1)
    bread = np.linalg.pinv((hessian + hessian.T) / 2)
    return float(np.sqrt((bread @ by_user.T @ by_user @ bread)[0, 0]))
