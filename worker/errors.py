"""One tree of exceptions, named by what the caller must do.

    MirrorstreamError
    ├── Retryable     wait `after_s`, try again, bounded
    ├── Poison        dead-letter the record, go on
    ├── EngineDead    the engine process is gone: start it anew
    └── Fatal         stop, commit nothing more, exit with `exit_code`
        ├── BadSettings   exit 2: the settings are wrong; all problems in one message
        ├── EngineGone    exit 3: the engine died and will not come back
        ├── Fenced        exit 4: another holder took over our transactional id or group instance id
        └── Stuck         exit 5: a client call did not return within its deadline

Exit codes: 0 done, 1 fatal, 2 settings, 3 the engine will not come back, 4 fenced, 5 stuck.
"""

from typing import ClassVar

# What PyYAML raises beside its own errors, for an impossible date, an odd tag, or a nest of brackets.
ODD_YAML = (ValueError, AttributeError, KeyError, RecursionError)


class MirrorstreamError(Exception):
    """Every error that this package raises on purpose."""


class Retryable(MirrorstreamError):
    """A condition outside that passes: wait `after_s` seconds and try again."""

    def __init__(self, message: str, *, after_s: float = 1.0) -> None:
        """Say what is away and how long to wait before the next try, seconds."""
        super().__init__(message)
        self.after_s = after_s


class Poison(MirrorstreamError):
    """A record that can never be answered; `reason` is a word for metrics and headers."""

    def __init__(self, reason: str, message: str) -> None:
        """Say why in a word and in a sentence."""
        super().__init__(message)
        self.reason = reason


class EngineDead(MirrorstreamError):
    """The engine process is gone; whatever it was asked is not answered."""


class Fatal(MirrorstreamError):
    """Stop: commit nothing more, exit with `exit_code`."""

    exit_code: ClassVar[int] = 1


class BadSettings(Fatal):
    """The settings are wrong."""

    exit_code = 2


class EngineGone(Fatal):
    """The engine died and will not come back."""

    exit_code = 3


class Fenced(Fatal):
    """Another holder has our transactional id or group instance id."""

    exit_code = 4


class Stuck(Fatal):
    """A client call did not return within its deadline; nothing can close that client."""

    exit_code = 5
