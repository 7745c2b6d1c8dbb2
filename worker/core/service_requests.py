"""How requests to a service outside end: words of the metrics, and of who counts them."""

from enum import StrEnum
from typing import Protocol


class RegistryEnd(StrEnum):
    """How a request to a schema registry ended."""

    ANSWERED = "answered"
    NOT_FOUND = "not_found"  # the registry says that it does not have it
    FAILED = "failed"  # none of its addresses gave an answer of a registry


class ServerEnd(StrEnum):
    """How a request of a draw to a vLLM server ended."""

    ANSWERED = "answered"
    REFUSED = "refused"  # the question's own fault, such as a prompt that is too long
    BUSY = "busy"  # 429 or 503
    UNREACHABLE = "unreachable"
    FAILED = "failed"  # no whole answer
    CANCELLED = "cancelled"  # by us: its deadline passed, or the worker stops


class RegistryWatch(Protocol):
    """Who counts requests to a registry."""

    def registry_asked(self, end: RegistryEnd, seconds: float) -> None:
        """Count a request by how it ended, and how long that took, seconds."""


class ServerWatch(Protocol):
    """Who counts requests to servers; `url` is one of the setting `server_urls`."""

    def server_up(self, url: str, *, is_up: bool) -> None:
        """Set whether a server is asked."""

    def server_yields(self, url: str, *, yields: bool, seats: int) -> None:
        """Set whether a server that is shared is left to others, and how many draws it may have from us."""

    def server_asked(self, url: str) -> None:
        """Count a request as in flight."""

    def server_done(self, url: str, end: ServerEnd, seconds: float) -> None:
        """Count the end of a request, and how long it was in flight, seconds."""


class Unwatched:
    """Counts nothing: for commands, which have no metrics."""

    def registry_asked(self, end: RegistryEnd, seconds: float) -> None:
        """Do nothing."""

    def server_up(self, url: str, *, is_up: bool) -> None:
        """Do nothing."""

    def server_yields(self, url: str, *, yields: bool, seats: int) -> None:
        """Do nothing."""

    def server_asked(self, url: str) -> None:
        """Do nothing."""

    def server_done(self, url: str, end: ServerEnd, seconds: float) -> None:
        """Do nothing."""
