"""Nobody is judged on who was trained on, nor on the days of the training."""

import pytest

from worker.core.errors import BadSettings
from worker.offline.align.split import Split, SplitPart, cut, refuse_overlap

SPLIT = Split("salt", held_out_users=0.3, cut_us=100)


def test_users_and_days_of_training_and_judging_are_apart() -> None:
    parts = {(user, at): SPLIT.part(f"user-{user}", at) for user in range(500) for at in (0, 99, 100, 200)}
    trained = {key for key, part in parts.items() if part is SplitPart.TRAIN}
    judged = {key for key, part in parts.items() if part is SplitPart.JUDGE}
    assert not {user for user, _ in trained} & {user for user, _ in judged}
    assert max(at for _, at in trained) < min(at for _, at in judged)
    assert len({user for user, _ in judged}) == pytest.approx(150, abs=35)


def test_choices_of_one_time_are_divided_by_users_alone() -> None:
    split = Split("", 0.5, cut([7, 7, 7], 0.2))
    assert {split.part(f"user-{number}", 7) for number in range(50)} == {SplitPart.TRAIN, SplitPart.JUDGE}


def test_the_salt_changes_who_is_held_out() -> None:
    other = Split("other", 0.3, 100)
    assert [SPLIT.part(str(n), 0) for n in range(50)] != [other.part(str(n), 0) for n in range(50)]


def test_a_user_on_both_sides_is_refused() -> None:
    with pytest.raises(BadSettings, match=r"judge: 1 of the users to judge on were trained on .*hash b.*nothing was"):
        refuse_overlap(frozenset({"a", "b"}), 50, [("b", 150), ("c", 150)], SPLIT)


def test_a_day_of_the_training_is_refused() -> None:
    with pytest.raises(BadSettings, match="1 of the choices to judge on are not later than the last one"):
        refuse_overlap(frozenset({"a"}), 150, [("b", 150), ("c", 151)], SPLIT)
    refuse_overlap(frozenset({"a"}), 50, [("b", 150), ("c", 151)], SPLIT)
