"""Whether the topics that a worker reads are still there, and still the same ones; looks in, decisions out.

    reading an id --- the same id -------------> reading
                  --- absent for a while ------> absent: its partitions are dropped, others go on
                  --- another id --------------> placed again: `worker.core.topics.topic_history` decides where
    absent        --- any id ------------------> placed again
    placed again  --- made anew, and to stop --> held: said for a while, then the worker ends

Pure: times are monotonic seconds, ids are Kafka's (KIP-516).

>>> guard = TopicGuard({"impressions"})
>>> guard.reads("impressions", "A")
False
>>> guard.look({"impressions": "B"}, now_s=1.0)
Look(again=frozenset({'impressions'}), gone=frozenset())
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

ABSENT_S = 3.0  # a topic that the broker does not know for so long is not there; a new one is unknown for milliseconds


@dataclass(frozen=True, slots=True)
class Look:
    """What follows from one look: topics whose partitions are placed `again`, and topics that are `gone`."""

    again: frozenset[str]
    gone: frozenset[str]


class TopicGuard:
    """One per consumer; `names` are the input topics that are no patterns, and are wanted even if nobody has them."""

    def __init__(self, names: Collection[str]) -> None:
        """Read nothing yet."""
        self._names = frozenset(names)
        self._ids: dict[str, str] = {}  # of the topics that are read
        self._absent: set[str] = set()
        self._left: set[str] = set()  # found by a pattern, given up: whether they are gone is still to be told
        self._unseen_since_s: dict[str, float] = {}
        self._held: dict[str, str] = {}  # topic to the reason
        self._no_match = ""

    @property
    def topics(self) -> frozenset[str]:
        """The topics to look at."""
        return self._names | self._ids.keys() | self._absent | self._left

    def is_away(self, topic: str) -> bool:
        """Return True if a topic keeps the worker from being ready because it is not there."""
        return topic in self._absent

    @property
    def why(self) -> str:
        """Why the worker is not ready, "" if no topic speaks against it."""
        absent = ", ".join(sorted(self._absent))
        told = [*self._held.values(), f"topic {absent} does not exist" if absent else "", self._no_match]
        return "; ".join(filter(None, told))

    def reads(self, topic: str, topic_id: str) -> bool:
        """Note the id of a topic that is read from now on; return True if it was absent or held."""
        was_away = topic in self._absent or topic in self._held
        self._ids[topic] = topic_id
        self._left.discard(topic)
        self._forget(topic)
        return was_away

    def is_absent(self, topic: str) -> None:
        """Note that a topic is not there although the group gave partitions of it."""
        self._ids.pop(topic, None)
        self._absent.add(topic)

    def is_held(self, topic: str, why: str) -> None:
        """Note that a topic was made anew, and that nothing of it is read until a person decides."""
        self._ids.pop(topic, None)
        self._forget(topic)
        self._held[topic] = why

    def is_given_up(self, topic: str) -> None:
        """Note that the group took the last partition of a topic away from this member.

        With the new group protocol that is the first sign of a topic that was deleted.
        """
        self._ids.pop(topic, None)
        if topic not in self._names:
            self._forget(topic)
            self._left.add(topic)

    def no_match(self, why: str) -> None:
        """Note why the patterns match no topic at all, "" if they match one."""
        self._no_match = why

    def look(self, found: Mapping[str, str | None], *, now_s: float) -> Look:
        """Note the id of each topic now, None for one that is not there."""
        again, gone = set(), set()
        for topic, topic_id in found.items():
            if topic_id is None:
                since_s = self._unseen_since_s.setdefault(topic, now_s)
                if now_s - since_s >= ABSENT_S and topic not in self._absent and topic in self.topics:
                    gone.add(topic)
                    self._is_gone(topic)
                continue
            self._unseen_since_s.pop(topic, None)
            if topic in self._absent or self._ids.get(topic, topic_id) != topic_id:
                again.add(topic)
                self._absent.discard(topic)
        return Look(frozenset(again), frozenset(gone))

    def _is_gone(self, topic: str) -> None:
        if topic in self._left:  # told once; a pattern does not wait for it
            self._left.discard(topic)
            self._forget(topic)
        else:
            self.is_absent(topic)

    def _forget(self, topic: str) -> None:
        self._absent.discard(topic)
        self._unseen_since_s.pop(topic, None)
        self._held.pop(topic, None)
