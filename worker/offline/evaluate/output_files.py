"""Files that a command leaves: whole or not at all, and one line with the place where one cannot be written.

report.json       written beside as .report.json.new, brought to the disk, renamed
a full disk       Fatal: FILE: No space left on device; what is answered is kept
a folder there    BadSettings: FILE: Is a directory; want ...
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.core.errors import BadSettings, Fatal

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # of the disk, of a user's share of it, of one file
_NEW = "new"


@contextmanager
def writing(path: Path, kept: str) -> Iterator[None]:
    """Say in one line what keeps a file from being written.

    Raises `Fatal` with what is `kept` where there is no room, `BadSettings` for a place that is none.
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        if error.errno in FULL:
            raise Fatal(f"{path}: {why}; {kept}") from error
        raise BadSettings(f"{path}: {why}; want a place where a file can be written") from error
    except sqlite3.OperationalError as error:  # its codes say less than its words: a full disk may be an I/O error
        raise Fatal(f"{path}: {error} (is the disk full?); {kept}") from error


def check(path: Path) -> None:
    """See that a file can be written before the work for it is done.  Raises `BadSettings`."""
    if path.is_dir():
        raise BadSettings(f"{path}: is a folder; want a file there, or none yet")


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all.  Raises `Fatal` or `BadSettings`."""
    new = path.with_name(f".{path.name}.{_NEW}")
    with writing(path, "nothing of it was written"):
        try:
            with new.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise
