"""What stands between the steps may be of anybody: a damaged or foreign file is one line, never a traceback."""

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from stat import S_ISDIR
from typing import Any
from zlib import crc32

import pytest

from tests.unit.offline.align.test_steps import choices, collected
from worker.core.errors import BadSettings, Fatal
from worker.offline.align import files, steps
from worker.offline.align.select import By
from worker.offline.evaluate import signed_lines

Change = Callable[[dict[str, Any]], Mapping[str, Any] | bytes]


def select(folder: Path) -> object:
    return steps.select(folder / "work", by=By.UNCERTAINTY, keep=0, seed=0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the first two steps."""
    folder = tmp_path_factory.mktemp("made")
    collected(folder, choices(folder, users=60))
    select(folder)
    return folder / "work"


@pytest.fixture
def work(made: Path, tmp_path: Path) -> Path:
    """Copies of these files."""
    found = tmp_path / "work"
    found.mkdir()
    for path in made.glob("*.jsonl"):
        (found / path.name).write_bytes(path.read_bytes())
    return found


def change(path: Path, number: int, how: Change) -> None:
    """Write one line anew, with a checksum that fits."""
    lines = path.read_bytes().splitlines(keepends=True)
    content = signed_lines.checked(lines[number])
    assert content is not None
    found = how(content)
    lines[number] = found if isinstance(found, bytes) else signed_lines.signed(found)
    path.write_bytes(b"".join(lines))


def signed_text(text: bytes) -> bytes:
    """Sign what is no JSON."""
    return text + f', "crc": "{crc32(text):08x}"}}\n'.encode()


def of_draw(**changes: Any) -> Change:
    return lambda line: {**line, "draws": [{**line["draws"][0], **changes}, *line["draws"][1:]]}


LINES: Mapping[str, Change] = {
    "no JSON": lambda _: signed_text(b'{"line": oops'),
    "a deep nest": lambda _: signed_text(b'{"line": ' + b"[" * 100_000),
    "another line": lambda _: {"mirrorstream": "align strong.jsonl", "version": 1},
    "no draws": lambda line: {name: value for name, value in line.items() if name != "draws"},
    "draws that are none": lambda line: {**line, "draws": 7},
    "a letter before the first": of_draw(letter=-1),
    "a letter behind the last": of_draw(letter=4),
    "a letter of text": of_draw(letter="A"),
    "a probability that is none": of_draw(p=[float("nan"), 0.5, 0.25, 0.25]),
    "a probability above all": of_draw(p=[1e308, 0.5, 0.25, 0.25]),
    "fewer probabilities than options": of_draw(p=[0.5, 0.5]),
    "a text that is a list": of_draw(text=["a"]),
    "a slot that is not offered": lambda line: {**line, "chosen": [99]},
    "more options than a number holds": lambda line: {**line, "options": 10**30},
    "a time of no calendar": lambda line: {**line, "at": 2**62},
    "a prompt with more": lambda line: {**line, "prompt": {**line["prompt"], "images": ["x"]}},
    "a prompt that is text": lambda line: {**line, "prompt": "a"},
    "a user that is a list": lambda line: {**line, "user": [1]},
}


@pytest.mark.parametrize("how", LINES.values(), ids=LINES)
@pytest.mark.parametrize("arm", ["strong", "weak"])
def test_a_collected_scene_of_another_form_is_refused_with_its_line(work: Path, arm: str, how: Change) -> None:
    change(work / f"{arm}.jsonl", 3, how)
    before = (work / "selected.jsonl").read_bytes()
    with pytest.raises(Fatal, match=rf"{arm}\.jsonl, line 4: is damaged.*delete the file and run the step again"):
        select(work.parent)
    assert (work / "selected.jsonl").read_bytes() == before


HEADERS: Mapping[str, Change] = {
    "no split": lambda head: {name: value for name, value in head.items() if name != "split"},
    "a split with more": lambda head: {**head, "split": {**head["split"], "days": 3}},
    "users to forget that are a number": lambda head: {**head, "forgotten": 3},
    "settings that are a list": lambda head: {**head, "settings": []},
}


@pytest.mark.parametrize("how", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("name", ["strong", "selected"])
def test_a_first_line_of_another_form_is_refused(work: Path, name: str, how: Change) -> None:
    change(work / f"{name}.jsonl", 0, how)
    with pytest.raises(Fatal, match=rf"{name}\.jsonl, line 1: is damaged: "):
        list(files.read(work / f"{name}.jsonl", "collect")[1])


@pytest.mark.parametrize("version", [0, 2, None, "1", float("nan")])
def test_a_file_of_another_version_is_refused(work: Path, version: object) -> None:
    change(work / "strong.jsonl", 0, lambda head: {**head, "version": version})
    with pytest.raises(BadSettings, match="of this version"):
        select(work.parent)


def of_taught(**changes: Any) -> Change:
    return lambda line: {**line, "chosen": {**line["chosen"], **changes}}


SELECTED: Mapping[str, Change] = {
    "a letter before the first": of_taught(letter=-1),
    "a letter behind the last": of_taught(letter=4),
    "no text": of_taught(text=None),
    "a rejected answer that is text": lambda line: {**line, "rejected": "B"},
    "a score that is none": lambda line: {**line, "score": float("inf")},
    "no prompt": lambda line: {**line, "prompt": None},
}


@pytest.mark.parametrize("how", SELECTED.values(), ids=SELECTED)
def test_a_selected_scene_of_another_form_is_refused_with_its_line(work: Path, how: Change) -> None:
    """A letter of -1 would have taught the last option in silence."""
    change(work / "selected.jsonl", 2, how)
    with pytest.raises(Fatal, match=r"selected\.jsonl, line 3: is damaged"):
        list(files.read(work / "selected.jsonl", "select")[1])


def test_an_arm_that_lacks_the_last_scene_is_told(work: Path) -> None:
    """Each line is whole, so only the other arm tells."""
    lines = (work / "weak.jsonl").read_bytes().splitlines(keepends=True)
    (work / "weak.jsonl").write_bytes(b"".join([*lines[:-2], lines[-1]]))
    with pytest.raises(BadSettings, match="of different scenes; run collect again"):
        select(work.parent)


@pytest.mark.parametrize("name", ["strong.jsonl", "weak.jsonl"])
def test_a_folder_in_the_place_of_a_file_is_told(work: Path, name: str) -> None:
    (work / name).unlink()
    (work / name).mkdir()
    with pytest.raises(BadSettings, match=rf"{name}: is not there"):
        select(work.parent)
    with pytest.raises(BadSettings, match=rf"{name}: is a folder; want a file there"):
        collected(work.parent, choices(work.parent, users=60))


def test_a_folder_in_the_place_of_a_file_that_grows_is_told(tmp_path: Path) -> None:
    (tmp_path / "strong.jsonl.part").mkdir()
    with pytest.raises(BadSettings, match=r"strong\.jsonl\.part: Is a directory"):
        files.Growing(tmp_path / "strong.jsonl", {})


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"spans": 1}', b"[" * 100_000])
def test_a_note_that_is_none_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "choices.topics.json"
    path.write_bytes(content)
    with pytest.raises(BadSettings, match=r"choices\.topics\.json: "):
        files.read_note(path, "spans", "read")


def test_a_file_or_a_dangling_link_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    """Before hours of training: a folder cannot take the name of a file."""
    files.check_folder(tmp_path / "sft")
    (tmp_path / "sft").write_text("x")
    (tmp_path / "candidate").symlink_to(tmp_path / "nowhere")
    for name in ("sft", "candidate"):
        with pytest.raises(BadSettings, match=f"{name}: is a file or a link"):
            files.check_folder(tmp_path / name)


def test_answers_to_judge_by_are_probabilities_of_the_options(tmp_path: Path) -> None:
    """A NaN in one of them would make every figure of the verdict one."""
    good = {
        "line": 1, "digest": "d", "user": "u", "domain": "movies", "at": 1_796_000_000_000_000, "history": 0,
        "items": ["a", "b"], "positions": [0, 1], "chosen": [0], "status": "OK", "draws": [[0.25, 0.75]],
        "num_draws": 1, "letter_mass": 0.9, "flags": [],
    }  # fmt: skip
    path = tmp_path / "before.jsonl"
    for bad in ({}, {"draws": [[float("nan"), 0.75]]}, {"draws": [[0.5]]}, {"chosen": [2]}, {"chosen": [-1]},
                {"positions": [0]}, {"letter_mass": float("inf")}, {"more": 1}, {"items": 3}):  # fmt: skip
        head = {"mirrorstream": "align before.jsonl", "version": files.VERSION}
        path.write_bytes(signed_lines.signed(head) + signed_lines.signed(good | bad))
        if not bad:
            assert [one["digest"] for one in files.read(path, "judge")[1]] == ["d"]
            continue
        with pytest.raises(Fatal, match=r"before\.jsonl, line 2: is damaged"):
            list(files.read(path, "judge")[1])


def test_a_folder_has_its_name_once_all_of_it_is_on_the_disk_and_the_old_one_is_never_half_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut keeps a name and loses bytes that were not brought to the disk; a kill may fall between two files."""
    place = tmp_path / "candidate"
    place.mkdir()
    for name in ("a", "b"):
        (place / name).write_text("old")
    synced: set[int] = set()
    seen: list[bool] = []
    sync, rename, rmtree = os.fsync, Path.rename, shutil.rmtree

    def noted_sync(number: int) -> None:
        synced.add(os.fstat(number).st_ino)
        if S_ISDIR(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "of a file system that brings files alone to the disk")
        sync(number)

    def noted_rename(path: Path, to: Path) -> Path:
        if to == place:
            seen.append({one.stat().st_ino for one in (path, *path.rglob("*"))} <= synced)
        return rename(path, to)

    def noted_rmtree(path: Path, **more: Any) -> None:
        assert path != place, "a kill here would leave some of its files"
        rmtree(path, **more)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    monkeypatch.setattr(shutil, "rmtree", noted_rmtree)
    with files.whole_folder(place) as new:
        (new / "deep").mkdir()
        (new / "deep" / "weights").write_text("new")
    assert seen == [True]
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "candidate", "candidate/deep", "candidate/deep/weights",
    ]  # fmt: skip
