"""A simulation that knows less than chance has no preference; where nothing is known of it, the sentence says so.

contrary engine   prefers what users do not            skill about -0.8
sharp engine      right order, much too sure           log loss worse than chance
noise of 1.18     as good as chance                    never shown to be worse, however often one looks
"""

from collections.abc import Iterable, Iterator

import pytest

from tests.support.experiment import written
from tests.support.experiment.made import answers
from tests.support.experiment.truth import Engine, World, generate
from worker.experiment.quality.skill import MIN_CLICKS, NAME, skill
from worker.experiment.readout import Agreement, Calibrated, Check, CheckState, Comparison
from worker.experiment.real_clicks.bridge import calibrated
from worker.experiment.real_clicks.shown_slates import Seen
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.statistics.confidence import Verdict
from worker.experiment.store.database import State
from worker.experiment.store.real_clicks import read_outcome

PREFERENCES = {Verdict.CANDIDATE_PREFERRED, Verdict.CONTROL_PREFERRED}
KNOWS, CONTRARY, SHARP = Engine(), Engine(temperature=-1.0), Engine(temperature=0.2)
CHANCE = Engine(noise=1.18)  # its skill is 0 over 12,000 users, within 0.01
BETTER = World(users=600, shift=1.0)  # the candidate sees more of the utility


def compared(world: World, engine: Engine, *, seed: int = 1, share_of_outcomes: float = 1.0) -> Comparison:
    """Return the comparison that the product makes of a world's responses and outcomes."""
    log, state = generate(world, seed=seed), State()
    happened = list(written.outcomes(log))
    kept = happened[: int(share_of_outcomes * len(happened))]
    responses = answers(written.responses(log, engine, seed=seed))
    state.take(responses, outcomes=map(read_outcome, kept), health={}, positions={})
    ((comparison,),) = (one.current.comparisons for one in report(state, Defaults(planned_users=600)).readouts)
    return comparison


def named(checks: Iterable[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


@pytest.mark.parametrize("engine", [CONTRARY, SHARP], ids=["contrary", "sharp"])
def test_an_experiment_whose_simulation_knows_less_than_chance_has_no_preference(engine: Engine) -> None:
    """Before, a skill of -0.78 gave a green yes: the interval of the duel share is as far from 0.5 as ever."""
    found = compared(BETTER, engine)
    interval = found.primary.overall.interval
    assert interval is not None
    assert 0.5 not in interval
    check = named(found.checks, NAME)
    print(check.words)
    assert (check.state, found.verdict) == (CheckState.FAILED, Verdict.DO_NOT_TRUST)
    assert "simulated users predict real clicks worse than chance" in found.reason


def test_an_experiment_whose_simulation_knows_its_users_has_a_preference() -> None:
    found = compared(BETTER, KNOWS)
    assert (named(found.checks, NAME).state, found.verdict) == (CheckState.OK, Verdict.CANDIDATE_PREFERRED)
    assert "skill" not in found.reason.lower()


def test_an_experiment_says_in_its_sentence_what_nobody_knows() -> None:
    """No outcomes, too few, or no placebo: the preference stands, with the words beside it."""
    without, few = (compared(BETTER, KNOWS, share_of_outcomes=share) for share in (0.0, 0.2))
    assert {without.verdict, few.verdict} == {Verdict.CANDIDATE_PREFERRED}
    assert "Skill at predicting real clicks is unknown: no outcomes were read" in without.reason
    assert "Skill at predicting real clicks is unknown: too few clicks yet: " in few.reason
    for one in (without, few):
        assert "Placebos: unknown: none were planted" in one.reason
        assert named(one.checks, "placebos").state is CheckState.OPEN


def of_skill(value: float, low: float | None, high: float | None, *, clicks: int = MIN_CLICKS) -> Check:
    figures = (Agreement("skill_uniform", value, low, high),)
    return skill(Calibrated(1_000, 0, clicks, figures, ""), has_outcomes=True)


@pytest.mark.parametrize(
    ("check", "state"),
    [
        (of_skill(-0.78, -0.9, -0.66), CheckState.FAILED),
        (of_skill(-0.78, -0.9, -0.66, clicks=MIN_CLICKS - 1), CheckState.OPEN),
        (of_skill(-0.11, -0.21, -0.01), CheckState.OPEN),  # below 0 at one look, not at every look
        (of_skill(0.1, -0.01, 0.21), CheckState.OPEN),
        (of_skill(0.1, 0.01, 0.19), CheckState.OPEN),  # above 0 at one look, not at every look
        (of_skill(0.1, 0.05, 0.15), CheckState.OK),
        (of_skill(-0.78, None, None), CheckState.OPEN),  # of one user
        (skill(None, has_outcomes=True), CheckState.OPEN),
        (skill(Calibrated(10, 10, 0, (), ""), has_outcomes=True), CheckState.OPEN),
    ],
)
def test_an_experiments_skill_has_three_states(check: Check, state: CheckState) -> None:
    assert check.state is state
    assert bool(check.qualifies) is (state is CheckState.OPEN)


def clicks_of(users: Iterable[int], chance: float, *, apart: int = 1) -> Iterator[Seen]:
    """Show ten items once per user named, a click each; the engine gives the clicked one this probability."""
    for number, user in enumerate(users):
        others = (1 - chance) / 9
        yield Seen(f"e{number}", user, apart * number, tuple(f"i{n}" for n in range(10)), tuple(range(10)),
                   (chance, *[others] * 9), (0,))  # fmt: skip


def test_an_experiment_does_not_judge_the_simulation_by_the_clicks_of_one_id() -> None:
    """400 users who click what is foreseen, and a robot with three times as many clicks on what is not."""
    people, robot = list(clicks_of(range(400), 0.5, apart=3)), list(clicks_of([400] * 1_200, 0.001))
    two = [*people, *clicks_of([401, 402] * 120, 0.001, apart=5)]
    assert "unknown: 2 users have 38% of the clicks" in skill(calibrated(two), has_outcomes=True).qualifies
    mixed = sorted([*people, *robot], key=lambda one: one.occurred_at)
    assert skill(calibrated(people), has_outcomes=True).state is CheckState.OK
    found = calibrated(mixed)
    check = skill(found, has_outcomes=True)
    assert (check.state, found.figures) == (CheckState.OPEN, ())
    assert "unknown: one user has 75% of the clicks" in check.qualifies


def at_any_look(*, runs: int) -> tuple[float, float]:
    """Return the shares of simulations that failed, and that were OK, at one of five looks; their true skill is 0."""
    states = [{_state(seed, share) for share in (0.4, 0.55, 0.7, 0.85, 1.0)} for seed in range(1, runs + 1)]
    return sum(CheckState.FAILED in one for one in states) / runs, sum(CheckState.OK in one for one in states) / runs


def _state(seed: int, share: float) -> CheckState:
    log = generate(World(users=600), seed=seed)
    letters = CHANCE.letters(CHANCE.beliefs(log, seed=seed), log.in_a, order=None)
    seen = []
    for n in range(int(share * log.user.size)):
        pools = log.slate_a[n]
        names, p = tuple(f"i{log.item[n][pool]}" for pool in pools), tuple(letters[n][pools].tolist())
        clicked = (int(log.click[n]),) if log.click[n] >= 0 else ()
        seen.append(Seen(f"e{n}", int(log.user[n]), n, names, tuple(range(len(names))), p, clicked))
    return skill(calibrated(seen), has_outcomes=True).state


def test_an_experiment_watched_decides_nothing_of_a_simulation_that_is_as_good_as_chance() -> None:
    """A share of the long test."""
    assert at_any_look(runs=8) == (0, 0)


@pytest.mark.long
def test_400_experiments_watched_decide_nothing_of_a_simulation_that_is_as_good_as_chance() -> None:
    failed, fine = at_any_look(runs=400)
    print("failed at any look", failed, "OK at any look", fine)
    assert max(failed, fine) <= 0.05


@pytest.mark.parametrize(
    ("pending", "told"), [(0, "at least 200 needed"), (150, "at least 200 needed; 150 slates wait")]
)
def test_clicks_that_are_read_and_do_not_count_yet_are_told(pending: int, told: str) -> None:
    """Else a reader who sent clicks sees none of them."""
    found = skill(Calibrated(0, pending, 0, (), ""), has_outcomes=True)
    assert told in found.words
    assert found.words.endswith("needed" if not pending else "until their outcome window is over")
