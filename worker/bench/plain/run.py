"""The part of the bench without an LLM: the cost of the worker compared with simpler loops that write the same bytes.

Contenders take turns on one machine and one Kafka, each in its own process; the order rotates by round.  The rate is
that of committed outputs as an outside reader sees them, without the first 10 % (start-up) and the last 5 %.  Before
anything is measured, all contenders must have written the same responses, except for times.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from worker.bench.harness import traffic
from worker.bench.harness.processes import Contending, interruptible, running
from worker.bench.harness.profile import sampling
from worker.bench.harness.rounds import Measured, turns
from worker.bench.harness.steady_stretch import Stretch
from worker.bench.harness.topics import new_name, plain_client, topics
from worker.bench.plain.contenders import PLAIN, WORKER, Run
from worker.bench.plain.outputs import Outputs, compare
from worker.core.errors import Fatal
from worker.demo.independent_count import Count, Key

NUM_COMPARED = 64  # events that all contenders answer before anything is measured
_LOOK_S = 60.0  # for importing two frameworks
_PEERS = ("quix", "faststream")

Say = Callable[[str], None]


def run_plain(bootstrap: str, found: list[Measured], *, events: int, rounds: int, peers: Path | None, say: Say) -> None:
    """Measure every contender in every round; append each result to `found`.

    `peers` is the interpreter that has the other frameworks.  Raises `Fatal` if contenders write different responses,
    if one ends, or if one that guarantees exactly once has missing or duplicate responses.
    """
    peers = peers.absolute() if peers else None  # contenders run in temporary folders
    contenders = ("bare", *_frameworks(peers, say), WORKER)
    bench = _Bench(bootstrap, {"bare": Path(sys.executable)} | dict.fromkeys(_PEERS, peers or Path()))
    with interruptible():
        with bench.loaded(NUM_COMPARED):
            compare({contender: bench.answers(contender) for contender in contenders})
            say(f"same bytes from {', '.join(contenders)}, except for times: the responses of {NUM_COMPARED} events")
        with bench.loaded(events):
            order = [(number, one) for number in range(rounds) for one in turns(contenders, number)]
            found.extend(bench.measure(contender, number, say) for number, contender in order)


def profile_plain(bootstrap: str, *, events: int) -> tuple[list[str], float]:
    """Return py-spy's stacks of the worker while it answers `events` events, and its CPU seconds per event."""
    bench = _Bench(bootstrap, {})
    with interruptible(), bench.loaded(events):
        return bench.stacks(WORKER)


class _Bench:
    """One Kafka, with uniquely named topics."""

    def __init__(self, bootstrap: str, pythons: Mapping[str, Path]) -> None:
        self._bootstrap, self._pythons = bootstrap, pythons
        self._name = new_name()
        self._topic, self._expected = "", frozenset[Key]()

    @contextmanager
    def loaded(self, events: int) -> Iterator[None]:
        """Create an input topic with `events` events for the block."""
        self._topic = f"{self._name}-{events}-in"
        with topics(plain_client(self._bootstrap), {self._topic: traffic.PARTITIONS}):
            self._expected = traffic.publish(self._bootstrap, self._topic, traffic.impressions(events))
            yield

    def answers(self, contender: str) -> Mapping[Key, bytes]:
        """Return all responses of a contender, in comparable form."""
        with self._running(contender, "compared") as (outputs, contending):
            outputs.follow(Stretch(len(self._expected)), contending)
            contending.end()
            return outputs.comparable()

    def measure(self, contender: str, number: int, say: Say) -> Measured:
        """Run a contender until it has answered all events.  Raises `Fatal` if these are too few for a rate."""
        stretch = Stretch(len(self._expected))
        with self._running(contender, str(number)) as (outputs, contending):
            outputs.follow(stretch, contending)
            peak_bytes = contending.peak_bytes()
            contending.end()
            count = outputs.count(self._expected)
        _require_rate(contender, stretch)
        require_promise(contender, count)
        found = _measured(contender, number, stretch, count, peak_bytes)
        say(_line(found))
        return found

    def stacks(self, contender: str) -> tuple[list[str], float]:
        """Sample a contender from its first response to its last; return the stacks, and its CPU seconds per event."""
        stretch = Stretch(len(self._expected))
        with self._running(contender, "profile") as (outputs, contending):
            outputs.follow(Stretch(1), contending)
            with sampling(contending.process.pid) as stacks:
                outputs.follow(stretch, contending)
            _require_rate(contender, stretch)
            return stacks, stretch.cpu_s * traffic.QUESTIONS_AN_EVENT / stretch.num

    @contextmanager
    def _running(self, contender: str, suffix: str) -> Iterator[tuple[Outputs, Contending]]:
        name = f"{self._name}-{contender}-{suffix}"
        run = Run(self._bootstrap, self._topic, name, f"{name}.dlq")
        command = run.worker() if contender == WORKER else run.peer(contender, self._pythons[contender])
        with (
            topics(plain_client(self._bootstrap), {run.output: traffic.PARTITIONS, run.dead_letters: 1}),
            closing(Outputs(self._bootstrap, run.output)) as outputs,
            running(command) as contending,
        ):
            yield outputs, contending


def _require_rate(contender: str, stretch: Stretch) -> None:
    if not stretch.passed:
        raise Fatal(
            f"{contender}: {stretch.total} responses arrived at the same time; want more events to measure a rate"
        )


def require_promise(contender: str, count: Count) -> None:
    """Raise `Fatal` if exactly once was broken: in the rate, duplicates would hide missing responses."""
    if PLAIN[contender] == "exactly once" and (count.missing or count.duplicates):
        seen = f"{count.missing} responses are missing and {count.duplicates} are duplicates"
        raise Fatal(f"{contender}: {seen}, want each exactly once; the figures are not valid")


def _measured(contender: str, number: int, stretch: Stretch, count: Count, peak_bytes: int) -> Measured:
    events = round(stretch.num / traffic.QUESTIONS_AN_EVENT)
    figures = {
        "cpu_s_per_event": stretch.cpu_s / events,
        "peak_bytes": peak_bytes,
        "missing": count.missing,
        "duplicates": count.duplicates,
    }
    return Measured(contender, number, events, stretch.seconds, figures)


def _line(found: Measured) -> str:
    figures = found.figures
    return (
        f"round {found.number + 1}, {found.contender}: {found.events_per_s:.0f} events/s,"
        f" {1000 * figures['cpu_s_per_event']:.2f} ms of CPU per event, {figures['peak_bytes'] / 2**20:.0f} MiB,"
        f" {figures['missing']:.0f} missing, {figures['duplicates']:.0f} duplicates"
    )


def _frameworks(peers: Path | None, say: Say) -> tuple[str, ...]:
    """Return the other frameworks; () without an interpreter for them.  Raises `Fatal` if it lacks one of them."""
    if peers is None:
        say("no --peers: Quix Streams and FastStream are left out; `make bench` installs them")
        return ()
    wanted = "import worker.bench.plain.handler, quixstreams, faststream.confluent"
    done = subprocess.run([peers, "-c", wanted], capture_output=True, text=True, timeout=_LOOK_S, check=False)
    if done.returncode:
        raise Fatal(f"--peers {peers}: {done.stderr.strip()[-300:]}; `make bench` creates a suitable environment")
    return _PEERS
