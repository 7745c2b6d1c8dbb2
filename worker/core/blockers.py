"""What can keep a worker from being ready: a closed set, which `/readyz` and the metrics share.

>>> told({Blocker.GROUP: "joining the group", Blocker.ENGINE: "", Blocker.SCHEMA: "the registry is away"})
'joining the group; the registry is away'
"""

from collections.abc import Mapping
from enum import StrEnum


class Blocker(StrEnum):
    """One kind of reason; a label of the metrics."""

    ENGINE = "engine"
    """The engine loads, is restarted, cannot be reached, or is asked suspect records one at a time."""

    START = "start"
    """At the start, Kafka, a topic, a right or the registry is missing."""

    GROUP = "group"
    """The worker is not a member of its group."""

    POSITIONS = "positions"
    """Kafka does not say where a newly assigned partition starts."""

    TOPICS = "topics"
    """An input topic was deleted or recreated, or no topic matches."""

    TRANSACTIONS = "transactions"
    """Nothing is published: Kafka accepts no transaction, or the client is stuck."""

    UNREADABLE = "unreadable"
    """A partition waits at a batch that the client cannot read."""

    BREAKER = "breaker"
    """Nearly nothing of a source can be decoded; its records are held."""

    SCHEMA = "schema"
    """Records wait for a writer's schema."""

    FACTS = "facts"
    """The items or users that events are joined with are being read, or events wait for items that cannot be read."""

    REFUSALS = "refusals"
    """A partition waits: Kafka refuses its messages, and their dead letters."""

    STALLED = "stalled"
    """No record finished for too long although nothing blocks the worker."""

    STOPPING = "stopping"
    """The worker shuts down."""


Blockers = Mapping[Blocker, str]  # why, for people; an empty text blocks nothing


def both(first: Blockers, second: Blockers) -> Blockers:
    """Return the reasons of two parts, those of the first in front; texts of one kind are joined.

    >>> told(both({Blocker.GROUP: "joining the group"}, {Blocker.GROUP: "Kafka is unavailable", Blocker.ENGINE: ""}))
    'joining the group; Kafka is unavailable'
    """
    kinds = dict.fromkeys((*first, *second))
    return {kind: "; ".join(filter(None, (first.get(kind), second.get(kind)))) for kind in kinds}


def told(blockers: Blockers) -> str:
    """Return all reasons as one text, "" if there are none."""
    return "; ".join(filter(None, blockers.values()))
