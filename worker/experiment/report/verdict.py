"""One word about one candidate, with the sentence that carries it.

    a check failed that forbids                        do not trust
    too few users, or no interval                      keep running
    whole interval within the margin                   no difference (of k candidates: the interval at alpha / k)
    interval beside the null, Holm agrees
        missing pairs could turn it round              do not trust
        above | below                                  candidate | control preferred
    else                                               keep running

Every way here may be taken at any look: the interval is valid while one watches, and Holm's correction for several
candidates works on p-values that are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.experiment.readout import Check, Effect, Guarded
from worker.experiment.statistics.confidence import Interval, Verdict


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on."""

    primary: Effect
    alpha: float
    planned_users: int
    margin: float | None
    num_candidates: int
    missing: int
    worst_case: Interval | None
    corrected: Interval | None = None  # the primary's interval at alpha / num_candidates; None with one candidate
    checks: Sequence[Check] = ()
    guardrails: Sequence[Guarded] = ()


def judge(on: Evidence) -> tuple[Verdict, str]:
    """Return the verdict with its reason, a sentence without its full stop."""
    failed = [check for check in on.checks if check.state == "FAILED" and check.forbids]
    overall, null = on.primary.overall, on.primary.null
    if failed:
        return Verdict.DO_NOT_TRUST, "; ".join(f"{check.name}: {check.words}" for check in failed)
    if overall.interval is None:
        return Verdict.KEEP_RUNNING, overall.withheld
    widest = on.corrected or overall.interval
    if on.margin is not None and max(abs(widest.low - null), abs(widest.high - null)) <= on.margin:
        return Verdict.NO_DIFFERENCE, f"the interval {widest} lies within {on.margin:g} of {null:g}"
    if null not in overall.interval:
        return _beside(on, overall.interval)
    return Verdict.KEEP_RUNNING, f"the interval {overall.interval} holds {null:g}: no preference shown yet; {_seen(on)}"


def _beside(on: Evidence, interval: Interval) -> tuple[Verdict, str]:
    """Judge an interval that lies beside the null."""
    null = on.primary.null
    up = interval.low > null
    where = f"the interval {interval} lies {'above' if up else 'below'} {null:g}"
    if on.primary.p_value is not None and on.primary.p_value > on.alpha:
        corrected = f"by Holm over {on.num_candidates} candidates p is {on.primary.p_value:.3f}, want {on.alpha:g}"
        return Verdict.KEEP_RUNNING, f"{where}, but {corrected}; {_seen(on)}"
    if on.missing and (on.worst_case is None or null in on.worst_case):
        return Verdict.DO_NOT_TRUST, f"the {on.missing:,} missing pairs could turn it round: worst case {on.worst_case}"
    broken = [guarded for guarded in on.guardrails if guarded.state == "BROKEN"]
    but = f", but a guardrail is broken: {broken[0].words}" if up and broken else ""
    return Verdict.CANDIDATE_PREFERRED if up else Verdict.CONTROL_PREFERRED, where + but


def _seen(on: Evidence) -> str:
    seen = f"{on.primary.overall.users:,} users seen, {on.planned_users:,} planned"
    return seen if on.primary.overall.users < on.planned_users else f"{seen}: more will hardly change this"
