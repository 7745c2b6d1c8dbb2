"""Whether records finish: a leaking count, or a task that nobody wakes, stops a worker without an error.

That has happened to others (parallel-consumer#857).

Records are in flight, nothing blocks the worker, and none was finished for longer than deadlines can explain:

>>> watchdog = Watchdog(patience_s=100.0)
>>> watchdog.check(busy=True, reason="", now_s=0.0); watchdog.check(busy=True, reason="", now_s=99.0); watchdog.why
''
>>> watchdog.check(busy=True, reason="", now_s=101.0); watchdog.why
'no record finished for 101 s although nothing blocks the worker'
>>> watchdog.check(busy=True, reason="Kafka accepts no transaction", now_s=102.0); watchdog.why
''
"""

PATIENCE_S = 60.0  # beyond all deadlines of a question, until a worker that finishes nothing is taken for broken


class Watchdog:
    """Raises an alarm in `why` when no record has finished for `patience_s`, seconds; "" while records finish."""

    def __init__(self, patience_s: float) -> None:
        self.why = ""
        self._patience_s = patience_s
        self._moved_s: float | None = None

    def record_finished(self, now_s: float) -> None:
        """Note that a record was finished at `now_s`, monotonic seconds."""
        self._moved_s = now_s

    def check(self, *, busy: bool, reason: str, now_s: float) -> None:
        """Compare the time; `busy` if records are in flight, `reason` is what holds them up, "" if nothing does."""
        if self._moved_s is None or not busy or reason not in {"", self.why}:
            self._moved_s = now_s
        idle_s = now_s - self._moved_s
        stalled = idle_s > self._patience_s
        self.why = f"no record finished for {idle_s:.0f} s although nothing blocks the worker" if stalled else ""
