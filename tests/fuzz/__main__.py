"""Play many inputs and measure each: `python -m tests.fuzz --bytes 1000000 --events 100000`.

Each of the wire formats gets as many, or those that are named (`--form json`).  Prints one line of JSON for each: how
many had which outcome, the longest step of the event loop and the slowest input, CPU seconds, and how much the peak of
memory rose while inputs were played, MiB.  Ends with 1 if a step took more than `MAX_STEP_S` three times in a row, or
the memory rose by more than `MAX_MIB`; an input that is neither answered nor dead-lettered ends it with its traceback,
and its bytes in hexadecimal.
"""

import argparse
import gc
import json
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from tests.fuzz.chain import Chain, Played
from tests.fuzz.forms import FORMS, Form, changed_events, valid_messages
from tests.fuzz.mutations import byte_strings, events, messages
from tests.support.patience import cpu_slowness
from worker.core.codec import avro_schemas
from worker.core.errors import Poison

MAX_STEP_S = 0.050  # of the event loop, CPU, on a quiet machine
MAX_MIB = 64
TRIES = 3  # of an input that was slow: what runs beside it is counted too


@dataclass(slots=True)
class Found:
    """What came of one kind of input."""

    outcomes: Counter[str] = field(default_factory=Counter)
    longest_step_s: float = 0.0
    slowest_s: float = 0.0
    risen_mib: float = 0.0  # of the process' peak, while inputs were played, not while they were made

    def add(self, play: Callable[[], Played]) -> None:
        """Play one input and count it; one that was slow is played again, and its fastest time counts."""
        before_mib = peak_mib()
        played = play()
        self.risen_mib += peak_mib() - before_mib
        for _ in range(TRIES - 1):
            if played.longest_s <= MAX_STEP_S:
                break
            again = play()
            played = min(played, again, key=lambda one: one.longest_s)
        self.outcomes[played.outcome] += 1
        self.longest_step_s = max(self.longest_step_s, played.longest_s)
        self.slowest_s = max(self.slowest_s, played.total_s)

    def told(self) -> dict[str, Any]:
        """Return this as JSON has it."""
        return {
            "inputs": self.outcomes.total(),
            "outcomes": dict(self.outcomes.most_common()),
            "longest_step_s": round(self.longest_step_s, 4),
            "slowest_s": round(self.slowest_s, 4),
        }


def play_bytes(chain: Chain, chance: Random, number: int, form: Form | None = None) -> Found:
    """Play mutated byte strings; `form` is None for Avro."""
    found = Found()
    valid = messages if form is None else partial(valid_messages, form)
    for data in byte_strings(chance, number, valid):
        with _named(data):
            found.add(lambda data=data: chain.play(data))  # type: ignore[misc]
    return found


def play_events(chain: Chain, chance: Random, number: int, form: Form | None = None) -> Found:
    """Play events of another structure; a schema that is refused is an outcome, too."""
    found = Found()
    for value in changed_events(form, chance, number) if form is not None else ():
        with _named(value):
            found.add(lambda value=value: chain.play(value))  # type: ignore[misc]
    if form is not None:
        return found
    for text, payload in events(chance, number):
        framed = b"\0\0\0\0\1" + payload
        with _named(text.encode() + b"\n" + framed):
            try:
                schema = avro_schemas.writer_schema(text)
            except Poison as poison:
                found.outcomes[poison.reason] += 1
                continue
            found.add(lambda framed=framed, schema=schema: chain.play(framed, schema))  # type: ignore[misc]
    return found


@contextmanager
def _named(data: bytes) -> Iterator[None]:
    """Say which input it was, whatever it raises."""
    try:
        yield
    except Exception as error:
        error.add_note(f"input: {data.hex()}")
        raise


def peak_mib() -> float:
    """Return the most memory that this process has had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Play as asked; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--bytes", type=int, default=100_000, help="mutated byte strings (default: %(default)s)")
    parser.add_argument("--events", type=int, default=10_000, help="mutated events (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations (default: %(default)s)")
    parser.add_argument("--form", choices=("avro", *FORMS), action="append", help="wire format (default: each)")
    asked = parser.parse_args()
    return max(_played(name, asked) for name in asked.form or ("avro", *FORMS))


def _played(name: str, asked: argparse.Namespace) -> int:
    """Play one wire format; return 1 if it was slow or large."""
    form = FORMS.get(name)
    chain = Chain(form.reader if form else None)
    play_bytes(chain, Random(0), 2_000, form)  # fills the caches
    play_events(chain, Random(0), 500, form)
    gc.freeze()
    found = {
        "bytes": play_bytes(chain, Random(asked.seed), asked.bytes, form),
        "events": play_events(chain, Random(asked.seed), asked.events, form),
    }
    risen_mib = sum(one.risen_mib for one in found.values())
    told = {kind: one.told() for kind, one in found.items()}
    print(json.dumps({"form": name, **told, "risen_mib": round(risen_mib, 1)}), flush=True)
    slow = max(one.longest_step_s for one in found.values()) > MAX_STEP_S * cpu_slowness()
    return int(slow or risen_mib > MAX_MIB)


if __name__ == "__main__":
    raise SystemExit(main())
