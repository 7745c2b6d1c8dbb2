"""Files of a step: lines that grow while it works, and take their name once they are whole.

    strong.jsonl.part   while the step works, or after it was killed
    strong.jsonl        once it is whole

Each line ends in a checksum (`evaluate.answers.signed`): one that was half written is cut off at the next start, one
that was changed is refused.  The first line says what the file is of; a file of something else is refused, not mixed.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from worker.core.errors import BadSettings, Fatal
from worker.offline.evaluate.answers import checked, lock, signed

VERSION = 1
PART = ".part"


class Growing:
    """A file that a step writes; lines that are there from a run before are `kept`.

    The constructor raises `BadSettings` for a file of another run, or one that is being written.
    """

    def __init__(self, path: Path, header: Mapping[str, object]) -> None:
        self._path = path
        self._part = path.with_name(path.name + PART)
        wanted = {"mirrorstream": f"align {path.name}", "version": VERSION, **header}
        self.is_done = path.exists()
        self._file: BinaryIO | None = None
        if self.is_done:
            found = next(_checked_lines(path))
            _compare(path, found, wanted)
            self.kept = [one for one in _checked_lines(path) if "mirrorstream" not in one]
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("a+b")
        try:
            lock(self._file, self._part)
            self.kept = self._recover(wanted)
        except BaseException:
            self._file.close()
            raise

    def _recover(self, wanted: Mapping[str, object]) -> list[dict[str, Any]]:
        """Return the whole lines; what stands behind them is cut off."""
        assert self._file is not None
        self._file.seek(0)
        kept: list[dict[str, Any]] = []
        end = 0
        for line in self._file:
            content = checked(line)
            if content is None:
                break
            if not kept and "mirrorstream" in content:
                _compare(self._part, content, wanted)
            kept.append(content)
            end += len(line)
        self._file.truncate(end)
        self._file.seek(end)
        if not kept:
            self.append([dict(wanted)])
        return kept[1:]

    def append(self, contents: list[dict[str, object]]) -> None:
        """Add lines, all or none of them that a resumed run will see, and bring them to the disk."""
        assert self._file is not None
        self._file.write(b"".join(map(signed, contents)))
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Give the file its name: it is whole."""
        if not self.is_done:
            self._part.rename(self._path)
            self.is_done = True

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; what is written stays."""
        if self._file is not None:
            self._file.close()


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
    return header, lines


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
    """Write a JSON file for people to read; it is there whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def clear(path: Path) -> None:
    """Remove a folder of an earlier try."""
    if path.is_dir():
        shutil.rmtree(path)


def _checked_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            content = checked(line)
            if content is None:
                raise Fatal(f"{path}, line {number}: is damaged; delete the file and run the step again")
            yield content


def _compare(path: Path, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    differ = [name for name, value in wanted.items() if found.get(name) != json.loads(json.dumps(value))]
    if differ:
        raise BadSettings(
            f"{path}: is of another run, which differs in {', '.join(differ)}; want another --work folder, or delete it"
        )
