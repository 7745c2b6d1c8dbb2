"""The figures are those of a second, slow computation, and of the reference's own code where it has them.

`REFERENCE` is what the reference's code printed (UserMirrorer at d258eb9: `filter.utils.process_prob_data`, and the
accuracy of `run_eval`; numpy 2, pandas 3, 2026-11-30) for the scenes of `of_reference`: accuracy, and of the scenes
that are not too long the mean entropy and the mean log loss of a draw, bits.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import log, log2

import numpy as np
import pytest

from worker.offline.evaluate.answers import Answered
from worker.offline.evaluate.figures import MIN_USERS, FigureValue, differences, figures
from worker.offline.evaluate.table import paired, table

STATUSES = ("OK", "OK", "OK", "OUT_OF_BUDGET", "TIMEOUT")


def made(num: int, *, seed: int = 3, users: int = 40, draws: int = 3, sharpness: float = 2.0) -> list[Answered]:
    rng = np.random.default_rng(seed)
    found = []
    for line in range(num):
        size = int(rng.integers(2, 13))
        status = STATUSES[int(rng.integers(0, 5))] if line % 4 == 0 else "OK"
        p = rng.dirichlet(np.ones(size), draws)
        chosen = int(rng.choice(size, p=p.mean(axis=0) ** sharpness / (p.mean(axis=0) ** sharpness).sum()))
        found.append(
            Answered(
                line,
                f"d{line}",
                f"u{line % users}",
                ("movies", "news")[line % 2],
                line,
                line % 30,
                tuple(f"i{place}" for place in rng.integers(0, 10_000, size)),
                tuple(range(size)),
                (chosen,),
                status,
                tuple(map(tuple, p.tolist())) if status == "OK" else (),
                draws,
                0.5,
                (),
            )
        )
    return found


REFERENCE = {
    "five": (0.1758333333333333, 2.1198402523065023, 2.5728057327215836),
    "mixed": (0.1925, 2.3992209531608757, 2.8621884354087928),
    "one draw": (0.2075, 2.369603022358255, 2.9066655980271774),
}


def of_reference(*, mixed: bool, draws: int) -> list[Answered]:
    """Return 400 scenes, each fiftieth of them too long, with probabilities that need no random numbers."""
    found = []
    for line in range(400):
        size = 2 + line % 11 if mixed else 5
        weights = [[1 + (7 * slot + 13 * line + 5 * draw * (slot + 1)) % 11 for slot in range(size)]
                   for draw in range(draws)]  # fmt: skip
        p = tuple(tuple(one / sum(each) for one in each) for each in weights)
        fits = line % 50 != 7
        found.append(
            Answered(
                line, f"d{line}", f"u{line}", "movies", line, 3, tuple(f"i{slot}" for slot in range(size)),
                tuple(range(size)), ((5 * line + 3) % size,), "OK" if fits else "OUT_OF_BUDGET", p if fits else (),
                draws, 1.0, (),
            )
        )  # fmt: skip
    return found


@pytest.mark.parametrize(
    ("name", "mixed", "draws"), [("five", False, 3), ("mixed", True, 3), ("one draw", True, 1)]
)  # fmt: skip
def test_the_figures_are_those_that_the_references_code_gave(name: str, mixed: bool, draws: int) -> None:
    accuracy, within, loss_bits = REFERENCE[name]
    found = figures(table(of_reference(mixed=mixed, draws=draws))).figures
    assert found["reference_accuracy"].value == pytest.approx(accuracy, abs=1e-9)
    assert found["entropy_within"].value == pytest.approx(within, abs=1e-9)
    if draws == 1:  # its log loss is of a draw, ours of the mean over draws
        assert found["log_loss"].value / log(2) == pytest.approx(loss_bits, abs=1e-9)


def entropy(p: Sequence[float]) -> float:
    return -sum(one * log2(one) for one in p if one > 0)


def test_accuracy_is_the_references_with_its_own_random_numbers() -> None:
    answers = made(400)
    np.random.seed(0)  # noqa: NPY002 - as the reference does
    hits = []
    for one in answers:
        if one.status == "TIMEOUT":
            continue
        draws = one.draws or (np.full(len(one.items), 1 / len(one.items)),) * one.num_draws
        letters = [np.random.choice(len(one.items), p=np.array(draw) / np.sum(draw)) for draw in draws]  # noqa: NPY002 - likewise
        hits.append(np.mean([letter == one.chosen[0] for letter in letters]))
    assert figures(table(answers)).figures["reference_accuracy"].value == pytest.approx(np.mean(hits), abs=1e-9)


def test_every_figure_is_that_of_a_second_computation() -> None:
    answers = made(400)
    asked = [one for one in answers if one.status == "OK"]
    means = [np.mean(one.draws, axis=0) for one in asked]
    real = [float(mean[one.chosen[0]]) for one, mean in zip(asked, means, strict=True)]
    within = [float(np.mean([entropy(draw) for draw in one.draws])) for one in asked]
    total = [entropy(mean.tolist()) for mean in means]
    ranks = [1 + int((mean > p).sum()) for mean, p in zip(means, real, strict=True)]
    loss = float(np.mean([-log(p) for p in real]))
    gaps = np.zeros(12)  # by position: simulated choices less real ones
    for one, mean in zip(asked, means, strict=True):
        gaps[: len(mean)] += mean - np.eye(len(mean))[one.chosen[0]]
    wanted = {
        "position_bias": np.abs(gaps).max() / len(asked),
        "probability_of_choice": np.mean(real),
        "log_loss": loss,
        "accuracy_top_choice": np.mean([rank == 1 for rank in ranks]),
        "reciprocal_rank": np.mean([1 / rank for rank in ranks]),
        "brier": np.mean([((mean - np.eye(len(mean))[one.chosen[0]]) ** 2).sum()
                          for one, mean in zip(asked, means, strict=True)]),
        "entropy_total": np.mean(total),
        "entropy_within": np.mean(within),
        "mutual_information": np.mean(np.array(total) - within),
        "skill_uniform": 1 - loss / np.mean([log(len(one.items)) for one in asked]),
    }  # fmt: skip
    found = figures(table(answers))
    assert {name: found.figures[name].value for name in wanted} == pytest.approx(wanted, abs=1e-9)
    assert found.choices == len(asked)
    assert found.option_counts == (2, 12)
    assert sum(found.statuses.values()) == 400


def test_groups_add_up_to_the_whole() -> None:
    found = figures(table(made(400)))
    for groups in found.by.values():
        assert sum(one.choices for one in groups) == found.choices
        mean = sum(one.choices * one.figures["log_loss"].value for one in groups) / found.choices
        assert mean == pytest.approx(found.figures["log_loss"].value, abs=1e-9)


def test_the_interval_of_an_engine_without_skill_holds_0() -> None:
    """Of 30 useless engines the interval of 95 % misses 0 in some, and not in many."""
    rng = np.random.default_rng(5)
    missed = 0
    for seed in range(30):
        answers = made(120, seed=seed, users=60, draws=1)
        even = [
            Answered(**{
                **{name: getattr(one, name) for name in one.__slots__},
                "status": "OK", "chosen": (int(rng.integers(0, len(one.items))),),
                "draws": ((1 / len(one.items) + 0.01, *(1 / len(one.items),) * (len(one.items) - 2),
                           1 / len(one.items) - 0.01),),
            })
            for one in answers
        ]  # fmt: skip
        skill = figures(table(even)).figures["skill_uniform"]
        assert skill.low is not None
        assert skill.high is not None
        missed += not skill.low <= 0 <= skill.high
    assert missed <= 6


def test_a_difference_is_of_pairs_and_narrower_than_either() -> None:
    one, other = table(made(400)), table(made(400, draws=3))
    found = differences(*paired(one, other))
    assert found["log_loss"] == FigureValue(0.0, 0.0, 0.0)
    sharper = [
        Answered(**{**{name: getattr(each, name) for name in each.__slots__}, "draws": tuple(
            tuple((np.array(draw) ** 1.5 / (np.array(draw) ** 1.5).sum()).tolist()) for draw in each.draws
        )})
        for each in made(400)
    ]  # fmt: skip
    changed = differences(*paired(table(sharper), one))["skill_uniform"]
    alone, better = figures(one).figures["skill_uniform"], figures(table(sharper)).figures["skill_uniform"]
    assert changed.value == pytest.approx(better.value - alone.value, abs=1e-9)
    assert changed.low is not None
    assert changed.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert changed.high - changed.low < alone.high - alone.low


def test_the_interval_of_a_difference_of_position_biases_holds_0_where_nothing_differs() -> None:
    """Both engines answer at random and know no position; 60 pairs are tried, at 95 %."""
    outside = 0
    for seed in range(60):
        rng, answers = np.random.default_rng(seed), made(240, seed=seed, users=60, draws=1)
        others = [
            replace(one, draws=tuple(tuple(rng.dirichlet(np.ones(len(draw))).tolist()) for draw in one.draws))
            for one in answers
        ]
        found = differences(*paired(table(others), table(answers)))["position_bias"]
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.high
        outside += not found.low <= 0 <= found.high
    assert outside <= 8


def test_few_users_have_no_interval() -> None:
    found = figures(table(made(400, users=MIN_USERS - 1)))
    assert found.figures["log_loss"].low is None
