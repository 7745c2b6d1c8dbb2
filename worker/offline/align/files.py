"""Files of a step: lines that grow while it works, and take their name once they are whole.

    strong.jsonl.part   while the step works, or after it was killed
    strong.jsonl        once it is whole

Each line ends in a checksum (`evaluate.signed_lines`): one that was half written is cut off at the next start, one that
was changed is refused.  The first line says what the file is of; a file of something else is refused, not mixed.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from worker.core.errors import BadSettings
from worker.offline.align import line_forms
from worker.offline.evaluate import output_files, signed_lines

INDEX = ".outcomes.sqlite"  # of a step that reads choices, while it does
SELECTED = "selected.jsonl"
VERSION = 1
PART = ".part"
_KEPT = "what was written before is kept, so the same command goes on from there"
_AGAIN = "delete the file and run the step again"


class Growing:
    """A file that a step writes; `num_kept` lines are there from a run before.

    One that is written `anew` takes the place of the old one once it is whole.  The constructor raises `BadSettings`
    for a file of another run, or one that is being written, and `Fatal` for one with a damaged line.
    """

    def __init__(self, path: Path, header: Mapping[str, object], *, anew: bool = False) -> None:
        self._path = path
        self._part = path.with_name(path.name + PART)
        wanted = {"mirrorstream": f"align {path.name}", "version": VERSION, **header}
        output_files.check(path)
        self.is_done = path.exists() and not anew
        self._anew = anew
        self._file: BinaryIO | None = None
        self.num_kept = 0
        if self.is_done:
            lines = _checked_lines(path)
            _compare(path, next(lines, {}), wanted)
            self.num_kept = sum(1 for _ in lines)
            return
        with output_files.writing(self._part, _KEPT):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("a+b")
        try:
            signed_lines.lock(self._file, self._part)
            if anew:
                self._file.truncate(0)
            self.num_kept = self._recover(wanted)
        except BaseException:
            self._close()
            raise

    def _recover(self, wanted: Mapping[str, object]) -> int:
        """Return how many whole lines there are behind the header, which is written if there is none."""
        assert self._file is not None
        if signed_lines.begins_otherwise(self._file, {"mirrorstream": wanted["mirrorstream"]}):
            _compare(self._part, {}, wanted)
        end, number = 0, -1
        for content, end in signed_lines.recovered(self._file, self._part, again=_AGAIN):  # noqa: B007 - used behind it
            if number < 0:
                _compare(self._part, content, wanted)
            number += 1
        signed_lines.cut(self._file, end)
        if number < 0:
            self.append([dict(wanted)])
        return max(0, number)

    def kept(self) -> Iterator[dict[str, Any]]:
        """Yield the lines that were there at the start."""
        lines = _checked_lines(self._path if self.is_done else self._part)
        return islice(lines, 1, 1 + self.num_kept)

    def append(self, contents: list[dict[str, object]], *, sync: bool = True) -> None:
        """Add lines; with `sync` they are brought to the disk, with all that was added before."""
        assert self._file is not None
        with output_files.writing(self._part, _KEPT):
            self._file.write(b"".join(map(signed_lines.signed, contents)))
            if sync:
                self._file.flush()
                os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Give the file its name: it is whole."""
        if not self.is_done:
            with output_files.writing(self._path, _KEPT):
                self._part.replace(self._path)
            self.is_done = True

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; what is written stays, unless it is written anew."""
        self._close()
        if self._anew and not self.is_done:
            self._part.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what there was no room for; `append` has told it
                self._file.close()


def is_whole(path: Path, header: Mapping[str, object]) -> bool:
    """Return True for a file that is done, and is of this run.  Raises `BadSettings` for one of another."""
    if not path.is_file():
        return False
    with Growing(path, header):
        return True


def read(path: Path, step: str) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    """Return the first line of a whole file and its other lines.  Raises `BadSettings`; `step` is what makes it."""
    if not path.is_file():
        half = path.with_name(path.name + PART).is_file()
        why = "is not whole yet" if half else "is not there"
        raise BadSettings(f"{path}: {why}; run `mirrorstream align {step}` first")
    lines = _checked_lines(path)
    header = next(lines, {})
    if header.get("mirrorstream") != f"align {path.name}" or header.get("version") != VERSION:
        raise BadSettings(f"{path}: is no {path.name} of this version; run `mirrorstream align {step}` again")
    line_forms.check_header(path, header, again=_AGAIN)
    return header, line_forms.checked(path, lines, again=_AGAIN)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    state = sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            state.update(piece)
    return state.hexdigest()


def fingerprint(content: Mapping[str, object]) -> str:
    """Return what tells apart two sets of settings: 16 hexadecimal digits.

    >>> fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    True
    """
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def write_whole(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file for people to read; it is there whole or not at all.  Raises `Fatal` or `BadSettings`."""
    output_files.write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def check_folder(path: Path) -> None:
    """See that a folder can be written before the work for it is done.  Raises `BadSettings`."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise BadSettings(f"{path}: is a file or a link; want a folder there, or none yet")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a new folder beside `path`, which takes that name at the end, and is removed if anything fails.

    It is brought to the disk before, so that no power cut leaves the name without what it stands for.
    """
    new, old = (path.with_name(f".{path.name}.{end}") for end in ("new", "old"))
    with output_files.writing(path, "nothing of it was written"):
        clear(new)
        clear(old)
        new.mkdir(parents=True)
        try:
            yield new
            sync_folder(new)
            if path.is_dir():
                path.rename(old)  # at once: one that is removed file by file would be half there
            new.rename(path)
            clear(old)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise


def sync_folder(path: Path) -> None:
    """Bring a folder and all in it to the disk.  Raises `OSError`."""
    for one in (*path.rglob("*"), path):
        place = os.open(one, os.O_RDONLY)
        try:
            os.fsync(place)
        except OSError as error:
            if not one.is_dir() or error.errno != errno.EINVAL:  # some file systems do that with files alone
                raise
        finally:
            os.close(place)


def clear(path: Path) -> None:
    """Remove a folder of an earlier try."""
    if path.is_dir():
        shutil.rmtree(path)


def remove(path: Path) -> None:
    """Remove a folder that others look for: it loses its name before its files, so a kill leaves no half of it there.

    What a kill leaves beside is removed by the next call.
    """
    old = path.with_name(f".{path.name}.old")
    clear(old)
    if path.is_dir():
        path.rename(old)
    clear(old)


def read_note(path: Path, *names: str, again: str = _AGAIN) -> dict[str, Any]:
    """Return a JSON file of `write_whole`, which has these names.  Raises `BadSettings` for anything else.

    `again` says what to do then.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or "is no JSON"
        raise BadSettings(f"{path}: {why}; {again}") from error
    if not isinstance(found, dict) or not found.keys() >= set(names):
        raise BadSettings(f"{path}: want a JSON object with {', '.join(names)}; {again}")
    return found


def _checked_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from signed_lines.contents(path, again=_AGAIN)
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}; want a file that a step of align wrote") from error


def _compare(path: Path, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    differ = [name for name, value in wanted.items() if found.get(name) != json.loads(json.dumps(value))]
    if differ:
        raise BadSettings(
            f"{path}: is of another run, which differs in {', '.join(differ)}; want another --work folder, or delete it"
        )
