"""What a scenario expects of every record that it sent, and of the worker's words.  Written down before it is known.

A scenario knows a record's fate from what it did (when the topic was deleted, which settings the worker had), never
from what came out.  One record has one entry; two records may carry the same event, for example when an application
sends its last day again to a topic that was made anew.
"""

from dataclasses import dataclass
from enum import Enum

Key = tuple[str, str, str]  # event id, question, variant


class Fate(Enum):
    """What must become of a record."""

    ANSWERED = "answered"  # each of its questions once, and no dead letter
    DEAD = "dead-lettered"  # one dead letter, and no answer
    EITHER = "answered or dead-lettered"  # exactly one of the two
    MAYBE = "answered or not"  # at most once: its topic went away while it could be read
    NEITHER = "not answered"  # by a decision that the scenario names


@dataclass(frozen=True, slots=True)
class Place:
    """A record's topic, partition and offset; a topic made anew has the same places again."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Return the place as the worker writes it."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One record that was sent."""

    number: str  # of the record within its run; a header carries it
    place: Place
    fate: Fate
    event_id: str = ""  # "" if nobody can read an event out of it
    keys: frozenset[Key] = frozenset()  # of its questions
    occurred_at_us: int | None = None  # what each answer must say; None: not looked at
    detail: str = ""  # a regular expression that the reason and detail of its dead letter hold
    why: str = ""  # for people

    def __str__(self) -> str:
        """Return a record as problems name it."""
        return f"record {self.number} at {self.place}" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True, slots=True)
class Metric:
    """A series of the worker's metrics that must have reached a value, whatever its other labels are."""

    name: str  # without the prefix
    labels: tuple[tuple[str, str], ...] = ()
    least: float = 1.0

    def __str__(self) -> str:
        """Return it as Prometheus would show it."""
        labels = ",".join(f'{name}="{value}"' for name, value in self.labels)
        return f"{self.name}{{{labels}}}" if labels else self.name


@dataclass(frozen=True, slots=True)
class Notice:
    """What one worker process, or one of several, must have said; each part that is None is not asked for."""

    what: str  # for people
    workers: tuple[int, ...]  # processes by their number; one of them is enough
    line: tuple[str, ...] | None = None  # regular expressions; one line of its log holds them all
    severe: bool = True  # that line is a warning or worse; what ends a start may be plain text
    metric: Metric | None = None
    unready: tuple[str, ...] | None = None  # regular expressions; one answer 503 of /readyz holds them all
