"""A candidate is promoted if it is surely better, and nowhere surely worse."""

from dataclasses import replace

import numpy as np
import pytest

from worker.offline.align import verdict
from worker.offline.align.verdict import Judgement, told
from worker.offline.evaluate.answers import Answered
from worker.offline.evaluate.figures import differences, figures
from worker.offline.evaluate.table import paired, table

USERS = 200


def answer(p: tuple[float, ...], chosen: int, *, user: str, domain: str, mass: float) -> Answered:
    places = tuple(range(len(p)))
    return Answered(
        0, "", user, domain, 0, 0, tuple(map(str, places)), places, (chosen,), "OK", (p,), 1, mass, ()
    )  # fmt: skip


def judge(before: list[Answered], after: list[Answered]) -> Judgement:
    return verdict.judge(*(table(replace(one, line=line) for line, one in enumerate(side)) for side in (before, after)))


def choices(
    quality: float, *, seed: int = 1, domain: str = "movies", mass: float = 1.0, tilt: float = 0.0
) -> list[Answered]:
    """Return answers that give the real choice about `quality`; `tilt` moves letters to the first position."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(USERS):
        right = int(rng.integers(4))
        p = np.full(4, (1 - quality) / 3)
        p[right] = quality
        p = p * np.exp(0.3 * rng.normal(size=4))
        p = (1 - tilt) * p / p.sum() + tilt * np.eye(4)[0]
        found.append(answer(tuple(p.tolist()), right, user=f"{domain}-{number}", domain=domain, mass=mass))
    return found


def test_the_measures_are_those_of_an_evaluation_of_the_same_answers() -> None:
    """One implementation: the report of `evaluate` and the verdict never say two things of the same choices."""
    before, after = choices(0.3), choices(0.5, mass=0.9)
    found = judge(before, after)
    lined = [[replace(one, line=line) for line, one in enumerate(side)] for side in (before, after)]
    old, new = map(table, lined)
    shown, change = figures(new).figures, differences(*paired(new, old))
    for name, mine in (
        ("probability_of_choice", found.probability_of_choice), ("log_loss", found.log_loss),
        ("letter_mass", found.letter_mass), ("position_bias", found.position_bias), ("skill_uniform", found.skill),
    ):  # fmt: skip
        assert mine is not None
        assert mine.after == pytest.approx(shown[name].value, abs=1e-12)
        assert mine.difference == pytest.approx(change[name].value, abs=1e-12)


def test_what_is_surely_better_is_promoted() -> None:
    found = judge(choices(0.3), choices(0.5))
    assert (found.promoted, found.reasons) == (True, ())
    assert found.probability_of_choice.low is not None
    assert found.probability_of_choice.low > 0.1
    assert found.skill.low is not None
    assert 0 < found.skill.low < found.skill.difference
    assert (found.choices, found.users, found.uniform) == (200, 200, 0.25)


def test_the_same_model_is_not_promoted() -> None:
    same = judge(choices(0.3), choices(0.3))
    assert same.reasons == (
        f"the probability of the real choice is not surely higher ({told(same.probability_of_choice)})",
    )


def test_noise_is_promoted_no_more_often_than_said() -> None:
    """One of 200 at 99 %, of differences that are as likely to help as to harm; 40 are tried."""
    rng = np.random.default_rng(5)
    promoted = 0
    before = choices(0.4)
    for _ in range(40):
        moved = rng.normal(size=USERS) * 0.1
        after = [
            replace(
                one,
                draws=(
                    tuple(
                        x + step * ((at in one.chosen) - (at not in one.chosen) / 3)
                        for at, x in enumerate(one.draws[0])
                    ),
                ),
            )
            for one, step in zip(before, moved, strict=True)
        ]
        promoted += judge(before, after).promoted
    assert promoted <= 2


def test_a_domain_that_became_worse_holds_it_back() -> None:
    before = choices(0.3) + choices(0.5, domain="news")
    found = judge(before, choices(0.7) + choices(0.3, domain="news"))
    assert found.probability_of_choice.low is not None
    assert found.probability_of_choice.low > 0
    (reason,) = found.reasons
    assert reason.startswith("domain news: the probability of the real choice is lower (0.")


def test_letters_that_lost_their_mass_hold_it_back() -> None:
    rng = np.random.default_rng(3)
    after = [replace(one, letter_mass=float(0.9 + 0.01 * rng.random())) for one in choices(0.5)]
    (reason,) = judge(choices(0.3), after).reasons
    assert reason.startswith("the letters' probability mass is lower (1.000 to 0.90")


def test_a_position_that_is_liked_for_itself_holds_it_back() -> None:
    (reason,) = judge(choices(0.3), choices(0.8, tilt=0.3)).reasons
    assert reason.startswith("the position bias is higher")


def test_answers_that_became_sure_and_wrong_hold_it_back() -> None:
    """The mean probability rises, but one choice in five is given nothing at all."""
    after = [replace(one, draws=(tuple(float(at in one.chosen) for at in range(4)),)) for one in choices(0.3)]
    for number in range(0, USERS, 5):
        (right,) = after[number].chosen
        after[number] = replace(after[number], draws=(tuple(float(at == (right + 1) % 4) for at in range(4)),))
    (reason,) = judge(choices(0.3), after).reasons
    assert reason.startswith("the log loss is higher")


def test_questions_without_an_answer_count_as_uniform_and_hold_it_back() -> None:
    after = [
        replace(one, draws=(), status="TIMEOUT", letter_mass=None) if number % 10 == 0 else one
        for number, one in enumerate(choices(0.6))
    ]
    found = judge(choices(0.3), after)
    assert any(one.startswith("fewer questions got an answer (1.000 to 0.900") for one in found.reasons)


def test_few_users_are_not_enough() -> None:
    found = judge(choices(0.3)[:20], choices(0.6)[:20])
    assert found.reasons[0] == "20 users were judged on, want at least 30"
    assert found.probability_of_choice.low is None
    assert found.skill.low is None


def test_the_rise_of_the_skill_has_an_interval_of_99_percent_over_users() -> None:
    """Against a bootstrap of users, which knows nothing of the ratio's linearisation."""
    before, after = choices(0.3), choices(0.4)
    found, rng = judge(before, after).skill, np.random.default_rng(3)
    loss = np.array([[-np.log(one.draws[0][one.chosen[0]]) for one in side] for side in (before, after)])
    drawn = loss[:, rng.integers(USERS, size=(2_000, USERS))].mean(axis=2) / np.log(4)
    assert found.low is not None
    assert found.high is not None
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn[0] - drawn[1], (0.005, 0.995)), abs=0.01)


def test_an_interval_counts_users_and_not_choices() -> None:
    """Ten times the same choices of the same users know no more."""
    once = judge(choices(0.3), choices(0.4)).probability_of_choice
    often = judge(choices(0.3) * 10, choices(0.4) * 10).probability_of_choice
    assert once.low is not None
    assert often.low == pytest.approx(once.low)


def test_answers_to_other_choices_are_no_pair() -> None:
    with pytest.raises(ValueError, match="want answers of both models to the same choices"):
        judge(choices(0.3), choices(0.3, seed=2))
    with pytest.raises(ValueError, match="at least one"):
        judge([], [])
