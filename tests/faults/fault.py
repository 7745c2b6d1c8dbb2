"""What a test build of the worker is ordered to do, and what it leaves behind."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Point = Literal["begin", "produce", "send_offsets", "commit"]
When = Literal["before", "after"]
Mutant = Literal["release-order", "epoch-check", "in-doubt"]

POINTS: tuple[Point, ...] = ("begin", "produce", "send_offsets", "commit")
WHENS: tuple[When, ...] = ("before", "after")


@dataclass(frozen=True, slots=True)
class Fault:
    """What fails, and when; what the fields mean stands in `faults.build`."""

    point: Point
    when: When
    nth: int = 1
    do: Literal["kill", "hang", "sleep", "wait", "timeout", "refuse"] = "kill"
    seconds: float = 0.0
    marker: str = ""

    def text(self) -> str:
        """Return the value of FAULT that orders it."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Mark:
    """What a process held when its fault came."""

    point: Point
    when: When
    time_s: float  # since 1970
    open_transaction: bool  # begun and not ended, as far as the client has told its caller
    unfinished: int  # records taken on that the engine has not answered; those of the transaction are not among them
    uncommitted: int  # records taken on that the broker has not committed
    taken_on: int  # records, since the process started
    partitions: tuple[int, ...]  # owned, of the input

    def text(self) -> str:
        """Return the line of a marker file."""
        return json.dumps(asdict(self)) + "\n"


def read_mark(path: Path) -> Mark | None:
    """Read the mark that a process left; None if its fault has not come."""
    try:
        line = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    if not line.endswith("\n"):  # it is being written
        return None
    found = json.loads(line)
    return Mark(**found | {"partitions": tuple(found["partitions"])})
