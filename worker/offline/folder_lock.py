"""One command at a time in a work folder: `align` and `evaluate` lock it, whichever of their files they write.

    .lock    {"command": "align train", "process": 4711, "host": "gpu-3", "since": "2026-11-30T18:41:16Z"}

The kernel ends the lock with the process, however that ends, so a kill leaves none, and the file that stays behind
locks nobody out.  It is a record lock, not `flock`: child processes do not share it, so an engine that outlives its
command for a moment does not hold it.  Closing any descriptor of the file would end it: nothing else may open it here.

A file system without locks (Lustre by default, NFS without its lock service) is worked on as before there was a lock,
with a warning.
"""

import errno
import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from worker.core.errors import BadSettings
from worker.offline.evaluate import output_files

log = logging.getLogger(__name__)

LOCK = ".lock"
_MAX_BYTES = 1_000  # of what the holder says about itself
_TAKEN = frozenset({errno.EACCES, errno.EAGAIN})  # POSIX allows both
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


@contextmanager
def held(folder: Path, option: str, command: str) -> Iterator[None]:
    """Keep other commands out of a folder, which is made if it is not there.

    Raises `BadSettings` with who is in it, or if it cannot be written; `option` is how the command names the folder.
    """
    path = folder / LOCK
    with output_files.writing(path, "nothing was done"):
        folder.mkdir(parents=True, exist_ok=True)
        place = _locked(path, f"{option} {folder}")
    try:
        about = {"command": command, "process": os.getpid(), "host": socket.gethostname()}
        about |= {"since": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        with suppress(OSError):  # of a full disk: it is locked all the same
            os.ftruncate(place, 0)
            os.write(place, json.dumps(about).encode())
        yield
    finally:
        with suppress(OSError):  # it locks nobody out if it stays
            path.unlink()  # while it is locked, so that it is ours
        os.close(place)


def _locked(path: Path, folder: str) -> int:
    """Return the descriptor of the file, locked if its file system can do that.

    Raises `BadSettings` if another process has locked it.
    """
    while True:
        place = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, place):
                return place
        except OSError as error:
            if error.errno in _NO_LOCKS:
                log.warning("%s: cannot be locked: %s; nothing keeps other commands out", path, error.strerror)
                return place
            holder = _holder(place)
            os.close(place)
            if error.errno not in _TAKEN:
                raise
            raise BadSettings(
                f"{folder}: {holder} is working in it; nothing was done; wait for its end, or use another folder"
            ) from error
        os.close(place)  # of a file that its last holder has removed meanwhile


def _is_still(path: Path, place: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(place))
    except FileNotFoundError:
        return False


def _holder(place: int) -> str:
    """Return who has locked a file, as far as it has said so by now."""
    try:
        about = json.loads(os.pread(place, _MAX_BYTES, 0))
        command, process, host, since = (str(about[name]) for name in ("command", "process", "host", "since"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
    return f"`mirrorstream {command}` (process {process} on {host}, since {since})"
