"""What a follower of a compacted topic hands over, and what becomes of each record."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from worker.core.records import Record


@dataclass(frozen=True, slots=True)
class Followed:
    """Records of the topic; `made_anew`: all that came before is of another topic; `at_end`: nothing more is there."""

    records: Sequence[Record]
    made_anew: bool
    at_end: bool


class Taken(StrEnum):
    """What became of a record of a topic that is followed."""

    TAKEN = "taken"
    """It holds now."""

    REMOVED = "removed"
    """A tombstone: its experiment has no definition any more."""

    REFUSED = "refused"
    """It cannot be used; what was known of its experiment stays."""
