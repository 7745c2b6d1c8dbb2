"""Metrics with a label whose values are all known at the start."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter


def counter_of(registry: CollectorRegistry, name: str, text: str, label: str, values: Iterable[str]) -> Counter:
    """Return a counter with a series at 0 for each of its label's values."""
    counter = Counter(name, text, [label], registry=registry)
    for value in values:
        counter.labels(value)
    return counter
