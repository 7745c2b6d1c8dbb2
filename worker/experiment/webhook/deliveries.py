"""What happened to what was to be told outside, for the metrics of the page."""

from dataclasses import dataclass


class Deliveries:
    """Counts what happened to what was to be told; written by one thread."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failures = 0
        self.pending = 0  # what the receiver does not know yet


@dataclass(frozen=True, slots=True)
class Outbound:
    """The counts of each way out; None where it is not used."""

    webhook: Deliveries | None = None
    readouts: Deliveries | None = None
