"""The view models of the templates: a `Readout` with its texts, links and chart positions.

Pure: the same readout gives the same view.  No figure is computed here that `readout` lacks, but for shares of its
counts, positions on a scale and the forecast of the end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.experiment import wording
from worker.experiment.metrics import METRICS
from worker.experiment.page import charts, text
from worker.experiment.page.addresses import epoch_key, page_of
from worker.experiment.page.charts import Mark, Scale
from worker.experiment.page.forecast import Finish, finish
from worker.experiment.page.where_tables import WhereTable, shown_example, where_tables
from worker.experiment.readout import (
    ActivityGroup,
    Check,
    CheckState,
    Comparison,
    Effect,
    Epoch,
    Example,
    Offered,
    Point,
    Readout,
    Segment,
)
from worker.experiment.statistics.confidence import Verdict


class Address(Protocol):
    """Where an experiment is shown, with an epoch or a candidate where one was chosen."""

    def __call__(self, experiment_id: str | None, /, *, epoch: str | None, candidate: str | None) -> str:
        """Return what a link leads to."""


# B is always the candidate, A control.  The look of each is set in `page.css`.
HEADLINES: Mapping[Verdict, str] = {
    Verdict.CANDIDATE_PREFERRED: "Yes, B is preferred",
    Verdict.CONTROL_PREFERRED: "No, A is preferred",
    Verdict.NO_DIFFERENCE: "No relevant difference",
    Verdict.KEEP_RUNNING: "No result yet: keep running",
    Verdict.DO_NOT_TRUST: "Do not trust these figures",
}
# The same in a table, where several candidates would all be B.
ROWS: Mapping[Verdict, str] = {
    Verdict.CANDIDATE_PREFERRED: "Preferred to A",
    Verdict.CONTROL_PREFERRED: "A is preferred",
    Verdict.NO_DIFFERENCE: "No relevant difference",
    Verdict.KEEP_RUNNING: "No result yet",
    Verdict.DO_NOT_TRUST: "Do not trust",
}
GUARDED = "Not preferred: a guardrail is broken"
# Of figures that are no metrics of their own; those of a metric are in `METRICS`.
FIGURES: Mapping[str, str] = {
    "duel_share_by_event": "The same with every event weighted equally; the headline weights every user equally.",
    "duel_share_adjusted": "The same for all eligible users, with an estimate for those without an answer.",
    "click_probability": "B minus A. Probability that a real user clicks any item.",
}
# The pairs of an event whose lists are the same, or hold the same items, do not differ.
SAME = ("IDENTICAL", "SAME_SET")


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One value of one segment."""

    segment: Segment
    mark: Mark
    example: str = ""  # id of a shown event of it


@dataclass(frozen=True, slots=True)
class ActivityRow:
    """Users who came about equally often."""

    group: ActivityGroup
    mark: Mark
    example: str = ""  # id of a shown event of such a user


@dataclass(frozen=True, slots=True)
class Side:
    """The options that one list alone offers, or both do, with their share of the choices."""

    options: tuple[Offered, ...]
    mass: float


@dataclass(frozen=True, slots=True)
class ShownDuel:
    """One duel by its sides."""

    example: Example
    only_a: Side
    only_b: Side
    both: Side


@dataclass(frozen=True, slots=True)
class Link:
    """Another epoch or candidate of the same experiment."""

    epoch: Epoch
    comparison: Comparison | None
    address: str
    here: bool


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One of several candidates, in the table above the verdict."""

    link: Link
    verdict: str
    told: str  # the primary figure with its interval
    mark: Mark


@dataclass(frozen=True, slots=True)
class Compared:
    """One candidate against control, ready to be shown."""

    comparison: Comparison
    headline: str
    sentence: str  # what the primary figure says
    because: str  # the reason of the verdict, "" where the sentence says it
    real_changes: tuple[str, ...]  # what real clicks say, where they do
    basis: str
    level: str  # of every interval but the one that decides, "95 %"
    scale: Scale
    overall: Mark
    margin: Mark  # of no difference, around the null
    activity: tuple[ActivityRow, ...]  # the lightest first
    activity_scale: Scale
    activity_words: str
    finish: Finish
    timeline: tuple[Point, ...]
    timeline_text: str
    differing: float | None  # of the events, those whose lists are not of the same items
    checks: tuple[Check, ...]  # what failed first
    segments: tuple[SegmentRow, ...]
    segment_scale: Scale
    where: tuple[WhereTable, ...]  # those that have rows
    wins: tuple[ShownDuel, ...]
    losses: tuple[ShownDuel, ...]

    @property
    def primary(self) -> Effect:
        """The effect that decides."""
        return self.comparison.primary

    @property
    def primary_level(self) -> str:
        """Of the interval that decides: candidates and epochs may share alpha."""
        return self.level if self.primary.alpha is None else wording.level(self.primary.alpha)

    @property
    def ends(self) -> tuple[str, str]:
        """The ends of the scale, as they stand beside it."""
        low, high = self.scale.ends
        return self.value(low), self.value(high)

    def value(self, number: float | None) -> str:
        """Write a value of the primary metric; a dash for one that is not there."""
        scale = wording.notation_of(self.primary.metric, self.primary.null)
        return text.NONE if number is None else wording.value(number, scale)

    @property
    def worst_case(self) -> str:
        """What the primary figure would be if all missing pairs had gone to one side; or why it is not known."""
        return wording.worst_case(self.comparison)

    @property
    def broken(self) -> bool:
        """Return whether a guardrail is violated."""
        return bool(self.comparison.guardrails_broken)


@dataclass(frozen=True, slots=True)
class Page:
    """One experiment: an epoch of it, and a candidate of that."""

    readout: Readout
    epoch: Epoch | None
    compared: Compared | None
    epochs: tuple[Link, ...]
    candidates: tuple[CandidateRow, ...]  # best first


def page(
    readout: Readout, *, epoch: str | None = None, candidate: str | None = None, address: Address = page_of
) -> Page | None:
    """Return the page of one epoch and candidate, the current and best of its own accord; None if there is no such.

    `address` tells where the others are.
    """
    found = [one for one in readout.epochs if epoch in {None, epoch_key(one)}]
    if not found:
        return Page(readout, None, None, (), ()) if epoch is None and candidate is None else None
    chosen = found[-1]
    comparisons = [one for one in chosen.comparisons if candidate in {None, one.candidate}]
    if candidate is not None and not comparisons:
        return None
    comparison = comparisons[0] if comparisons else None
    return Page(
        readout,
        chosen,
        compared(readout, comparison) if comparison else None,
        tuple(_epoch_link(readout, one, chosen, address) for one in readout.epochs),
        _candidates(
            Link(chosen, one, address(readout.experiment_id, epoch=epoch, candidate=one.candidate), one is comparison)
            for one in chosen.comparisons
        ),
    )


def _candidates(links: Iterable[Link]) -> tuple[CandidateRow, ...]:
    """Return a row per candidate, all on one scale."""
    found = [(link, link.comparison) for link in links if link.comparison]
    if not found:
        return ()
    primary = found[0][1].primary
    scale = charts.scale(primary.null, [one.primary.overall for _, one in found])
    return tuple(
        CandidateRow(link, ROWS[one.verdict], wording.told(one.primary), scale.mark(one.primary.overall))
        for link, one in found
    )


def _epoch_link(readout: Readout, epoch: Epoch, chosen: Epoch, address: Address) -> Link:
    name = None if epoch is readout.current else epoch_key(epoch)
    first = epoch.comparisons[0] if epoch.comparisons else None
    return Link(epoch, first, address(readout.experiment_id, epoch=name, candidate=None), epoch is chosen)


def compared(readout: Readout, comparison: Comparison) -> Compared:
    """Return the view of one candidate."""
    primary = comparison.primary
    margin = (readout.definition.margin if readout.definition else None) or 0.0
    scale = charts.scale(primary.null, [primary.overall], margin=margin)
    segments = charts.scale(primary.null, [one.overall for one in comparison.segments])
    activity = charts.scale(primary.null, [one.estimate for one in comparison.activity])
    around = (scale.place(primary.null - margin), scale.place(primary.null + margin)) if margin else (None, None)
    return Compared(
        comparison=comparison,
        headline=_headline(comparison),
        sentence=wording.headline(comparison),
        because="" if comparison.reason in wording.headline(comparison) else comparison.reason,
        real_changes=tuple(filter(None, map(wording.real_change, comparison.effects))),
        basis=wording.basis(comparison),
        level=wording.level(readout.alpha),
        scale=scale,
        overall=scale.mark(primary.overall),
        margin=Mark(None, *around),
        activity=tuple(
            ActivityRow(one, activity.mark(one.estimate), _of_activity(comparison, one)) for one in comparison.activity
        ),
        activity_scale=activity,
        activity_words=wording.by_activity(comparison.activity, readout.alpha),
        finish=finish(comparison.timeline, planned_users=readout.planned_users),
        timeline=charts.thinned(comparison.timeline),
        timeline_text=charts.described(comparison.timeline, primary),
        differing=_differing(comparison.statuses),
        checks=tuple(sorted(comparison.checks, key=lambda one: one.state is not CheckState.FAILED)),
        segments=tuple(
            SegmentRow(one, segments.mark(one.overall), _of_segment(comparison, one)) for one in comparison.segments
        ),
        segment_scale=segments,
        where=where_tables(comparison),
        wins=tuple(_shown(one, comparison) for one in comparison.wins),
        losses=tuple(_shown(one, comparison) for one in comparison.losses),
    )


def _of_segment(of: Comparison, one: Segment) -> str:
    return shown_example(of, lambda example: example.segments.get(one.name) == one.value)


def _of_activity(of: Comparison, one: ActivityGroup) -> str:
    return shown_example(of, lambda example: one.fewest_events <= example.user_events <= one.most_events)


def _headline(of: Comparison) -> str:
    return GUARDED if of.guardrails_broken and of.verdict is Verdict.KEEP_RUNNING else HEADLINES[of.verdict]


def _differing(statuses: Mapping[str, int]) -> float | None:
    """Return the share of events whose lists hold other items, of those that were answered or needed no answer.

    >>> _differing({"OK": 6, "SAME_SET": 1, "IDENTICAL": 1, "TIMEOUT": 9})
    0.75
    """
    same = sum(statuses.get(status, 0) for status in SAME)
    different = statuses.get("OK", 0)
    return different / (same + different) if same + different else None


def about(figure: str) -> str:
    """Return what a figure is, "" where its name says enough."""
    return METRICS[figure].words if figure in METRICS else FIGURES.get(figure, "")


def _shown(example: Example, comparison: Comparison) -> ShownDuel:
    def side(*, in_a: bool, in_b: bool) -> Side:
        options = [
            one
            for one in example.options
            if ((comparison.control in one.variants), (comparison.candidate in one.variants)) == (in_a, in_b)
        ]
        return Side(tuple(sorted(options, key=_by_position)), sum(one.probability for one in options))

    return ShownDuel(example, side(in_a=True, in_b=False), side(in_a=False, in_b=True), side(in_a=True, in_b=True))


def _by_position(one: Offered) -> tuple[int, str]:
    return one.position, one.item_id


@dataclass(frozen=True, slots=True)
class Entry:
    """One experiment in the index; of several candidates, each is named."""

    readout: Readout
    address: str
    compared: Sequence[Compared]


def index(readouts: Sequence[Readout], *, address: Address = page_of) -> tuple[Entry, ...]:
    """Return the experiments, the one with the newest event first."""
    newest = sorted(readouts, key=lambda one: -one.current.last_occurred_at if one.epochs else 0)
    return tuple(
        Entry(
            one,
            address(one.experiment_id, epoch=None, candidate=None),
            [compared(one, each) for each in (one.current.comparisons if one.epochs else ())],
        )
        for one in newest
    )
