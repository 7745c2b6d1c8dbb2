"""Which scenes are trained on, and which of their draws."""

import pytest

from worker.offline.align.select import By, CollectedDraw, CollectedScene, select

SURE, UNSURE = (0.97, 0.01, 0.01, 0.01), (0.25, 0.25, 0.25, 0.25)
HALF = (0.5, 0.5, 0.0, 0.0)


def draw(p: tuple[float, ...] = HALF, letter: int = 0) -> CollectedDraw:
    return CollectedDraw(p, letter)


def scene(
    name: str, strong: tuple[CollectedDraw, ...], weak: tuple[CollectedDraw, ...] = (draw(),), domain: str = "movies"
) -> CollectedScene:
    return CollectedScene(name, domain, 4, frozenset({0}), strong, weak)


def names(scenes: list[CollectedScene], by: By, keep: int, seed: int = 0) -> list[str]:
    return [one.scene.name for one in select(scenes, by=by, keep=keep, seed=seed)[0]]


def test_the_largest_difference_of_uncertainty_comes_first() -> None:
    """What the weak engine is unsure of and the strong one is not."""
    both_sure = scene("both", (draw(SURE),), (draw(SURE),))
    weak_unsure = scene("weak", (draw(SURE),), (draw(UNSURE),))
    strong_unsure = scene("strong", (draw(UNSURE),), (draw(SURE),))
    assert names([both_sure, strong_unsure, weak_unsure], By.UNCERTAINTY, 1) == ["weak"]
    assert names([both_sure, strong_unsure, weak_unsure], By.UNCERTAINTY, 2) == ["both", "weak"]


def test_accuracy_takes_the_scenes_that_the_strong_engine_gets_right() -> None:
    right = scene("right", (draw(), draw()))
    half = scene("half", (draw(), draw(letter=1)))
    assert names([half, right], By.ACCURACY, 1) == ["right"]


def test_ifd_takes_the_scenes_that_help_the_weak_engine_least() -> None:
    helped = scene("helped", (draw(),), (draw(SURE),))
    misled = scene("misled", (draw(),), (draw((0.01, 0.97, 0.01, 0.01)),))
    assert names([helped, misled], By.IFD, 1) == ["misled"]


def test_random_depends_on_the_seed_alone() -> None:
    scenes = [scene(str(number), (draw(),)) for number in range(30)]
    first = names(scenes, By.RANDOM, 10)
    assert first == names(scenes, By.RANDOM, 10) == names(scenes[::-1], By.RANDOM, 10)[::-1]
    assert first != names(scenes, By.RANDOM, 10, seed=1)


@pytest.mark.parametrize("by", By)
def test_each_stratum_gives_its_share(by: By) -> None:
    scenes = [scene(f"{domain}{number}", (draw(),), domain=domain) for domain in "aab" for number in range(10)]
    unique = {one.name: one for one in scenes} | {f"x{n}": scene(f"x{n}", (draw(),), domain="a") for n in range(10)}
    picked, left_out = select(list(unique.values()), by=by, keep=15, seed=0)
    domains = [one.scene.domain for one in picked]
    assert (domains.count("a"), domains.count("b")) == (10, 5)
    assert left_out == {"not_among_the_best": 15}


def test_the_preferred_draw_is_the_surest_right_one_and_the_rejected_the_surest_wrong_one() -> None:
    draws = (draw(UNSURE), draw(SURE), draw(UNSURE, 1), draw(HALF, 1), CollectedDraw(SURE, 0, is_complete=False))
    ((picked,), _) = select([scene("a", draws)], by=By.UNCERTAINTY, keep=0, seed=0)
    assert (picked.chosen, picked.rejected) == (1, 3)


def test_the_rejected_draw_may_be_of_the_weak_engine_as_in_the_reference() -> None:
    """Its draws are counted on; the preferred one is of the strong engine."""
    strong, weak = (draw(), draw(UNSURE, 1)), (draw(SURE), draw(SURE, 1))
    ((picked,), _) = select([scene("a", strong, weak)], by=By.UNCERTAINTY, keep=0, seed=0)
    assert (picked.chosen, picked.rejected) == (0, 3)


def test_a_rationale_that_is_not_whole_is_not_learned() -> None:
    half = CollectedDraw(SURE, 0, is_complete=False)
    ((picked,), _) = select([scene("a", (half, draw(UNSURE)))], by=By.UNCERTAINTY, keep=0, seed=0)
    assert (picked.chosen, picked.rejected) == (1, None)


def test_what_teaches_nothing_is_left_out_and_counted() -> None:
    scenes = [
        scene("wrong", (draw(letter=1),)),
        scene("failed", (CollectedDraw((), None),)),
        scene("weak failed", (draw(),), (CollectedDraw((), None),)),
        scene("kept", (draw(),)),
    ]
    picked, left_out = select(scenes, by=By.UNCERTAINTY, keep=0, seed=0)
    assert [one.scene.name for one in picked] == ["kept"]
    assert left_out == {"no_right_draw": 1, "strong_failed": 1, "weak_failed": 1}
