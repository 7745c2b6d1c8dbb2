"""Where a partition starts, given what is known of its topic: a topic is its id, not its name.

A topic that is deleted and made again has the same name, other records and another id (KIP-516).  Kafka deletes the
group's offsets together with the topic, so the id stands in two places: beside each committed offset, and in the
group's memory, which is kept apart from the topic (`worker.kafka.group_memory`).

    committed offset   its id        memory's id          the partition starts at
    yes                the same, -   any                  the committed offset
    yes                another       any                  nowhere: the topic was made anew
    no                 -             another              nowhere: the topic was made anew
    no                 -             the same             the first start of the group, if it covers this partition;
                                                          else the partition was born later: its beginning
    no                 -             none                 its first start if it has one (a memory may be full), else
                                                          `start_from` if the group starts here for the first time;
                                                          else the topic was born later: its beginning

A committed offset without an id is the word of a person (Kafka's own tools write none) or of an older version.

>>> place(TopicFacts("B"), committed=Commit(7, "A"), first_start=None)
<Place.MADE_ANEW: 'made anew'>
>>> place(TopicFacts("A", known_id="A"), committed=None, first_start=40)
<Place.FIRST_START: 'first start'>
>>> place(TopicFacts("A", known_id="A"), committed=None, first_start=None)
<Place.BEGINNING: 'beginning'>
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from worker.core.delivery.offset_metadata import content_of, text_of


class TopicChange(StrEnum):
    """What can happen to a topic under a reader; a label of a metric."""

    MADE_ANEW = "made_anew"
    DELETED = "deleted"
    POSITION_GONE = "position_gone"  # the same topic, without the records at the committed offset


class Place(StrEnum):
    """Where a partition starts."""

    COMMITTED = "committed"
    FIRST_START = "first start"
    START_FROM = "start_from"
    BEGINNING = "beginning"
    MADE_ANEW = "made anew"  # nowhere, until `on_data_loss` or a person decides


@dataclass(frozen=True, slots=True)
class Commit:
    """A committed offset and the id of the topic that it belongs to, "" if nobody wrote one."""

    offset: int
    topic_id: str = ""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What is known of one topic.

    `has_commits`: some partition of it has a committed offset.  `was_committed`: some had, as the memory says.
    `born_later`: the group has started before with these very input topics, and this one was not among them.
    """

    topic_id: str
    known_id: str = ""
    has_commits: bool = False
    was_committed: bool = False
    born_later: bool = False


def place(topic: TopicFacts, *, committed: Commit | None, first_start: int | None) -> Place:
    """Return where a partition starts; `first_start` is the offset that the group's first start gave it, if any."""
    if committed is not None:
        return Place.COMMITTED if committed.topic_id in ("", topic.topic_id) else Place.MADE_ANEW
    if topic.known_id and topic.known_id != topic.topic_id:
        return Place.MADE_ANEW
    if topic.known_id and topic.was_committed and not topic.has_commits:
        return Place.START_FROM  # somebody deleted the group's offsets, or they expired: the group starts anew
    if first_start is not None:
        return Place.FIRST_START
    return Place.BEGINNING if topic.known_id or topic.has_commits or topic.born_later else Place.START_FROM


# -- the group's memory, as text


@dataclass(frozen=True, slots=True)
class KnownTopic:
    """What the group's memory holds of one topic."""

    topic_id: str
    was_committed: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """The topics that a group has read, by name, and digests of the `input_topics` that it was started with."""

    topics: Mapping[str, KnownTopic] = field(default_factory=dict)
    inputs: str = ""  # by comma

    def encode(self) -> str:
        """Return it as ASCII text; "" for an empty one.

        >>> Memory({"a": KnownTopic("x", True)}, "d").encode()
        '{"mirrorstream":1,"topics":{"a":["x",1]},"inputs":"d"}'
        """
        if not self.topics and not self.inputs:
            return ""
        topics = {name: [one.topic_id, int(one.was_committed)] for name, one in self.topics.items()}
        return text_of({"topics": topics, "inputs": self.inputs})

    @classmethod
    def decode(cls, text: str) -> "Memory":
        """Read it; whatever is not one of ours holds nothing."""
        content = content_of(text)
        try:
            topics = {
                str(name): KnownTopic(str(topic_id), bool(was_committed))
                for name, (topic_id, was_committed) in content["topics"].items()
            }
            return cls(topics, str(content["inputs"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls()


def pack(memory: Memory, *, max_chars: int, num_parts: int) -> tuple[list[str], list[str]]:
    """Divide a memory into `num_parts` texts of at most `max_chars`, "" for none; return them, and the topics left out.

    >>> parts, left_out = pack(Memory({"a": KnownTopic("x"), "b": KnownTopic("y")}, "d"), max_chars=60, num_parts=2)
    >>> merged(parts) == Memory({"a": KnownTopic("x"), "b": KnownTopic("y")}, "d"), left_out
    (True, [])
    """
    parts: list[dict[str, KnownTopic]] = [{} for _ in range(num_parts)]
    left_out, at = [], 0
    for name, one in memory.topics.items():
        while (
            at < num_parts and len(Memory({**parts[at], name: one}, "" if at else memory.inputs).encode()) > max_chars
        ):
            at += 1
        if at == num_parts:
            left_out.append(name)
        else:
            parts[at][name] = one
    return [Memory(part, "" if at else memory.inputs).encode() for at, part in enumerate(parts)], left_out


def merged(parts: list[str]) -> Memory:
    """Return the memory that several texts hold together."""
    found = [Memory.decode(part) for part in parts]
    topics = {name: one for part in found for name, one in part.topics.items()}
    return Memory(topics, next((part.inputs for part in found if part.inputs), ""))
