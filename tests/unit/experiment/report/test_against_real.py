"""A state's own readouts meet the real lifts of the same tests, or it is said why not."""

from dataclasses import replace
from math import sqrt
from statistics import stdev

import pytest

from tests.support.experiment.made import answers, response
from worker.core.errors import BadSettings
from worker.core.records import Partition
from worker.experiment.readout import Readout
from worker.experiment.real_clicks.real_lifts import RealLift
from worker.experiment.report import assemble
from worker.experiment.report.against_real import join
from worker.experiment.statistics.confidence import Interval
from worker.experiment.store.database import State

USERS = 120
LIFT = Interval(0.01, 0.03)


def shares(centre: float) -> list[float]:
    """Return one duel share per user, around a centre."""
    return [centre + (user % 5 - 2) / 20 for user in range(USERS)]


def responses(experiment: str, centre: float, **changes: object) -> list[dict[str, object]]:
    return [
        response(user, experiment_id=experiment, event_id=f"{experiment}-{user}", duel_share=share, **changes)  # type: ignore[arg-type]
        for user, share in enumerate(shares(centre))
    ]


def readouts(*found: list[dict[str, object]]) -> tuple[Readout, ...]:
    state = State()
    for records in found:
        state.take(answers(records), health={}, positions={Partition("responses", 0): 1})
    return assemble.report(state, assemble.Defaults()).readouts


def test_a_test_has_the_states_effect_with_its_standard_error_beside_the_real_lift() -> None:
    found = join(readouts(responses("t1", 0.6), responses("t2", 0.45)), [RealLift("t1", 0.02, LIFT, "candidate")])
    [test] = found.tests
    assert (test.experiment, test.real, test.interval) == ("t1", 0.02, LIFT)
    assert test.simulated == pytest.approx(0.1)
    assert test.simulated_error == pytest.approx(stdev(shares(0.6)) / sqrt(USERS))
    assert (found.configuration, found.metric) == ("f1", "duel_share")
    assert found.without_lift == ("t2",)
    assert found.left_out == {}


def test_what_has_no_effect_is_left_out_with_the_reason() -> None:
    state = readouts(
        responses("t1", 0.6), responses("few", 0.6)[:50], responses("old", 0.6, fingerprint="f0"),
        responses("lost", 0.6) + [response(user, 1, experiment_id="lost", event_id=f"l{user}", status="TIMEOUT",
                                           duel_share=None, contested_mass=None) for user in range(60)],
    )  # fmt: skip
    lifts = [RealLift(name, 0.02) for name in ("t1", "few", "old", "lost", "never")]
    found = join(state, [*lifts, RealLift("t1", 0.01, candidate="z"), RealLift("x", 0.0, candidate="c", control="d")])
    assert [one.experiment for one in found.tests] == ["t1"]
    assert found.left_out.keys() == {"few", "old", "lost", "never", "x"}
    assert found.left_out["few"].startswith("not identified: 50 users so far, at least 100 needed")
    assert found.left_out["old"] == "no response of configuration f1"
    assert found.left_out["lost"].startswith("do not trust: ")
    assert found.left_out["never"] == "not in the state"
    assert found.further_candidates == 1


def test_another_configuration_can_be_asked_for() -> None:
    """By default it is that of most current epochs."""
    state = readouts(
        responses("t1", 0.6), responses("t2", 0.6), responses("t2", 0.4, fingerprint="f0"),
        responses("t3", 0.6, fingerprint="f0"),
    )  # fmt: skip
    lifts = [RealLift(name, 0.02) for name in ("t1", "t2", "t3")]
    both = {name: join(state, lifts, name) for name in ("f0", "f1")}
    assert [round(one.simulated, 3) for one in both["f0"].tests] == [-0.1, 0.1]
    assert [one.experiment for one in both["f1"].tests] == ["t1", "t2"]
    assert join(state, lifts).configuration in both


def test_only_a_candidate_that_is_known_counts() -> None:
    state = readouts(responses("t1", 0.6), responses("t1", 0.4, variant="other"))
    with pytest.raises(BadSettings, match=r"no test has both .* \(1 tests: several candidates, and the table names"):
        join(state, [RealLift("t1", 0.02)])
    [test] = join(state, [RealLift("t1", 0.02, candidate="other", control="control")]).tests
    assert test.simulated < 0
    with pytest.raises(BadSettings, match="1 tests: no comparison of other with base"):
        join(state, [RealLift("t1", 0.02, candidate="other", control="base")])
    with pytest.raises(BadSettings, match="the table is empty"):
        join(state, [])


def test_effects_of_several_metrics_are_not_compared() -> None:
    first, second = readouts(responses("t1", 0.6), responses("t2", 0.6))
    [epoch] = second.epochs
    [comparison] = epoch.comparisons
    effects = (replace(comparison.primary, metric="utility"), *comparison.effects[1:])
    other = replace(second, epochs=(replace(epoch, comparisons=(replace(comparison, effects=effects),)),))
    with pytest.raises(BadSettings, match=r"several primary metrics \(duel_share, utility\); want one"):
        join([first, other], [RealLift("t1", 0.02), RealLift("t2", 0.02)])
