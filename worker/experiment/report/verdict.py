"""The verdict on one candidate, with its reason.

    a check failed that blocks a preference            do not trust
    too few users, or no interval                      keep running
    whole interval within the margin                   (of k candidates: at alpha / k)
        missing pairs could hide a difference          do not trust
        a check that it has to wait for is not OK      keep running
        else                                           no difference
    interval beside the null                           (at the level that Holm's correction leaves it)
        missing pairs could reverse it                 do not trust
        above, and a guardrail is broken               keep running: not preferred, and it says why
        a check that it has to wait for is not OK      keep running
        above, and a guardrail is open or unmeasured   keep running
        above | below                                  candidate | control preferred, with what qualifies it
    else                                               keep running

The verdict may be read at any look: the interval is valid at every look, and so are the p-values by which Holm's
correction for several candidates goes.  A later epoch has what earlier ones left of alpha (`epoch_shares`): each is
another chance to find something.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.experiment.readout import ONCE, Check, CheckState, Effect, Guarded, GuardrailState, LookedAt
from worker.experiment.statistics.confidence import EVEN, Interval, Verdict, not_identified
from worker.experiment.wording import epoch_has, level, tie, why_shared


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on."""

    primary: Effect
    planned_users: int
    margin: float | None
    num_candidates: int
    missing: int
    worst_case: Interval | None
    corrected: Interval | None = None  # the primary's interval at its share of alpha; None where it has all of it
    checks: Sequence[Check] = ()
    guardrails: Sequence[Guarded] = ()
    looked_at: LookedAt = ONCE
    alpha_share: float = 1.0  # the epoch's


def judge(on: Evidence) -> tuple[Verdict, str]:
    """Return the verdict with its reason: sentences of one claim each, without the first capital and last full stop."""
    failed = [check for check in on.checks if check.state is CheckState.FAILED and check.forbids]
    overall, null = on.primary.overall, on.primary.null
    if failed:
        return Verdict.DO_NOT_TRUST, _sentences(f"{check.name}: {check.words}" for check in failed)
    if overall.interval is None:
        return Verdict.KEEP_RUNNING, not_identified(overall.withheld)
    widest = on.corrected or overall.interval
    if on.margin is not None and widest.is_within(on.margin, null):
        return _inside(on, on.margin)
    if null not in overall.interval:
        return _beside(on, overall.interval)
    not_yet = f"the interval{_shared(on)} includes {tie(null)}, so no preference is shown yet"
    return Verdict.KEEP_RUNNING, _sentences([not_yet, _seen(on), *_broken(on)])


def _inside(on: Evidence, margin: float) -> tuple[Verdict, str]:
    """Judge an interval that is too close to the null to matter."""
    where = _within(on, margin)
    if on.missing and (on.worst_case is None or not on.worst_case.is_within(margin, on.primary.null)):
        return Verdict.DO_NOT_TRUST, f"the {on.missing:,} pairs without an answer could hide a difference"
    if waits := _waits(on):
        return Verdict.KEEP_RUNNING, f"{where}, but {waits}"
    return Verdict.NO_DIFFERENCE, _sentences([where, *_broken(on), *_qualified(on)])


def _beside(on: Evidence, interval: Interval) -> tuple[Verdict, str]:
    """Judge an interval that does not include the null."""
    null = on.primary.null
    up = interval.low > null
    where = (
        f"the whole interval{_shared(on)} is {'above' if up else 'below'} {tie(null)}{_against_margin(on, interval)}"
    )
    if on.missing and (on.worst_case is None or null in on.worst_case):
        return (
            Verdict.DO_NOT_TRUST,
            f"the {on.missing:,} pairs without an answer could reverse the result",
        )
    if up and _broken(on):
        return Verdict.KEEP_RUNNING, _sentences([f"the candidate is not preferred: {'; '.join(_broken(on))}", where])
    if waits := _waits(on):
        return Verdict.KEEP_RUNNING, f"{where}, but {waits}"
    unshown = [guarded for guarded in on.guardrails if guarded.state is not GuardrailState.OK]
    if up and unshown:
        rails = "; ".join(f"guardrail {guarded.state.lower()}: {guarded.words}" for guarded in unshown)
        return Verdict.KEEP_RUNNING, f"{where}, but not every guardrail is shown to hold: {rails}"
    assumed = [guarded.assumes for guarded in on.guardrails if up and guarded.assumes]
    return (
        Verdict.CANDIDATE_PREFERRED if up else Verdict.CONTROL_PREFERRED,
        _sentences([where, *_qualified(on), *assumed]),
    )


def _sentences(clauses: Iterable[str]) -> str:
    """Return one sentence per clause; see `judge`.

    >>> _sentences(["the whole interval is above 50 %", "placebos: unknown: none were planted"])
    'the whole interval is above 50 %. Placebos: unknown: none were planted'
    """
    first, *rest = clauses
    return ". ".join([first, *(f"{one[:1].upper()}{one[1:]}" for one in rest)])


def _against_margin(on: Evidence, interval: Interval) -> str:
    """Return whether a difference is more than the definition's margin (too small to matter)."""
    if on.margin is None:
        return ""
    null = on.primary.null
    beyond = min(abs(interval.low - null), abs(interval.high - null)) > on.margin
    return f", {'more than' if beyond else 'but perhaps by less than'} the margin of {_room(on, on.margin)}"


def _waits(on: Evidence) -> str:
    """Return what a verdict has to wait for, "" for nothing."""
    waits = (check for check in on.checks if check.holds and check.state is not CheckState.OK)
    return "; ".join(f"{check.name}: {check.words}" for check in waits)


def _shared(on: Evidence) -> str:
    """Say which interval it is, where it is not at the alpha of all others; "" where it is."""
    if on.primary.alpha is None:
        return ""
    return f", at {level(on.primary.alpha)} because {why_shared(on.num_candidates, on.alpha_share)},"


def _broken(on: Evidence) -> list[str]:
    """Return a sentence of each broken guardrail."""
    broken = [guarded for guarded in on.guardrails if guarded.state is GuardrailState.BROKEN]
    return [f"a guardrail is broken: {guarded.words}" for guarded in broken]


def _qualified(on: Evidence) -> list[str]:
    """Return what has to be said beside a result."""
    said = [check.qualifies for check in on.checks if check.qualifies]
    of = on.looked_at
    if of.epochs > 1:
        several = f"{of.configurations} configurations, {of.definitions} definitions"
        said.append(f"{of.epochs} epochs were looked at ({several}), of which {epoch_has(on.alpha_share)}")
    return said


def _within(on: Evidence, margin: float) -> str:
    """Say that a difference is too small."""
    return f"the whole interval{_shared(on)} is within {_room(on, margin)} of {tie(on.primary.null)}"


def _room(on: Evidence, margin: float) -> str:
    return f"{100 * margin:g} points" if on.primary.null == EVEN else f"{margin:g}"


def _seen(on: Evidence) -> str:
    seen = f"{on.primary.overall.users:,} of {on.planned_users:,} planned users were seen"
    return seen if on.primary.overall.users < on.planned_users else f"{seen}: more users are unlikely to change this"
