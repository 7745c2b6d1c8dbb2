"""Many experiments of every design, with an effect and without: how often each is right, and what a verdict costs.

    A/B    the candidate is better by the stated effect      right: the candidate is preferred
    A/A    both rankers are alike, though their slates differ   wrong: either is preferred

The price of a verdict is all tokens of the A/B experiments over the right verdicts among them: those that found nothing
are paid for, too.  Ratios to `reference` have a 90 % interval, by bootstrap over the experiments, whose users and
events all designs share.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from worker.bench.harness.rounds import CONFIDENCE, MeasuredInterval
from worker.bench.price.designs import (
    DESIGNS,
    Planned,
    PricedExperiment,
    PricedRun,
    WantedPrice,
    is_right,
    least_users,
    plans,
)
from worker.bench.price.tokens import Used, Way
from worker.bench.price.truth import generate
from worker.experiment.real_clicks.real_lifts import wilson
from worker.experiment.statistics.confidence import Verdict

RESAMPLES = 2_000
SAY_EVERY = 50  # experiments

Say = Callable[[str], None]


@dataclass(slots=True)
class Results:
    """What the experiments of one design came to; one entry an experiment, in the order of the seeds."""

    plan: Planned
    with_effect: list[PricedRun] = field(default_factory=list)
    without: list[PricedRun] = field(default_factory=list)

    def right(self, *, last: bool = False) -> list[bool]:
        """Say of each experiment with an effect whether it found it: at first, or at the end of the plan."""
        return [is_right(_of(one, last=last), differ=True) for one in self.with_effect]

    def wrong(self, *, last: bool = False) -> list[bool]:
        """Say of each experiment without an effect whether it found one: at first, or at the end of the plan."""
        return [not is_right(_of(one, last=last), differ=False) for one in self.without]

    def reversed(self) -> int:
        """Count the experiments with an effect that prefer control."""
        return sum(one.verdict is Verdict.CONTROL_PREFERRED for one in self.with_effect)


def _of(ran: PricedRun, *, last: bool) -> Verdict:
    return ran.last if last else ran.verdict


def simulate(
    wanted: WantedPrice, *, runs: int, seed: int = 1, designs: Sequence[str] = DESIGNS, say: Say = lambda _: None
) -> dict[str, Results]:
    """Run `runs` experiments with the effect and as many without, all designs on the same events."""
    planned = plans(wanted, designs)
    found = {design: Results(plan) for design, plan in planned.items()}
    for number in range(runs):
        run_one(found, wanted, number, seed=seed)
        if (number + 1) % SAY_EVERY == 0:
            say(f"{number + 1} of {runs} experiments")
    return found


def run_one(found: Mapping[str, Results], wanted: WantedPrice, number: int, *, seed: int) -> None:
    """Run one experiment with the effect and one without, by each design, and append what they came to."""
    planned = {design: one.plan for design, one in found.items()}
    users = max(plan.coming for plan in planned.values())
    for shift in (wanted.world.shift, 0.0):
        log = generate(replace(wanted.world, users=users, shift=shift), seed=1_000 * seed + number + 1)
        experiment = PricedExperiment(log, wanted, planned, seed=number)
        for design, one in found.items():
            (one.with_effect if shift else one.without).append(experiment.run(design))


def rate(of: Sequence[bool]) -> MeasuredInterval:
    """Return a share with its 95 % interval."""
    share = sum(of) / len(of)
    low, high = wilson(share, len(of))
    return MeasuredInterval(low, share, high)


def used(ran: PricedRun, by_way: Mapping[Way, Used]) -> Used:
    """Return the tokens of one experiment."""
    return sum((by_way[way].times(events) for way, events in ran.asked.items()), Used())


def per_verdict(of: Results, by_way: Mapping[Way, Used]) -> Used | None:
    """Return the tokens of a right verdict; None where there was none."""
    right = sum(of.right())
    return sum((used(one, by_way) for one in of.with_effect), Used()).times(1 / right) if right else None


def per_experiment(ran: Sequence[PricedRun], by_way: Mapping[Way, Used]) -> Used:
    """Return the mean of the tokens of experiments."""
    return sum((used(one, by_way) for one in ran), Used()).times(1 / len(ran))


def per_event(ran: Sequence[PricedRun], by_way: Mapping[Way, Used]) -> Used:
    """Return the mean of the tokens of an event that came before asking ended."""
    return sum((used(one, by_way) for one in ran), Used()).times(1 / sum(one.events for one in ran))


def least_ratio(of: Results, to: Results, by_way: Mapping[Way, Used], wanted: WantedPrice) -> float | None:
    """Return the price below which no rule of stopping brings a right verdict, over that of another design.

    It asks as `of` asks, in tokens computed and written; None where the other has no right verdict.
    """
    price = per_verdict(to, by_way)
    if price is None:
        return None
    users = least_users(of.plan, alpha=wanted.alpha, power=wanted.power)
    events = sum(one.events for one in of.with_effect) / sum(one.users for one in of.with_effect)
    return users * events * per_event(of.with_effect, by_way).processed / wanted.power / price.processed


Measure = Callable[[Used], float]


def verdict_ratio(of: Results, to: Results, by_way: Mapping[Way, Used], measure: Measure) -> MeasuredInterval:
    """Return the price of a verdict over that of another design."""
    columns = [
        (np.array([measure(used(ran, by_way)) for ran in one.with_effect]), np.array(one.right(), float))
        for one in (of, to)
    ]
    return _bootstrap(columns)


def idle_ratio(of: Results, to: Results, by_way: Mapping[Way, Used], measure: Measure) -> MeasuredInterval:
    """Return the price of an experiment without an effect over that of another design."""
    costs = [np.array([measure(used(ran, by_way)) for ran in one.without]) for one in (of, to)]
    return _bootstrap([(cost, np.ones(cost.size)) for cost in costs])


def _bootstrap(columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> MeasuredInterval:
    """Return the ratio of two ratios of sums, resampled by experiment; both are drawn together."""
    size = columns[0][0].size
    drawn = np.random.default_rng(1).integers(0, size, (RESAMPLES, size))
    (cost, right), (cost_to, right_to) = columns
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample without a right verdict has no price
        middle = float(cost.sum() / right.sum() / (cost_to.sum() / right_to.sum()))
        each = cost[drawn].sum(1) / right[drawn].sum(1) / (cost_to[drawn].sum(1) / right_to[drawn].sum(1))
    ends = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    low, high = np.quantile(np.nan_to_num(each, nan=np.inf, posinf=np.inf), ends, method="inverted_cdf")
    return MeasuredInterval(float(low), middle, float(high))
