"""Metrics of records: how many came, what became of them, and what waits."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge

from worker.core.delivery.handover_messages import TopicNews
from worker.core.records import REFUSALS, Reason
from worker.core.simulation.sampling import Skip
from worker.runtime.metrics.labelled import counter_of


class RecordMetrics:
    """A part of `Telemetry`; every series is there at 0 from the start."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        self._consumed = counter(prefix + "records_consumed_total", "Records received")
        self._stale = counter(
            prefix + "records_stale_total", "Records and results dropped because their partition was revoked"
        )
        self._skipped = counter_of(
            registry, prefix + "records_skipped_total", "Records skipped, by reason", "reason", Skip
        )
        self._dead = counter_of(
            registry, prefix + "dead_letters_total", "Records dead-lettered, by reason", "reason", Reason
        )
        self._refused = counter_of(
            registry, prefix + "refusals_total", "Records whose messages Kafka refused, by reason", "reason", REFUSALS
        )
        self._unreadable = counter(prefix + "unreadable_batches_total", "Batches that the Kafka client could not read")
        self._unreadable_now = gauge(
            prefix + "unreadable_partitions", "Partitions paused at a batch that cannot be read"
        )
        self._in_flight = gauge(prefix + "in_flight_records", "Records received and not yet committed")
        self._assigned = gauge(prefix + "assigned_partitions", "Partitions assigned to this worker")
        self._paused = gauge(prefix + "paused_partitions", "Partitions paused because the window is full")
        self._head_s = gauge(prefix + "head_of_line_seconds", "Time since the oldest record in flight was received")
        self._breaker = gauge(prefix + "breaker_open", "1 while the breaker holds dead letters back")
        self._topic_changes = counter(
            prefix + "topic_changes_total",
            "Input topics recreated or deleted while they were read",
            ["topic", "change"],
        )
        self._topic_held = gauge(prefix + "topic_held", "1 while this input topic makes the worker unready", ["topic"])
        held = gauge(prefix + "held_records", "Records held because they cannot be decoded now, by reason", ["why"])
        self._held, self._waiting = held.labels("breaker"), held.labels("schema")
        self._forgotten = gauge(
            prefix + "user_days_forgotten", "Daily counts of users dropped for memory before the day was over"
        )

    def consumed(self) -> None:
        """Count a record received: it is in flight from now on."""
        self._consumed.inc()

    def stale(self) -> None:
        """Count a record or result that came after its assignment had ended."""
        self._stale.inc()

    def skipped(self, reason: Skip) -> None:
        """Count a record that is not simulated."""
        self._skipped.labels(reason).inc()

    def dead_letter(self, reason: Reason) -> None:
        """Count a record that becomes a dead letter."""
        self._dead.labels(reason).inc()

    def refused(self, reason: Reason) -> None:
        """Count a record of which Kafka refuses a message."""
        self._refused.labels(reason).inc()

    def unreadable(self, *, found: int, waiting: int) -> None:
        """Count batches that cannot be read, and set how many hold a partition now."""
        self._unreadable.inc(found)
        self._unreadable_now.set(waiting)

    def state(self, *, in_flight: int, assigned: int, paused: int, head_s: float) -> None:
        """Set the gauges of the loop; `head_s` is in seconds."""
        self._in_flight.set(in_flight)
        self._assigned.set(assigned)
        self._paused.set(paused)
        self._head_s.set(head_s)

    def breaker(self, *, is_open: bool) -> None:
        """Set whether dead letters are held."""
        self._breaker.set(is_open)

    def topic(self, news: TopicNews) -> None:
        """Count a topic that was made anew or deleted, and set whether it keeps the worker from being ready."""
        if news.change is not None:
            self._topic_changes.labels(news.topic, news.change).inc()
        self._topic_held.labels(news.topic).set(news.is_held)

    def held(self, by_breaker: int, *, waiting: int) -> None:
        """Set how many records the breaker holds, and how many wait for their writer's schema."""
        self._held.set(by_breaker)
        self._waiting.set(waiting)

    def forgotten(self, num_user_days: int) -> None:
        """Set how many users' daily counts were dropped before their day was over."""
        self._forgotten.set(num_user_days)
