"""Files of lines that each end in a checksum: what a killed process has written whole is kept, the rest is not.

    {"line": 1, "digest": "...", ..., "crc": "8f3a01b2"}        the CRC-32 of what stands before it

A process that is killed leaves a beginning of what it was writing, so only the last line can be cut, and it has no end
of line: that one is removed at the next start.  Any other line that does not fit its checksum was changed by somebody,
or by a disk: the file is refused, for nothing tells how much of it is right.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from pydantic import TypeAdapter, ValidationError

from worker.core.errors import BadSettings, Fatal
from worker.core.validation_text import of_their_own, place_of, told, wanted

MAX_LINE_BYTES = 16 << 20  # 64 draws with the longest rationales take a tenth of it
_MARK = b', "crc": "'


def signed(content: Mapping[str, object]) -> bytes:
    """Return a line with its checksum.

    >>> checked(signed({"done": 3}))
    {'done': 3}
    """
    text = json.dumps(content, ensure_ascii=False)[:-1].encode()
    return text + _MARK + f'{crc32(text):08x}"}}\n'.encode()


def checked(line: bytes) -> dict[str, Any] | None:
    """Return the content of a whole line, None of one that is cut or changed, or is no JSON."""
    text, mark, crc = line.rpartition(_MARK)
    if not mark or crc != f'{crc32(text):08x}"}}\n'.encode():
        return None
    try:
        found: dict[str, Any] = json.loads(text + b"}")
    except (ValueError, RecursionError):  # a checksum is no proof of who wrote it
        return None
    return found


def begins_otherwise(file: BinaryIO, header: Mapping[str, object]) -> bool:
    """Return True if a file cannot be one whose first line begins as this header does; an empty one can."""
    wanted = json.dumps(header, ensure_ascii=False)[:-1].encode()
    file.seek(0)
    found = file.read(len(wanted))
    return not wanted.startswith(found)


def recovered(file: BinaryIO, path: Path, *, again: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the content of each whole line, and the offset behind it; a last line without its end is passed over.

    Raises `Fatal` at a line that is damaged; `again` says what to do then.
    """
    file.seek(0)
    end = 0
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
        content = checked(line)
        if content is None:
            if line.endswith(b"\n") or len(line) >= MAX_LINE_BYTES:
                raise _damaged(path, number, again)
            return
        end += len(line)
        yield content, end


def cut(file: BinaryIO, end: int) -> int:
    """Remove what stands behind `end`, go there, and return how many bytes were removed."""
    size = file.seek(0, os.SEEK_END)
    if end < size:
        file.truncate(end)
        file.seek(end)
    return size - end


def contents(path: Path, *, again: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file that nobody writes.  Raises `Fatal` at one that is damaged, or cut."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
            content = checked(line)
            if content is None:
                raise _damaged(path, number, again)
            yield content


def lock(file: BinaryIO, path: Path) -> None:
    """Keep other processes from writing to a file.  Raises `BadSettings` if one does already."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise BadSettings(f"{path}: another process is writing to it; wait for its end") from error


def check_form(form: TypeAdapter[Any], content: Mapping[str, Any], where: str, *, again: str) -> None:
    """Raise `Fatal` with what is wrong if a line has another form; `again` says what to do then."""
    try:
        form.validate_json(json.dumps(content), strict=True)  # in which a list may be a tuple, and a text no number
    except ValidationError as error:
        wrong = of_their_own([dict(one) for one in error.errors()])
        problems = [f"{place_of(one['loc']) or 'the line'}: {wanted(one)}" for one in wrong]
        raise Fatal(f"{where}: is damaged: {told(problems)}; {again}") from error


def _damaged(path: Path, number: int, again: str) -> Fatal:
    return Fatal(f"{path}, line {number}: is damaged; {again}")
