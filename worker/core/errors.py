"""One tree of exceptions, named by what the caller must do.

    MirrorstreamError
    ├── Retryable     wait `after_s`, try again, bounded
    ├── BadRecord     nothing can be done with this record: count it, go on
    │   └── Poison    the worker dead-letters it
    ├── EngineDead    the engine process is gone: start it anew
    ├── Withdrawn     a draw made room for others: ask it again once there is room
    └── Fatal         stop, commit nothing more, exit with `exit_code`
        ├── BadSettings   exit 2: the settings are wrong; all problems in one message
        ├── EngineGone    exit 3: the engine died and will not come back
        ├── Fenced        exit 4: another holder took over our transactional id or group instance id
        └── Stuck         exit 5: a client call did not return within its deadline

`ExitCode` says what each code means.
"""

import re
from enum import IntEnum
from typing import ClassVar

from worker.core.records import Reason

# What PyYAML raises beside its own errors, for an impossible date, an odd tag, or a nest of brackets.
ODD_YAML = (ValueError, AttributeError, KeyError, RecursionError)
_QUOTED = re.compile(r"(['\"])(?!\W\1).*\1", re.DOTALL)  # a single sign, such as '@', is no secret
_PASSWORD = re.compile(r"://[^\s\"'<>]*@")


def masked(text: str) -> str:
    """Return a text without the user and the password that its addresses carry.

    >>> masked("http://me:s3cret@registry:8081 does not answer")
    'http://***@registry:8081 does not answer'
    """
    return _PASSWORD.sub("://***@", text)


def yaml_problem(error: Exception) -> str:
    """Return where a YAML text is wrong and how, without the text itself, which may hold a password.

    >>> yaml_problem(ValueError("invalid literal for int() with base 10: 's3cret'"))
    'invalid literal for int() with base 10: ... (ValueError)'
    """
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None)  # `reason`: characters YAML never has
    if mark is None and problem is None:
        return f"{_QUOTED.sub('...', str(error))} ({type(error).__name__})"
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    context = getattr(error, "context", None)
    return where + ", ".join(_QUOTED.sub("...", str(part)) for part in (context, problem) if part)


class ExitCode(IntEnum):
    """What a command's exit code means."""

    DONE = 0
    """Done; a worker was asked to stop, or a backfill has reached its end."""

    FATAL = 1
    """Stopped by a problem that the last line names, or a test was not passed (`align judge`: not promoted); a restart
    meets the same problem until somebody solves it."""

    USAGE = 2
    """Wrong settings or a wrong command line; every problem is in the message."""

    ENGINE_GONE = 3
    """The engine died and did not come back after `max_engine_restarts`; restart the worker."""

    FENCED = 4
    """Another process took over this worker's transactional id or group instance id, or its transaction timed out."""

    STUCK = 5
    """A Kafka client call did not return within its deadline, so the process ended itself; restart the worker."""

    UNKNOWN_USER = 6
    """All was done (`align judge`: promoted), but an id of `--forget` is in no choice and may be mistyped."""


class MirrorstreamError(Exception):
    """Every error that this package raises on purpose."""


class Retryable(MirrorstreamError):
    """Something outside is unavailable for a while: wait `after_s` seconds and try again."""

    def __init__(self, message: str, *, after_s: float = 1.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class BadRecord(MirrorstreamError):
    """A record that its reader can never use; `reason` is a word to count it by, the message a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Poison(BadRecord):
    """A record that can never be answered: it becomes a dead letter with this reason and message."""

    reason: Reason

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)


class EngineDead(MirrorstreamError):
    """The engine process is gone; whatever it was asked is not answered."""


class Withdrawn(MirrorstreamError):
    """A draw was taken back from a server that others need now; the engine works, and the draw is to be asked again."""


class Fatal(MirrorstreamError):
    """Stop: commit nothing more, exit with `exit_code`."""

    exit_code: ClassVar[int] = ExitCode.FATAL


class BadSettings(Fatal):
    """The settings are wrong."""

    exit_code = ExitCode.USAGE


class EngineGone(Fatal):
    """The engine died and will not come back."""

    exit_code = ExitCode.ENGINE_GONE


class Fenced(Fatal):
    """Another holder has our transactional id or group instance id."""

    exit_code = ExitCode.FENCED


class Stuck(Fatal):
    """A client call did not return within its deadline; nothing can close that client."""

    exit_code = ExitCode.STUCK
