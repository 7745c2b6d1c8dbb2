"""The simulated effects of a state beside the real lifts of finished tests, joined by experiment.

    state      home-ranker-5, configuration 3f9a: duel share 53.4 %        simulated  +0.034, error 0.006
    real.csv   home-ranker-5, candidate b: +0.012 (+0.004 to +0.020)   ->  one `Finished` test

All effects are of one configuration and one metric, which is what a backtest can be about.  What cannot be joined is
told with its reason, on either side: a backtest of the tests that happen to be there proves nothing of the others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from worker.core.errors import BadSettings
from worker.core.topics.topic_patterns import shown
from worker.experiment.readout import Comparison, Epoch, Readout
from worker.experiment.real_clicks.backtest import Finished
from worker.experiment.real_clicks.real_lifts import RealLift, first_of_each
from worker.experiment.statistics.confidence import Verdict


@dataclass(frozen=True, slots=True)
class AgainstReal:
    """Tests with both sides, and what has one side alone."""

    tests: tuple[Finished, ...]
    configuration: str  # of all simulated effects
    metric: str
    left_out: Mapping[str, str]  # why, by experiment of the table
    without_lift: tuple[str, ...]  # experiments of the state that are not in the table
    further_candidates: int  # of tests with several: the first one in the table counts


def join(readouts: Sequence[Readout], lifts: Sequence[RealLift], configuration: str | None = None) -> AgainstReal:
    """Join a state's readouts with real lifts; without a configuration, the one of most of these experiments.

    Raises `BadSettings` if no test has both sides, or if their primary metrics differ.
    """
    first = list(first_of_each(lifts))
    by_name = {one.experiment_id or "": one for one in readouts if one.epochs}
    configuration = configuration or _most_common(
        [by_name[one.experiment] for one in first if one.experiment in by_name]
    )
    tests: list[Finished] = []
    metrics: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for lift in first:
        found = _comparison(by_name.get(lift.experiment), lift, configuration)
        if isinstance(found, Comparison):
            tests.append(_finished(found, lift))
            metrics[lift.experiment] = found.primary.metric
        else:
            left_out[lift.experiment] = found
    if not tests:
        why = "; ".join(f"{count} tests: {why}" for why, count in Counter(left_out.values()).most_common(3))
        raise BadSettings(f"no test has both a simulated effect and a real lift ({why or 'the table is empty'})")
    if len(set(metrics.values())) > 1:
        raise BadSettings(f"the tests have several primary metrics ({shown(sorted(set(metrics.values())))}); want one")
    return AgainstReal(
        tests=tuple(tests),
        configuration=configuration,
        metric=next(iter(metrics.values())),
        left_out=left_out,
        without_lift=tuple(sorted(by_name.keys() - {one.experiment for one in first} - {""})),
        further_candidates=len(lifts) - len(first),
    )


def _most_common(readouts: Sequence[Readout]) -> str:
    """Return the configuration that most current epochs have; of equals the one with the newest event."""
    newest: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for one in readouts:
        name = one.current.config_fingerprint
        counts[name] += 1
        newest[name] = max(newest.get(name, 0), one.current.last_occurred_at)
    return max(counts, key=lambda name: (counts[name], newest[name], name), default="")


def _comparison(readout: Readout | None, lift: RealLift, configuration: str) -> Comparison | str:
    """Return the comparison that a real lift is of, or why there is none."""
    if readout is None:
        return "not in the state"
    epoch = next((one for one in reversed(readout.epochs) if one.config_fingerprint == configuration), None)
    if epoch is None:
        return f"no response of configuration {configuration}"
    found = _of_candidate(epoch, lift)
    if isinstance(found, str):
        return found
    if found.verdict is Verdict.DO_NOT_TRUST:  # nobody would have used the figure
        return f"do not trust: {found.reason}"
    if found.primary.overall.sd is None or not found.primary.overall.sd > 0:
        return found.primary.overall.withheld
    return found


def _of_candidate(epoch: Epoch, lift: RealLift) -> Comparison | str:
    found = [one for one in epoch.comparisons if lift.candidate in {"", one.candidate}]
    if lift.control:
        found = [one for one in found if one.control == lift.control]
    if len(found) == 1:
        return found[0]
    if found:
        return "several candidates, and the table names none"
    return f"no comparison of {lift.candidate or 'a candidate'} with {lift.control or 'control'}"


def _finished(one: Comparison, lift: RealLift) -> Finished:
    """Return both effects; the simulated one has the standard error of a mean over users."""
    overall = one.primary.overall
    assert overall.value is not None
    assert overall.sd is not None
    error = overall.sd / sqrt(overall.users)
    return Finished(lift.experiment, overall.value - one.primary.null, lift.lift, lift.interval, error)
