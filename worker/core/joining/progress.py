"""How far a store of facts has read its topic, and when that is not to be trusted any more.

A compacted topic forgets a tombstone `delete.retention.ms` after it was compacted: a store that was away for longer may
hold what was deleted meanwhile, and nobody will ever tell it.  It is read anew, from the topic's start.

>>> progress = StoreProgress("items", "id-1", {0: 17}, whole_until_s=1_000.0)
>>> distrust(progress, {"cleanup.policy": "compact", "delete.retention.ms": "60000"}, now_s=1_059.0)
''
>>> distrust(progress, {"cleanup.policy": "compact", "delete.retention.ms": "60000"}, now_s=1_061.0)
'it was read to its end 61 s ago, and the topic keeps tombstones for 60 s'
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.core.joining.facts import Statement

DELETE_RETENTION_MS = 86_400_000  # Kafka's default, where the topic's cannot be read


@dataclass(frozen=True, slots=True)
class StoreProgress:
    """What a store has read of a topic: next offsets by partition, and up to when nothing was left unread.

    `whole_until_s` is in seconds since 1970, 0 while the end was never reached.
    """

    topic: str
    topic_id: str = ""
    positions: Mapping[int, int] = field(default_factory=dict)
    whole_until_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FactBatch:
    """What comes next: statements, and ids that are removed (a text), in their order; and how far that is.

    `made_anew`: all that is held is of another topic; `at_end`: nothing more is there.
    """

    changes: tuple[Statement | str, ...]
    progress: StoreProgress
    made_anew: bool = False
    at_end: bool = False


def distrust(progress: StoreProgress, config: Mapping[str, str] | None, *, now_s: float) -> str:
    """Return why what is held must be read anew, "" if it can go on; `config` is the topic's, None if not known."""
    config = config or {}
    text = config.get("delete.retention.ms", "")
    kept_s = (int(text) if text.isdecimal() else DELETE_RETENTION_MS) / 1000
    if not progress.whole_until_s:
        return ""  # it was never read to its end: what is held is the topic's beginning, and it goes on there
    away_s = now_s - progress.whole_until_s
    if away_s > kept_s:
        return f"it was read to its end {away_s:.0f} s ago, and the topic keeps tombstones for {kept_s:.0f} s"
    return ""
