"""The figures of an experiment, as the terminal, the page, the JSON and the topic show them.

    Readout                     one experiment, now
      Epoch ...                 one configuration under one definition; the last is current, epochs are never pooled
        Comparison ...          one candidate against control: verdict, effects, checks, timeline, segments
          Effect ...            one metric; the first is the primary
        Example ...             the most one-sided duels, either way

Nothing is computed here: `report.epoch` fills these classes from the state.  Times are microseconds since
1970-01-01 UTC.  A figure that is not available is None, never NaN, and every figure carries its estimand.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from worker.experiment.definition import Definition
from worker.experiment.statistics import confidence as stats


@dataclass(frozen=True, slots=True)
class Effect:
    """One metric of a candidate against control; users whose slates do not differ are in `overall` only."""

    metric: str
    null: float  # its value where neither side is better: 0.5 for a share, 0 for a difference
    overall: stats.Estimate  # all users with an answer: the diluted effect
    triggered: stats.Estimate  # users whose slates differ
    p_value: float | None = None  # always valid; of the primary only, and by Holm over the candidates
    note: str = ""  # what the figure depends on beyond its estimand
    estimand: str = stats.ESTIMAND
    control_value: float | None = None  # control's own rate, where real clicks were measured
    alpha: float | None = None  # of the primary's interval, where candidates or epochs share the readout's

    def __post_init__(self) -> None:
        """Have a figure that is withheld say so with its reason, wherever it is shown."""
        object.__setattr__(self, "overall", stats.explained(self.overall))
        object.__setattr__(self, "triggered", stats.explained(self.triggered))


class GuardrailState(StrEnum):
    """What is known of a guardrail."""

    OK = "OK"
    """The interval excludes a loss beyond the margin."""

    BROKEN = "BROKEN"
    """The interval shows a loss beyond the margin."""

    OPEN = "OPEN"
    """The interval includes the margin, or there is none yet: neither is shown."""

    UNMEASURED = "UNMEASURED"
    """No value was ever observed: what the metric needs is not there."""


class CheckState(StrEnum):
    """What a check of the data found."""

    OK = "OK"
    """Enough was observed, and nothing is wrong."""

    FAILED = "FAILED"
    """Something is wrong, at the check's own error probability."""

    OPEN = "OPEN"
    """Not known yet: too little was observed, or nothing."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A guardrail: the candidate may lose at most `margin` of this metric."""

    metric: str
    margin: float
    state: GuardrailState
    words: str
    assumes: str = ""  # what has to be said beside a preference that rests on it


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the data and what it does to the verdict.

    `forbids`: while it is FAILED, the figures are not trusted; without it a failure is a warning.
    `holds`: while it is not OK, a preference has to wait, and "no difference" too.
    `qualifies`: words that stand in the sentence of a result, whatever the state; "" for nothing to be said.
    """

    name: str
    state: CheckState
    words: str
    figures: Mapping[str, float] = field(default_factory=dict)
    forbids: bool = True
    holds: bool = False
    qualifies: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """The primary metric over all users, from all events before `until`."""

    until: int
    users: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Segment:
    """The primary metric among the users of one value of one segment."""

    name: str
    value: str
    overall: stats.Estimate
    notable: bool  # differs significantly, by e-BH over all segments

    def __post_init__(self) -> None:
        """Have a figure that is withheld say so, as `Effect` does."""
        object.__setattr__(self, "overall", stats.explained(self.overall))


@dataclass(frozen=True, slots=True)
class ActivityGroup:
    """The primary metric among users who came about equally often."""

    name: str  # light, medium, heavy; "all" where they came too much alike for groups
    fewest_events: int  # of a user in it
    most_events: int
    estimate: stats.Estimate  # all groups' intervals together hold at 1 - alpha
    sd: float  # of the users' values
    notable: bool = False  # differs significantly from a tie, by e-BH over the groups

    def __post_init__(self) -> None:
        """Have a figure that is withheld say so, as `Effect` does."""
        object.__setattr__(self, "estimate", stats.explained(self.estimate))

    @property
    def events(self) -> str:
        """How many events a user of it has, in words."""
        few, many = self.fewest_events, self.most_events
        if few == many:
            return "1 event" if few == 1 else f"{few:,} events"
        return f"{few:,} to {many:,} events"


@dataclass(frozen=True, slots=True)
class FactorShare:
    """The share of a user's rationales that name a factor, on average, by the side that was chosen."""

    factor: str
    control: float
    candidate: float
    notable: bool = False  # the two shares differ, after e-BH over all factors


@dataclass(frozen=True, slots=True)
class Offered:
    """One option of a duel; shared if it has both variants."""

    item_id: str
    position: int  # 0-based, in the slate of the first of `variants`
    variants: tuple[str, ...]
    probability: float
    title: str = ""  # "" where the responses carry none
    category: str = ""  # as the response has it: several are separated by | or ,
    provider: str = ""


class List(StrEnum):
    """Which list alone offers an item."""

    A = "A"
    """Control's."""

    B = "B"
    """The candidate's."""


NONE = "(none)"  # the category or provider of an item without one


@dataclass(frozen=True, slots=True)
class Where:
    """What one item, category, provider or position did for the candidate, where one list alone offers an item of it.

    `chosen` is how often such an item is chosen; `effect` is that less the 1 / number of options that chance would
    give, one mean per user.  An item of several categories counts in each with an equal part.  `points` is what it
    adds to the share of choices that go to the candidate, every user weighted equally, as in the headline.
    """

    name: str  # an item's id, a category, a provider, NONE, or a position from 1 on
    side: List
    offers: int
    chosen: float
    chance: float
    effect: stats.Estimate
    points: float
    notable: bool  # the effect differs from 0, by e-BH over all that are listed
    title: str = ""

    def __post_init__(self) -> None:
        """Have a figure that is withheld say so, as `Effect` does."""
        object.__setattr__(self, "effect", stats.explained(self.effect))


@dataclass(frozen=True, slots=True)
class OutlyingItem:
    """An item that is chosen far more often than all others, where one list alone offers it.

    Win rates in [0, 1]: `chosen` is the mean over users, `chance` what 1 / number of options would give, and `fence`
    what no item would have that differs from the others as these do among themselves.
    """

    name: str
    title: str
    users: int
    chosen: float
    chance: float
    fence: float


@dataclass(frozen=True, slots=True)
class Example:
    """One duel: the options, how likely each is chosen, and the model's rationales."""

    event_id: str
    occurred_at: int
    user_id: str
    duel_share: float
    options: tuple[Offered, ...]
    rationales: tuple[str, ...]
    segments: Mapping[str, str] = field(default_factory=dict)  # those that are reported
    user_events: int = 0  # of the user, with an answer


@dataclass(frozen=True, slots=True)
class Comparison:
    """One candidate against one control; a share is null until there is data for it."""

    candidate: str
    control: str
    verdict: stats.Verdict
    reason: str
    events: int  # pairs of the primary metric, missing ones too
    statuses: Mapping[str, int]  # duels by status; BAD_VALUE is an OK one whose share is no number in [0, 1]
    effects: tuple[Effect, ...]
    trigger_share: float | None  # users whose slates differ, of all with an answer
    contested_mass: float | None  # mean over the pairs that have one
    missing: int  # pairs of the primary metric without an answer, as "pair completeness" counts them
    missing_share: float  # of all of them
    worst_case: stats.Interval | None  # the primary overall, with the missing pairs set to 0 and to 1
    overlap: float | None = None  # mean share of the options of a duel that both sides offer
    rank_correlation: float | None = None  # mean Kendall tau of the places of what both offer, two items or more
    noise: str = ""  # how much answers vary when the questions are asked again
    closed: stats.Estimate | None = None  # the primary over users whose first day is over, without a central limit
    guardrails: tuple[Guarded, ...] = ()
    checks: tuple[Check, ...] = ()
    timeline: tuple[Point, ...] = ()
    segments: tuple[Segment, ...] = ()
    items: tuple[Where, ...] = ()  # those offered most often, the largest difference first
    positions: tuple[Where, ...] = ()  # of items that one list alone offers
    reasons: tuple[FactorShare, ...] = ()
    wins: tuple[Example, ...] = ()  # largest duel share first
    losses: tuple[Example, ...] = ()  # smallest first
    basis: str = stats.BASIS
    activity: tuple[ActivityGroup, ...] = ()  # by how often users came, the lightest first
    absent: int = 0  # events of control without a slate of the candidate, of those that it serves
    dominant: Mapping[str, float] = field(default_factory=dict)  # shares of the events of few users, by alias
    plan_gain: str = ""  # what a plan would gain at this number of users, where `planned_users` is the default
    categories: tuple[Where, ...] = ()  # like `items`; empty where no item has a category
    providers: tuple[Where, ...] = ()
    outlying_items: tuple[OutlyingItem, ...] = ()  # the highest win rate first

    @property
    def primary(self) -> Effect:
        """The effect that decides."""
        return self.effects[0]

    @property
    def checks_failed(self) -> tuple[str, ...]:
        """The names of the checks that failed, warnings among them."""
        return tuple(check.name for check in self.checks if check.state is CheckState.FAILED)

    @property
    def guardrails_broken(self) -> tuple[str, ...]:
        """The metrics of the guardrails that are broken."""
        return tuple(one.metric for one in self.guardrails if one.state is GuardrailState.BROKEN)


@dataclass(frozen=True, slots=True)
class Agreement:
    """One figure of the agreement between simulated choices and real clicks, with a fixed-time interval."""

    name: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Agreement on control's slates that real users saw; without figures, `words` says why."""

    slates: int
    pending: int  # without a click, their window still open
    clicks: int
    figures: tuple[Agreement, ...]
    words: str


@dataclass(frozen=True, slots=True)
class KeptBacktest:
    """What the last backtest against finished A/B tests found; a state file keeps it."""

    at: int  # when it was made
    config_fingerprint: str  # of the simulated effects
    metric: str  # of the simulated effects; "" where it is not known
    tests: int
    with_direction: int
    right: int  # of those with a direction
    low: float | None  # of the direction accuracy, by Wilson's interval
    high: float | None
    passed: bool | None  # None: too few tests
    words: str
    sentence: str = ""  # what stands beside a verdict: it says if this is another configuration


@dataclass(frozen=True, slots=True)
class Epoch:
    """The figures of one configuration under one version of the definition."""

    config_fingerprint: str
    definition_key: str  # "" without a definition
    first_occurred_at: int
    last_occurred_at: int
    responses: int
    slates: int  # SLATE answers among them
    comparisons: tuple[Comparison, ...]
    calibration: Calibrated | None = None  # None without outcomes
    exploratory: str = ""  # why it is not "defined before the data"; "" if it is
    backtest: KeptBacktest | None = None  # of this configuration, or else the newest; None if none is kept
    alpha_share: float = 1.0  # of alpha, that earlier epochs left; its candidates share it


@dataclass(frozen=True, slots=True)
class LookedAt:
    """How often somebody could have found a preference: who looks more often finds more by chance.

    Only what had an interval counts.
    """

    configurations: int
    definitions: int
    epochs: int  # pairs of the two; at least 1


ONCE = LookedAt(configurations=1, definitions=1, epochs=1)


@dataclass(frozen=True, slots=True)
class Readout:
    """One experiment at one moment; epochs are ordered by newest event, but the current one is last."""

    experiment_id: str | None
    alpha: float
    planned_users: int
    epochs: tuple[Epoch, ...]
    definition: Definition | None = None
    looked_at: LookedAt = ONCE
    cannot_tell: tuple[str, ...] = stats.CANNOT_TELL

    @property
    def current(self) -> Epoch:
        """The epoch that most of the users seen last are in."""
        return self.epochs[-1]


@dataclass(frozen=True, slots=True)
class Report:
    """All experiments by id, and the state of the data."""

    readouts: tuple[Readout, ...]
    data_health: Mapping[str, int] = field(default_factory=dict)

    @property
    def outlying(self) -> tuple[tuple[str | None, OutlyingItem], ...]:
        """The items that win unusually often in the current epochs with their experiments; each item is there once."""
        found = {
            (readout.experiment_id, item.name): item
            for readout in self.readouts
            if readout.epochs
            for one in reversed(readout.current.comparisons)  # of several candidates, the best one's figures
            for item in one.outlying_items
        }
        return tuple((experiment, item) for (experiment, _), item in found.items())

    def as_json(self) -> dict[str, object]:
        """Return this as a value for `json.dumps`; a figure that is not available is None, never NaN."""
        return asdict(self)
