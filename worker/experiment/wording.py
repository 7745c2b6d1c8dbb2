"""How a figure is said: one text for the page, the HTML file, the JSON and the terminal.

    share        53.4 % (51.6 to 55.2)                 a duel share; 50 % is a tie
    difference   +0.012 (-0.009 to +0.033)             candidate minus control
    rate         +2.1 points (+1.0 to +3.2)            of a click probability
    no interval  not identified: 40 users so far, at least 100 needed

A value without an interval is not shown: few users can say anything.  A figure has one interval and one precision
wherever it is shown: digits follow from its width, and an end that is beside the tie is never rounded to it.

>>> figure(Estimate(900, 0.5512, Interval(0.5303, 0.5721)), EVEN)
'55 % (53 to 57)'
>>> figure(Estimate(900, 0.5212, Interval(0.5013, 0.5411)), EVEN)
'52.1 % (50.1 to 54.1)'
>>> figure(Estimate(40, 0.55, None, "40 users so far, at least 100 needed"), EVEN)
'not identified: 40 users so far, at least 100 needed'
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from math import isfinite

from worker.experiment.definition import Definition
from worker.experiment.metrics import METRICS
from worker.experiment.readout import ActivityGroup, Agreement, Calibrated, Comparison, Effect, Epoch, KeptBacktest
from worker.experiment.statistics.confidence import (
    DEFINED,
    EVEN,
    PLANNED_USERS,
    Estimate,
    Interval,
    Verdict,
    half_width,
    not_identified,
)

RATE = "click_probability"  # the one metric whose values are rates of real clicks
BASELINES = {"skill_uniform": "chance", "skill_position": "position alone", "skill_popularity": "popularity alone"}
NO_OUTCOMES = "no outcomes were read, so it is unknown whether simulated users choose as real users do"
_MEASURED = {
    "canary": "Real clicks in the canary",
    "doubly-robust": "Real clicks on A's lists, and what they would be on B's (estimated, doubly robust)",
}
_WIDE = 0.04  # of a share: an interval of four points or more needs no decimals
_MOST_DECIMALS = 3  # of a percentage
_LEAST_GAIN = 1.05  # times as wide: less is not worth a sentence


class Notation(Enum):
    """How values of a metric are written."""

    SHARE = "share"
    RATE = "rate"
    DIFFERENCE = "difference"


def notation_of(metric: str, null: float) -> Notation:
    """Return how values of a metric are written: a tie at 0.5 is a share's."""
    if null == EVEN:
        return Notation.SHARE
    return Notation.RATE if metric.startswith(RATE) else Notation.DIFFERENCE


def tie(null: float) -> str:
    """Return the value of a tie, as it stands in a sentence."""
    return "50 %" if null == EVEN else f"{null:g}"


def level(alpha: float) -> str:
    """Return the level of an interval.

    >>> level(0.05), level(0.001)
    ('95 %', '99.9 %')
    """
    return f"{100 * (1 - alpha):.5g} %"


def margin(of: Definition) -> str:
    """Return what a definition calls no difference, and that it says nothing about clicks."""
    if of.margin is None:
        return "margin: none, so the verdict is never `no difference`"
    null = METRICS[of.primary_metric].null
    name = of.primary_metric.replace("_", " ")
    notation = notation_of(of.primary_metric, null)
    low, high = (value(null + far, notation) for far in (-of.margin, of.margin))
    return (
        f"margin: a {name} from {low} to {high} counts as no difference; "
        "these are simulated choices, so the margin says nothing about clicks"
    )


def why_shared(candidates: int, share: float) -> str:
    """Return why an interval has a part of alpha only: its candidates share what earlier epochs left.

    >>> why_shared(2, 0.64)
    '2 candidates share alpha and earlier epochs left 64 % of it'
    """
    parts = [f"{candidates} candidates share alpha"] if candidates > 1 else []
    if share < 1:
        parts.append(f"earlier epochs left {100 * share:.2g} % of {'it' if parts else 'alpha'}")
    return " and ".join(parts)


def epoch_has(share: float) -> str:
    """Return how much of alpha an epoch has, among several.

    >>> epoch_has(1.0), epoch_has(0.5)
    ('this one has all of alpha', 'this one has 50 % of alpha')
    """
    return f"this one has {'all' if share == 1 else f'{100 * share:.2g} %'} of alpha"


def label(effect: Effect) -> str:
    """Return the name of a metric as a reader of the page knows it."""
    return "choices that go to B" if effect.null == EVEN else effect.metric.replace("_", " ")


def by_activity(groups: Sequence[ActivityGroup], alpha: float) -> str:
    """Return what the groups of users by their activity are, as a sentence without its full stop; "" without any."""
    if not groups:
        return ""
    if len(groups) == 1:
        return (
            f"the users came about equally often ({groups[0].events} each), "
            "so nothing is known about users who come more or less often"
        )
    return (
        "users by how often they came, in thirds as far as their numbers of events allow; "
        f"all {len(groups)} intervals together hold at {level(alpha)}"
    )


def figure(one: Estimate, null: float, metric: str = "", alpha: float | None = None) -> str:
    """Return a value with its interval, or why it has none; an interval that is not at the alpha of all has its level.

    >>> figure(Estimate(900, 0.5212, Interval(0.5013, 0.5411)), EVEN, alpha=0.025)
    '52.1 % (50.1 to 54.1; 97.5 % interval)'
    """
    notation = notation_of(metric, null)
    if one.interval is None or one.value is None:
        return not_identified(one.withheld)
    decimals = _decimals(one.interval, null)
    at = "" if alpha is None else f"; {level(alpha)} interval"
    return f"{value(one.value, notation, decimals)} ({_ends(one.interval, notation, decimals)}{at})"


def told(effect: Effect) -> str:
    """Return the value of an effect over all users with its interval, or why it has none."""
    return figure(effect.overall, effect.null, effect.metric, effect.alpha)


def value(number: float, notation: Notation, decimals: int = 1) -> str:
    """Return one value, with its unit.

    >>> value(0.5, Notation.SHARE), value(-0.0123, Notation.RATE), value(-0.0123, Notation.DIFFERENCE)
    ('50.0 %', '-1.2 points', '-0.012')
    """
    unit = {Notation.SHARE: " %", Notation.RATE: " points", Notation.DIFFERENCE: ""}[notation]
    return f"{_bare(number, notation, decimals)}{unit}"


def headline(one: Comparison, *, name: str = "B") -> str:
    """Return what the primary figure says, as a sentence without its full stop."""
    effect = one.primary
    if effect.overall.interval is None:
        return f"How the choices split is {not_identified(effect.overall.withheld)}"
    if effect.null == EVEN:
        share, _, rest = told(effect).partition(" %")
        return f"Of the choices between the two lists, {share} % went to {name}{rest}"
    words = METRICS[effect.metric].words if effect.metric in METRICS else ""
    change = told(effect)
    return f"{name} minus A in {effect.metric.replace('_', ' ')}: {change}" + (f". {words}" if words else "")


def worst_case(one: Comparison) -> str:
    """Return the primary figure if all missing pairs had gone to one side, the worst and the best; or why none is."""
    if one.worst_case is None:
        metric = METRICS.get(one.primary.metric)
        is_bounded = metric is None or isfinite(metric.high - metric.low)
        name = one.primary.metric.replace("_", " ")
        return not_identified("no pair was asked about" if is_bounded else f"{name} has no least and no greatest value")
    notation = notation_of(one.primary.metric, one.primary.null)
    return f"{value(one.worst_case.low, notation)} to {value(one.worst_case.high, notation)}"


def real_change(effect: Effect) -> str:
    """Return the change of a real rate, "" for what is not measured on real clicks or not identified.

    >>> lift = Estimate(900, 0.009, Interval(0.002, 0.016))
    >>> real_change(Effect("click_probability", 0.0, lift, lift, estimand="canary", control_value=0.121))
    'Real clicks in the canary: 12.1 % of events with A, 13.0 % with B; 7 % more (+0.9 points, +0.2 to +1.6)'
    """
    overall, control = effect.overall, effect.control_value
    if not control or overall.value is None or overall.interval is None:
        return ""
    points, _, ends = told(effect).partition(" (")
    share = overall.value / control
    relative = f"{abs(share):.0%} {'more' if share >= 0 else 'fewer'}".replace("%", " %")
    with_b = f"{100 * (control + overall.value):.1f} % with B"
    return (
        f"{_MEASURED.get(effect.estimand, effect.estimand)}: {100 * control:.1f} % of events with A, {with_b}; "
        f"{relative} ({points}, {ends}"
    )


@dataclass(frozen=True, slots=True)
class Skill:
    """What is known of the simulator against one baseline."""

    words: str
    is_worse: bool


def skills(epoch: Epoch) -> tuple[Skill, ...]:
    """Return how simulated choices compare with each baseline on real clicks; nothing without outcomes."""
    return tuple(_skills(epoch.calibration)) if epoch.calibration else ()


def no_skill(epoch: Epoch) -> str:
    """Return why nothing is known of the simulator, "" where something is."""
    if epoch.calibration is None:
        return not_identified(NO_OUTCOMES)
    return "" if any(_skills(epoch.calibration)) else not_identified(epoch.calibration.words)


def backtested(one: KeptBacktest, fingerprint: str) -> str:
    """Return what a backtest says beside a verdict on simulated users of a configuration.

    >>> kept = KeptBacktest(1_795_910_400_000_000, "3f9a", "duel_share", 50, 47, 33, 0.56, 0.81, True, "")
    >>> backtested(kept, "3f9a").partition("; made in ")[0]
    'Backtest of 2026-11-29: passed; 33 of 47 finished tests had the right direction (70 %, 56 to 81)'
    >>> backtested(kept, "3f9a").partition("; made in ")[2]
    'this configuration, 3f9a'
    >>> backtested(kept, "77de").partition("; made in ")[2]
    'another configuration, 3f9a, so it does not vouch for this one'
    """
    day = datetime.fromtimestamp(one.at // 1_000_000, UTC).date().isoformat()
    result = "too few tests to pass or fail" if one.passed is None else "passed" if one.passed else "not passed"
    if one.with_direction and one.low is not None and one.high is not None:
        share = f"{100 * one.right / one.with_direction:.0f} %, {100 * one.low:.0f} to {100 * one.high:.0f}"
        directions = f"{one.right} of {one.with_direction} finished tests had the right direction ({share})"
    else:
        directions = f"none of {one.tests} finished tests had a direction"
    is_other = one.config_fingerprint != fingerprint
    where = f"another configuration, {one.config_fingerprint}, so it does not vouch for this one"
    made_in = where if is_other else f"this configuration, {fingerprint}"
    return f"Backtest of {day}: {result}; {directions}; made in {made_in}"


def agreement(one: Agreement) -> str:
    """Return the interval of a calibration figure, or why there is none."""
    if one.low is None or one.high is None:
        return not_identified("it needs clicks of two users or more")
    return f"{one.low:.3f} to {one.high:.3f}"


def basis(one: Comparison) -> str:
    """Return what the figures are, for readers who see nothing else of the page."""
    defined = "was defined before its data" if one.basis == DEFINED else f"is {one.basis}"
    return (
        f"The choices are those of {one.primary.overall.users:,} simulated users (a model in the place of each user), "
        f"not of real ones. The experiment {defined}."
    )


def plan_gain(one: Estimate, *, alpha: float, planned_users: int) -> str:
    """Return what a plan would gain at this number of users, "" where there is one, or little to gain.

    >>> plan_gain(Estimate(200, 0.5, Interval(0.4, 0.6)), alpha=0.05, planned_users=5_000).partition(": ")[2]
    'at 200 users the interval is 1.68 times as wide as with a plan for them (`experiment plan`)'
    """
    if planned_users != PLANNED_USERS or one.interval is None:
        return ""
    now, planned = (half_width(one.users, 1.0, alpha=alpha, planned_users=n) for n in (planned_users, one.users))
    if now / planned < _LEAST_GAIN:
        return ""
    return (
        f"planned_users is the default ({PLANNED_USERS:,}): at {one.users:,} users the interval is "
        f"{now / planned:.2f} times as wide as with a plan for them (`experiment plan`)"
    )


def best_first(comparisons: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """Return candidates by the value of their primary metric; last what is not identified, then not to be trusted."""

    def place(one: Comparison) -> tuple[bool, bool, float, str, str]:
        found = one.primary.overall
        known = found.value if found.interval else None
        return one.verdict is Verdict.DO_NOT_TRUST, known is None, -(known or 0.0), one.candidate, one.control

    return tuple(sorted(comparisons, key=place))


def _skills(calibrated: Calibrated) -> Iterator[Skill]:
    found = {one.name: one for one in calibrated.figures}
    for name, baseline in BASELINES.items():
        one = found.get(name)
        if one is None:
            continue
        if one.low is None or one.high is None:
            yield Skill(f"compared with {baseline}, {agreement(one)}", is_worse=False)
        elif one.low > 0:
            yield Skill(f"better than {baseline} by {_percents(one.value, one.low, one.high)}", is_worse=False)
        elif one.high < 0:
            yield Skill(f"worse than {baseline} by {_percents(-one.value, -one.high, -one.low)}", is_worse=True)
        else:
            ends = f"{_signed(100 * one.low, 0)} to {_signed(100 * one.high, 0)} %"
            yield Skill(f"not shown to be better or worse than {baseline} ({ends})", is_worse=False)


def _percents(middle: float, low: float, high: float) -> str:
    return f"{100 * middle:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def _ends(one: Interval, notation: Notation, decimals: int) -> str:
    return f"{_bare(one.low, notation, decimals)} to {_bare(one.high, notation, decimals)}"


def _bare(number: float, notation: Notation, decimals: int) -> str:
    if notation is Notation.SHARE:
        return f"{100 * number:.{decimals}f}"
    return _signed(100 * number, max(1, decimals)) if notation is Notation.RATE else _signed(number, decimals + 2)


def _signed(number: float, decimals: int) -> str:
    written = f"{number:+.{decimals}f}"
    return written if float(written) else f"{0:.{decimals}f}"


def _decimals(one: Interval, null: float) -> int:
    """Return how many decimals of a percentage keep each end on its side of the tie."""
    first = 0 if one.high - one.low >= _WIDE and null == EVEN else 1
    return next(
        (
            decimals
            for decimals in range(first, _MOST_DECIMALS)
            if all(end == null or round(100 * (end - null), decimals) for end in (one.low, one.high))
        ),
        _MOST_DECIMALS,
    )
