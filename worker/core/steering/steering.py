"""What holds at one moment for all experiments, and what becomes of an event: its plan, or why it is skipped.

    marks of the event         test, bot, holdout, not in `experiments`, too old
    its definition's orders    not running, before start, after stop, not eligible
    the user                   outside the sample rate
    the readout                decided; placebos and calibrating users go on
    budgets of tokens          outside the share of users that can still be paid for

An experiment without a definition is simulated as the settings say.  A placebo, `EXPERIMENT~KIND`, follows the
definition of its experiment, so that it is asked in the same way, and is paid from the same budget.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from worker.core.records import Impression, Partition
from worker.core.simulation.prepare import Asking
from worker.core.simulation.question_set import QuestionSet, WantedQuestions
from worker.core.simulation.questions import Depths
from worker.core.simulation.response_builder import Setup
from worker.core.simulation.sampling import Sampling, Skip
from worker.core.steering.budgets import Budgets, TokenLimits
from worker.core.steering.decided import Decided
from worker.core.steering.orders import Orders
from worker.core.steering.placebo_ids import experiment_of

MAX_PLANS = 1_000  # that are remembered; more are made again


@dataclass(frozen=True, slots=True)
class Steering:
    """The orders and the last words on each experiment, by its id."""

    orders: Mapping[str, Orders] = field(default_factory=dict)
    decided: Mapping[str, Decided] = field(default_factory=dict)

    def of(self, experiment_id: str) -> Orders | None:
        """Return the orders of an experiment, or of the one that a placebo belongs to; None without a definition."""
        return self.orders.get(experiment_id) or self.orders.get(experiment_of(experiment_id))


@dataclass(frozen=True, slots=True)
class QuestionPlan:
    """How one event is asked, and what its responses carry; `sample_rate` is the share of users who are asked now."""

    asking: Asking
    setup: Setup
    sample_rate: float


class Admission:
    """Decides about events; `steering` returns what holds now.

    `questions` is the setting: where it is None, an experiment with a definition is asked what its metrics need.
    """

    def __init__(
        self,
        sampling: Sampling,
        asking: Asking,
        setup: Setup,
        *,
        questions: QuestionSet | None = None,
        steering: Callable[[], Steering] = Steering,
        budgets: Budgets | None = None,
    ) -> None:
        self._sampling, self._asking, self._setup = sampling, asking, setup
        self._questions, self._steering = questions, steering
        self._budgets = budgets or Budgets()
        self._made: dict[tuple[Depths, int, WantedQuestions], tuple[Asking, Setup]] = {}

    def admit(self, impression: Impression, partition: Partition, *, now_s: float) -> QuestionPlan | Skip:
        """Return how an event of a partition is asked, or why it is not simulated."""
        steering, experiment_id = self._steering(), impression.experiment_id
        orders = steering.of(experiment_id)
        skip = self._sampling.marked(impression, now_s=now_s) or (orders.skip(impression) if orders else None)
        if skip is not None:
            return skip
        plan, user_id = self.plan(experiment_id, orders), impression.user.user_id
        if not self._sampling.takes_user(experiment_id, user_id, rate=plan.sample_rate):
            return Skip.SAMPLE
        if orders and self._is_decided(steering, orders, plan, impression):
            return Skip.DECIDED
        share = self._budgets.share(partition, *_paid_by(experiment_id, orders), now_s=now_s)
        if share == 1.0:
            return plan
        rate = share * plan.sample_rate
        is_paid = self._sampling.takes_user(experiment_id, user_id, rate=rate)
        return replace(plan, sample_rate=rate) if is_paid else Skip.OVER_BUDGET

    def spend(self, impression: Impression, partition: Partition, tokens: int, *, now_s: float) -> bool:
        """Count what an event has cost; return whether the partition's note has changed."""
        experiment_id = impression.experiment_id
        paid_by = _paid_by(experiment_id, self._steering().of(experiment_id))
        return self._budgets.spend(partition, *paid_by, tokens, now_s=now_s)

    def plan(self, experiment_id: str, orders: Orders | None) -> QuestionPlan:
        """Return how an experiment is asked."""
        rate = self._sampling.rate(experiment_id)
        if orders is None:
            return QuestionPlan(self._asking, self._setup, rate)
        base, ours = self._asking.wanted, self._asking.depths
        questions = orders.questions or self._questions or orders.needs
        wanted = WantedQuestions(questions, orders.slate_share or base.slate_share, base.calibration_share)
        depths = Depths(orders.slate_depth or ours.slate, orders.duel_depth or ours.duel)
        key = depths, orders.draws or self._asking.draws, wanted
        if key not in self._made:
            if len(self._made) >= MAX_PLANS:
                self._made.clear()
            asking = replace(self._asking, depths=depths, draws=key[1], wanted=wanted)
            setup = replace(self._setup, depths=depths, draws=key[1], wanted=wanted).with_fingerprint()
            self._made[key] = asking, setup
        return QuestionPlan(*self._made[key], orders.sample_rate or rate)

    def _is_decided(self, steering: Steering, orders: Orders, plan: QuestionPlan, impression: Impression) -> bool:
        """Return whether an event comes after the verdict; placebos and calibrating users are asked on."""
        decided = steering.decided.get(orders.experiment_id) if orders.stop_when_decided else None
        if decided is None or impression.experiment_id != orders.experiment_id:
            return False
        if plan.asking.wanted.of(impression.user.user_id).calibrating:
            return False
        return decided.holds(
            config_fingerprint=plan.setup.fingerprint(impression),
            definition_digest=orders.digest,
            candidates=orders.candidates,
        )


def _paid_by(experiment_id: str, orders: Orders | None) -> tuple[str, TokenLimits | None]:
    """Return whose budget pays for an event, and the limits of its definition."""
    return (orders.experiment_id, orders.limits) if orders else (experiment_of(experiment_id), None)
