"""What the page needs from outside, as one Protocol: the page knows neither Kafka nor SQLite."""

from typing import Protocol

from worker.experiment.readout import Report


class FigureSource(Protocol):
    """Where the figures come from; asked from one thread."""

    def report(self) -> Report:
        """Return the figures of now; cheap to call again while nothing changed."""
        ...

    def version(self) -> int:
        """Return a number that grows with every change."""
        ...
