"""Whether the worker is ready, and what holds it up: what `/readyz` says, as metrics."""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.core.blockers import Blocker, Blockers


class ReadinessMetrics(Collector):
    """Shows what `blockers` returns at that moment, in the thread that asks."""

    def __init__(self, prefix: str, blockers: Callable[[], Blockers]) -> None:
        self._prefix, self._blockers = prefix, blockers

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield both families, from one look."""
        found = {blocker for blocker, why in self._blockers().items() if why}
        yield GaugeMetricFamily(self._prefix + "ready", "1 while `/readyz` answers 200", value=not found)
        text = "1 while this is a reason why the worker is not ready"
        held_up = GaugeMetricFamily(self._prefix + "held_up", text, labels=["reason"])
        for blocker in Blocker:
            held_up.add_metric([blocker], blocker in found)
        yield held_up
