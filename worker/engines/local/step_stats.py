"""Reports vLLM's running and waiting counts after each scheduler step."""

from collections.abc import Callable
from typing import Any


def teller(tell: Callable[[int, int], None]) -> Callable[[Any, int], Any]:
    """Return a factory of stat loggers for AsyncLLM; `tell(running, waiting)` gets the sums over its engines."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    running: dict[int, int] = {}
    waiting: dict[int, int] = {}

    class Teller(StatLoggerBase):  # type: ignore[misc]
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
            """Store no state."""

        def record(self, scheduler_stats: Any, *_: Any, engine_idx: int = 0, **__: Any) -> None:
            """Pass on the counts of one step of one engine."""
            if scheduler_stats is not None:
                running[engine_idx] = scheduler_stats.num_running_reqs
                waiting[engine_idx] = scheduler_stats.num_waiting_reqs
                tell(sum(running.values()), sum(waiting.values()))

        def log_engine_initialized(self) -> None:
            """Do nothing."""

    return Teller
