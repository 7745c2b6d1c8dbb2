"""What a verdict costs: experiments of known truth, asked everything to the end, or only until they are decided.

    events in order of arrival, 40 looks  ->  user means  ->  `stats.around`  ->  `judge`  ->  `heard`
    full       SLATE control, SLATE candidate and DUEL of every event, whatever the readout says
    stopped    DUEL of every event, control's SLATE of the calibrating users; after the verdict of these alone

Interval, verdict, hysteresis and the choice of users are the product's.  Checks that forbid a verdict are left out, and
a draw costs the same whatever it is about.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from tests.support.experiment.truth import Engine, Flags, Floats, World, duel_shares, generate
from worker.core.simulation.question_set import QuestionSet, WantedQuestions
from worker.core.steering.decided import Decided, heard, read_readout
from worker.experiment.metrics import DUEL_SHARE
from worker.experiment.readout import Effect
from worker.experiment.report.verdict import Evidence, judge
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.confidence import EVEN, Verdict

ALPHA, LOOKS, CALIBRATION_SHARE = 0.05, 40, 0.05
ENGINE = Engine(temperature=0.5, noise=0.5)
DUELS = WantedQuestions(QuestionSet.DUELS, calibration_share=CALIBRATION_SHARE)


@dataclass(frozen=True, slots=True)
class Watched:
    """One experiment: the verdict of each look, and the questions that were asked."""

    verdicts: tuple[Verdict, ...]
    questions: int

    @property
    def first(self) -> Verdict:
        """The first final verdict, which whoever watches acts on; keep running if there was none."""
        return next((one for one in self.verdicts if one is not Verdict.KEEP_RUNNING), Verdict.KEEP_RUNNING)

    @property
    def last(self) -> Verdict:
        """What the readout says at the end."""
        return self.verdicts[-1]


def watch(world: World, *, seed: int, stops: bool, margin: float | None = None) -> Watched:
    """Run one experiment, with or without `stop_when_decided` and reduced questions."""
    log = generate(world, seed=seed)
    letters = ENGINE.letters(ENGINE.beliefs(log, seed=seed), log.in_a | log.in_b, order=None)
    shares, differs = duel_shares(log, letters), log.differs
    calibrating = np.array([DUELS.of(f"{seed}-{user}").calibrating for user in range(world.users)])[log.user]
    totals, counts, triggered = np.zeros(world.users), np.zeros(world.users), np.zeros(world.users, bool)
    verdicts, questions, decided = [], 0, None
    for look, rows in enumerate(np.array_split(np.arange(log.user.size), LOOKS), 1):
        asked = rows[calibrating[rows]] if decided is not None and decided.has_ended else rows
        np.add.at(totals, log.user[asked], shares[asked])
        np.add.at(counts, log.user[asked], 1)
        triggered[log.user[asked[differs[asked]]]] = True
        questions += _asked(differs[asked], calibrating[asked], reduced=stops)
        verdicts.append(_verdict(totals[counts > 0] / counts[counts > 0], triggered, world.users, margin))
        if stops:
            decided = _told(decided, verdicts[-1], look)
    return Watched(tuple(verdicts), questions)


def _asked(differs: Flags, calibrating: Flags, *, reduced: bool) -> int:
    """Return how many questions reach the engine; equal slates have no duel, and one slate of calibrating users."""
    if reduced:
        return int(differs.sum() + calibrating.sum())
    return int(3 * differs.sum() + (calibrating & ~differs).sum())


def _verdict(values: Floats, triggered: Flags, planned: int, margin: float | None) -> Verdict:
    mean, sd = float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else 0.0
    found = stats.around(
        mean, sd, users=values.size, num_differ=int(triggered.sum()), alpha=ALPHA, planned_users=planned
    )
    effect = Effect(DUEL_SHARE, EVEN, found, found)
    on = Evidence(effect, planned_users=planned, margin=margin, num_candidates=1, missing=0, worst_case=None)
    return judge(on)[0]


def _told(before: Decided | None, verdict: Verdict, look: int) -> Decided:
    said = {"experiment_id": "e", "config_fingerprint": "f", "produced_at": look, "exploratory": False,
            "candidates": [{"candidate": "b", "verdict": verdict.value}]}  # fmt: skip
    return heard(before, read_readout(said))


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of experiments, and the price."""

    first: dict[Verdict, float]  # by the first final verdict
    last: dict[Verdict, float]  # by the verdict at the end
    questions: float  # an experiment


def study(world: World, *, runs: int, stops: bool, margin: float | None = None) -> Rates:
    """Run so many experiments."""
    found = [watch(world, seed=seed, stops=stops, margin=margin) for seed in range(1, runs + 1)]
    return Rates(
        _shares([one.first for one in found]),
        _shares([one.last for one in found]),
        sum(one.questions for one in found) / runs,
    )


def _shares(verdicts: Sequence[Verdict]) -> dict[Verdict, float]:
    return {one: sum(found is one for found in verdicts) / len(verdicts) for one in Verdict}


def wilson(share: float, runs: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    middle, spread = share + z * z / (2 * runs), z * sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return max(0.0, (middle - spread) / (1 + z * z / runs)), min(1.0, (middle + spread) / (1 + z * z / runs))
