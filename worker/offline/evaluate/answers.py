"""The answers of one engine in a file that grows: what a run that was killed has done is not done again.

    {"mirrorstream": "answers", "version": 1, "arm": "...", "settings": "...", ..., "crc": "8f3a01b2"}
    {"line": 1, "digest": "...", "user": "...", "domain": "movies", "chosen": [2], "draws": [[...], ...], "crc": ...}
    ...
    {"done": 6400, "crc": ...}

Lines stand in the order of the choices, so a run that was killed and resumed leaves the same bytes as one that was
not; `signed_lines` says what becomes of a line that is cut or changed.  There are no texts and no user ids in it, but
hashes of users, and ids of items.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass

from worker.core.errors import BadSettings, MirrorstreamError
from worker.offline.evaluate import output_files, signed_lines

FORMAT = "answers"
VERSION = 1
SYNC_S = 1.0  # between two times that answers are brought to the disk
_LISTS = ("items", "positions", "chosen", "flags")
_KEPT = "what was answered before is kept, so the same command goes on from there"
_AGAIN = "delete the file to ask again"


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to one choice; probabilities are by option."""

    line: int
    digest: str  # of the choice, `RealChoice.digest`
    user: str  # a hash
    domain: str
    at: int  # µs since 1970
    history: int  # entries in the file, before any limit
    items: tuple[str, ...]
    positions: tuple[int, ...]
    chosen: tuple[int, ...]  # indices into items
    status: str
    draws: tuple[tuple[float, ...], ...]  # empty unless the status is OK
    num_draws: int
    letter_mass: float | None  # mean over draws
    flags: tuple[str, ...]


@checked_dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class _AsKept(Answered):
    """One line of a file: a NaN would be in every figure, and an index beyond the options in none."""

    draws: tuple[tuple[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)], ...], ...]
    letter_mass: Annotated[float, Field(allow_inf_nan=False)] | None

    @model_validator(mode="after")
    def _indices(self) -> Self:
        num = len(self.items)
        if len(self.positions) != num or any(len(draw) != num for draw in self.draws):
            raise ValueError("want a position, and in each draw a probability, for each item")
        if any(not 0 <= slot < num for slot in self.chosen):
            raise ValueError("want chosen slots below the number of items")
        return self


ANSWERED = TypeAdapter[Any](_AsKept)


class AnswerFile:
    """Appends answers; `wanted` is what its header must have, and a file of something else is refused.

    `header` is empty for a new file, of which `begin` writes the first line; `num_kept` answers are there, all if
    `is_done`, and `cut_bytes` were half written.  The constructor raises `BadSettings` for a file of another
    evaluation, or one that is being written, and `Fatal` for one that is damaged.
    """

    def __init__(self, path: Path, wanted: Mapping[str, object]) -> None:
        self._path = path
        self.header: dict[str, Any] = {}
        self._appended = 0
        self._failed = False
        with output_files.writing(path, _KEPT):
            self._file: BinaryIO = path.open("a+b")
        try:
            signed_lines.lock(self._file, path)
            self.num_kept, self.is_done, self.cut_bytes = self._recover(wanted)
        except BaseException:
            self._file.close()
            raise
        self._synced_s = time.monotonic()

    def _recover(self, wanted: Mapping[str, object]) -> tuple[int, bool, int]:
        """Return how many answers are whole, whether all are there, and how many bytes were cut off."""
        if signed_lines.begins_otherwise(self._file, {"mirrorstream": FORMAT}):
            compare(self._path, {}, wanted)
        end, number, done = 0, -1, False
        for content, end in signed_lines.recovered(self._file, self._path, again=_AGAIN):  # noqa: B007 - used behind it
            if number < 0:
                compare(self._path, content, wanted)
                self.header = content
            done = "done" in content
            number += not done
        return max(0, number), done, signed_lines.cut(self._file, end)

    def begin(self, header: Mapping[str, object]) -> None:
        """Write the header of a new file; hold that of an old one against it.  Raises `BadSettings`."""
        if self.header:
            compare(self._path, self.header, header)
            return
        self.header = {"mirrorstream": FORMAT, "version": VERSION, **header}
        self._write(self.header)

    def append(self, answer: Answered) -> None:
        """Add the next answer."""
        self._write(asdict(answer))
        self._appended += 1
        if time.monotonic() - self._synced_s > SYNC_S:
            self._sync()

    def finish(self, number: int) -> None:
        """Note that all answers are there."""
        if not self.is_done:
            self._write({"done": number})
            self.is_done = True
        self._sync()

    def kept(self) -> Iterator[tuple[int, str]]:
        """Yield line and digest of the answers that were there at the start, in order."""
        for number, content in enumerate(contents(self._path)):
            if number > self.num_kept:
                return
            if number:
                yield int(content["line"]), str(content["digest"])

    def close(self) -> None:
        """Bring everything to the disk, and let others write; a file without an answer is not left behind."""
        try:
            if not self._failed:
                self._sync()
            if not self.is_done and not self.num_kept and not self._appended:
                self._path.unlink(missing_ok=True)
        finally:
            with suppress(OSError):  # what could not be written before cannot be now, and was told
                self._file.close()

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _sync(self) -> None:
        with self._noting():
            self._file.flush()
            os.fsync(self._file.fileno())
        self._synced_s = time.monotonic()

    def _write(self, content: Mapping[str, object]) -> None:
        with self._noting():
            self._file.write(signed_lines.signed(content))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Say where there is no room; what is buffered then is not tried again."""
        try:
            with output_files.writing(self._path, _KEPT):
                yield
        except MirrorstreamError:
            self._failed = True
            raise


def contents(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the header and the answers of a file.  Raises `Fatal` at a line that is damaged, or no answer."""
    for number, one in enumerate(signed_lines.contents(path, again=_AGAIN), 1):
        if number > 1 and "done" not in one:
            signed_lines.check_form(ANSWERED, one, f"{path}, line {number}", again=_AGAIN)
        if "done" not in one:
            yield one


def answers(path: Path) -> Iterator[Answered]:
    """Return the answers of a file, in order.  Raises `Fatal` at a line that is damaged."""
    return answers_of(islice(contents(path), 1, None))


def answers_of(lines: Iterable[dict[str, Any]]) -> Iterator[Answered]:
    """Yield the answers of lines, which are `asdict` of them."""
    for one in lines:
        one["draws"] = tuple(map(tuple, one["draws"]))
        yield Answered(**(one | {name: tuple(one[name]) for name in _LISTS}))


def compare(path: Path, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """Refuse a header that is not what is wanted.  Raises `BadSettings`."""
    if found.get("mirrorstream") != FORMAT or found.get("version") != VERSION:
        raise BadSettings(f"{path}: is no file of answers of this version; want another folder by --out")
    differ = [name for name, value in wanted.items() if found.get(name) != value]
    if differ:
        told = ", ".join(f"{name} {found.get(name)!r}, now {wanted[name]!r}" for name in differ)
        raise BadSettings(f"{path}: has answers of another evaluation ({told}); want another folder by --out")
