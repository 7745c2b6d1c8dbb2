"""What happened to changes that were to be told, for the metrics of the page."""


class Deliveries:
    """Counts what happened to changes, for the metrics of the page; written by one thread."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failures = 0
        self.pending = 0  # changes that the receiver does not know yet
