"""Commits wait for the oldest unfinished record: `Offsets` against a list that is searched from the front."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings, strategies as st

from worker.core.delivery.offset_tracker import Offsets

QUICK = settings(max_examples=60, deadline=None)
Step = tuple[str, int]
STEPS = st.lists(st.tuples(st.sampled_from(["start", "finish", "commit"]), st.integers(0, 12)), max_size=60)
STARTS = st.none() | st.integers(0, 5)


@dataclass
class Model:
    """Every record ever started, in order, with what became of it; slow, and nothing is ever thrown away."""

    resume_at: int | None
    offsets: list[int] = field(default_factory=list)
    finished: set[int] = field(default_factory=set)
    committed: int = -1  # offset to read on from; -1: no commit yet

    def open(self) -> list[int]:
        return [offset for offset in self.offsets if offset >= self.committed]

    def head(self) -> list[int]:
        found: list[int] = []
        for offset in self.open():
            if offset not in self.finished:
                break
            found.append(offset)
        return found

    def commit_offset(self) -> int | None:
        if self.head():
            return self.head()[-1] + 1
        return self.resume_at if self.committed < 0 else None


def play(steps: list[Step], resume_at: int | None) -> tuple[Offsets, Model]:
    """Run both side by side; a step that a caller may not take is left out."""
    offsets, model = Offsets(resume_at=resume_at), Model(resume_at)
    for step, number in steps:
        unfinished = [offset for offset in model.offsets if offset not in model.finished]
        if step == "start":  # 0 is the last offset again, more than 1 leaves a gap
            offset = max(model.offsets, default=(resume_at or 0) - 1) + number
            assert offsets.start(offset) == (number > 0)
            model.offsets += [offset] if number else []
        elif step == "finish" and unfinished:
            offset = unfinished[number % len(unfinished)]
            offsets.finish(offset)
            model.finished.add(offset)
        elif step == "commit" and (commit_offset := offsets.commit_offset()) is not None:
            offsets.forget(commit_offset)
            model.committed = commit_offset
        assert list(offsets.head()) == model.head()
        assert offsets.commit_offset() == model.commit_offset()
        assert len(offsets) == len(model.open())
        assert offsets.oldest == next((one for one in model.offsets if one not in model.finished), None)
    return offsets, model


@QUICK
@given(STEPS, STARTS)
def test_offsets_agree_with_a_list_that_forgets_nothing(steps: list[Step], resume_at: int | None) -> None:
    play(steps, resume_at)


@QUICK
@given(STEPS, STARTS)
def test_a_commit_never_passes_an_unfinished_record(steps: list[Step], resume_at: int | None) -> None:
    offsets, model = play(steps, resume_at)
    commit_offset = offsets.commit_offset()
    assert commit_offset is None or all(one in model.finished for one in model.offsets if one < commit_offset)


@QUICK
@given(STEPS, STARTS)
def test_only_what_a_commit_covers_is_forgotten(steps: list[Step], resume_at: int | None) -> None:
    """Forgetting a part of the head leaves the rest of it, and everything unfinished, where it was."""
    offsets, model = play(steps, resume_at)
    head = model.head()
    for commit_offset in [offset + 1 for offset in head]:
        offsets.forget(commit_offset)
        model.committed = commit_offset
        assert list(offsets.head()) == model.head()
        assert len(offsets) == len(model.open())


def test_a_start_position_is_committed_once_and_no_record_before_it_is_taken() -> None:
    offsets = Offsets(resume_at=7)
    assert offsets.commit_offset() == offsets.unreleased == 7
    assert not offsets.start(6)
    offsets.forget(7)
    assert offsets.commit_offset() is None
    assert offsets.unreleased is None


def test_a_new_note_is_committed_where_a_restart_shall_read_on() -> None:
    offsets = Offsets()
    offsets.note = "new"
    assert offsets.unreleased is None  # nothing was read or told: nobody knows where that is
    offsets = Offsets(committed=4, note="old")
    offsets.note = "new"
    assert offsets.unreleased == 4
    offsets.start(5)
    offsets.start(8)
    offsets.finish(8)
    assert offsets.commit_offset() == offsets.unreleased == 5
    offsets.forget(5, "new")
    assert offsets.commit_offset() is None
    offsets.finish(5)
    offsets.forget(9, "new")
    offsets.note = ""
    assert offsets.unreleased == 9


def test_a_note_that_may_not_be_there_is_committed_again_whatever_it_is_by_then() -> None:
    offsets = Offsets(committed=4)
    offsets.note = "new"
    offsets.forget(4, "new", certain=False)
    offsets.note = ""
    assert offsets.unreleased == 4
    offsets.forget(4, "", certain=False)
    assert offsets.unreleased == 4
    offsets.forget(4, "")
    assert offsets.unreleased is None


def test_a_record_that_is_started_again_is_refused_even_after_its_commit() -> None:
    offsets = Offsets()
    assert offsets.start(3)
    offsets.finish(3)
    offsets.forget(4)
    assert not offsets.start(3)
    assert offsets.start(4)


@pytest.mark.parametrize("offset", [3, 4])
def test_finishing_twice_or_without_a_start_is_our_own_bug(offset: int) -> None:
    offsets = Offsets()
    offsets.start(3)
    offsets.finish(3)
    with pytest.raises(AssertionError, match=f"offset {offset}"):
        offsets.finish(offset)
