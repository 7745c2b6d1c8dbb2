"""What a kill leaves is a beginning: only a last line without its end is cut, and nothing else is guessed at."""

from collections.abc import Callable
from pathlib import Path

import pytest

from worker.core.errors import BadSettings, Fatal, MirrorstreamError
from worker.offline.align.files import Growing
from worker.offline.evaluate.answers import AnswerFile
from worker.offline.evaluate.signed_lines import signed

HEADER: dict[str, object] = {"arm": "a"}
ROW: dict[str, object] = {"line": 1, "digest": "d", "words": "ten"}
START = {
    "answers": signed({"mirrorstream": "answers", "version": 1, **HEADER}),
    "align": signed({"mirrorstream": "align strong.jsonl", "version": 1, **HEADER}),
}


def _answers(folder: Path) -> tuple[Path, int]:
    path = folder / "answers.jsonl"
    with AnswerFile(path, HEADER) as file:
        return path, file.num_kept


def _align(folder: Path) -> tuple[Path, int]:
    with Growing(folder / "strong.jsonl", HEADER) as file:
        assert len(list(file.kept())) == file.num_kept
        return folder / "strong.jsonl.part", file.num_kept


FILES = pytest.mark.parametrize(
    ("kind", "name", "opened"), [("answers", "answers.jsonl", _answers), ("align", "strong.jsonl.part", _align)]
)
Opened = Callable[[Path], tuple[Path, int]]


@FILES
def test_only_a_last_line_without_its_end_is_cut_off(tmp_path: Path, kind: str, name: str, opened: Opened) -> None:
    whole = START[kind] + 3 * signed(ROW)
    (tmp_path / name).write_bytes(whole + signed(ROW)[:-1])
    path, kept = opened(tmp_path)
    assert (kept, path.read_bytes()) == (3, whole)


@FILES
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_changed_line_is_refused_wherever_it_stands(
    tmp_path: Path, kind: str, name: str, opened: Opened, number: int
) -> None:
    """Also the last one: a killed process writes no end of line behind half a line.  Nothing is cut off."""
    lines = (START[kind] + 3 * signed(ROW)).splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b'"ten"', b'"two"').replace(b'"a"', b'"b"')
    whole = b"".join(lines)
    (tmp_path / name).write_bytes(whole)
    with pytest.raises(Fatal, match=rf"{name}, line {number}: is damaged; delete the file"):
        opened(tmp_path)
    assert (tmp_path / name).read_bytes() == whole


@FILES
def test_somebodys_own_file_is_refused_and_stays_as_it_is(tmp_path: Path, kind: str, name: str, opened: Opened) -> None:
    del kind
    for own in (b'{"event_id": "e"}\n', b"notes without an end of line"):
        (tmp_path / name).write_bytes(own)
        with pytest.raises(BadSettings, match=r"is no file of answers|is of another run"):
            opened(tmp_path)
        assert (tmp_path / name).read_bytes() == own


@FILES
def test_a_line_without_an_end_is_not_read_whole_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, opened: Opened
) -> None:
    monkeypatch.setattr("worker.offline.evaluate.signed_lines.MAX_LINE_BYTES", 200)
    (tmp_path / name).write_bytes(START[kind] + b"x" * 500)
    with pytest.raises(MirrorstreamError, match="line 2: is damaged"):
        opened(tmp_path)
