"""Metrics of the items and users that events are joined with."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from worker.core.joining.facts import FactKind
from worker.core.steering.followed import Taken
from worker.pipeline.joins import JoinResult


class FactsMetrics:
    """A part of `Telemetry`."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        joins = Counter(
            prefix + "joins_total", "Items and users that events were joined with, by result", ["kind", "result"],
            registry=registry,
        )  # fmt: skip
        self._joins = {(kind, result): joins.labels(kind, result) for kind in FactKind for result in JoinResult}
        self._joining = Gauge(prefix + "joins_waiting", "Records that wait for an item", registry=registry)
        records = Counter(
            prefix + "facts_records_total", "Records of the topics of items and users, by result", ["kind", "result"],
            registry=registry,
        )  # fmt: skip
        self._facts_records = {(kind, taken): records.labels(kind, taken) for kind in FactKind for taken in Taken}
        held = Gauge(prefix + "facts_held", "Items and users in the store", ["kind"], registry=registry)
        self._facts_held = {kind: held.labels(kind) for kind in FactKind}
        lag = Gauge(
            prefix + "facts_lag_records", "Records of the topics of items and users that are not read yet", ["kind"],
            registry=registry,
        )  # fmt: skip
        self._lag_of = {kind: lag.labels(kind) for kind in FactKind}
        self._followed_kind = Gauge(
            prefix + "facts_followed", "1 while the topic of items or users can be read", ["kind"], registry=registry
        )

    def joined(self, kind: FactKind, result: JoinResult, number: int = 1) -> None:
        """Count items or users that were looked up."""
        self._joins[kind, result].inc(number)

    def joining(self, num_waiting: int) -> None:
        """Set how many records wait for an item."""
        self._joining.set(num_waiting)

    def facts_taken(self, kind: FactKind, taken: Taken, number: int) -> None:
        """Count records of a topic, or rows of a file."""
        self._facts_records[kind, taken].inc(number)

    def facts_held(self, kind: FactKind, number: int) -> None:
        """Set how many items or users are held."""
        self._facts_held[kind].set(number)

    def facts_lag(self, kind: FactKind, number: int) -> None:
        """Set how many records of the topic are not read yet."""
        self._lag_of[kind].set(number)

    def facts_followed(self, kind: FactKind, *, is_read: bool) -> None:
        """Set whether the newest records are known; the series of a kind is there once its topic is followed."""
        self._followed_kind.labels(kind).set(is_read)
