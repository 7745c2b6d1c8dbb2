"""A clock for tests, which stands in for the module `time`."""


class Clock:
    """Time that goes on only where somebody sleeps."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
