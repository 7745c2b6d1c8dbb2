"""The half of the bench without an LLM: what the worker costs beside simpler loops that write the same bytes.

Contenders take turns on one machine and one Kafka, each a process of its own, in an order that rotates by the round.
The rate is that of committed outputs as an outside reader sees them, from the first 10 % to the last 5 %: start-up does
not count.  Before anything is measured, all must have written the same responses, times set aside.
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
_LOOK_S = 60.0  # for an interpreter to import two frameworks
_PEERS = ("quix", "faststream")

Say = Callable[[str], None]


def run_plain(bootstrap: str, found: list[Measured], *, events: int, rounds: int, peers: Path | None, say: Say) -> None:
    """Measure every contender in every round and add to `found` as it goes.

    `peers` is the interpreter that has the other frameworks.  Raises `Fatal` if contenders write different responses,
    if one ends, or if one that promises exactly once leaves an answer out or gives it twice.
    """
    peers = peers.absolute() if peers else None  # contenders run in folders of their own
    contenders = ("bare", *_frameworks(peers, say), WORKER)
    bench = _Bench(bootstrap, {"bare": Path(sys.executable)} | dict.fromkeys(_PEERS, peers or Path()))
    with interruptible():
        with bench.loaded(NUM_COMPARED):
            compare({contender: bench.answers(contender) for contender in contenders})
            say(f"the same bytes from {', '.join(contenders)}, times set aside: {NUM_COMPARED} events' responses")
        with bench.loaded(events):
            order = [(number, one) for number in range(rounds) for one in turns(contenders, number)]
            found.extend(bench.measure(contender, number, say) for number, contender in order)


def profile_plain(bootstrap: str, *, events: int) -> tuple[list[str], float]:
    """Return stacks of the worker while it answers so many events, as py-spy samples them, and its CPU s an event."""
    bench = _Bench(bootstrap, {})
    with interruptible(), bench.loaded(events):
        return bench.stacks(WORKER)


class _Bench:
    """One Kafka, and topics on it with names of their own."""

    def __init__(self, bootstrap: str, pythons: Mapping[str, Path]) -> None:
        self._bootstrap, self._pythons = bootstrap, pythons
        self._name = new_name()
        self._topic, self._expected = "", frozenset[Key]()

    @contextmanager
    def loaded(self, events: int) -> Iterator[None]:
        """Have so many events on an input topic."""
        self._topic = f"{self._name}-{events}-in"
        with topics(plain_client(self._bootstrap), {self._topic: traffic.PARTITIONS}):
            self._expected = traffic.publish(self._bootstrap, self._topic, traffic.impressions(events))
            yield

    def answers(self, contender: str) -> Mapping[Key, bytes]:
        """Return everything that a contender answers, comparable."""
        with self._running(contender, "compared") as (outputs, contending):
            outputs.follow(Stretch(len(self._expected)), contending)
            contending.end()
            return outputs.comparable()

    def measure(self, contender: str, number: int, say: Say) -> Measured:
        """Run a contender until it has answered everything.  Raises `Fatal` if it answers too little to measure."""
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
        """Sample a contender from its first answer to its last; return its CPU seconds an event too."""
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
        raise Fatal(f"{contender}: {stretch.total} responses came at once: too few events to measure a rate")


def require_promise(contender: str, count: Count) -> None:
    """Raise `Fatal` where exactly once was not: duplicates would stand in for what is missing in the rate."""
    if PLAIN[contender] == "exactly once" and (count.missing or count.duplicates):
        seen = f"{count.missing} answers are missing and {count.duplicates} came twice"
        raise Fatal(f"{contender}: {seen}, want each exactly once; no figure holds")


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
        f" {1000 * figures['cpu_s_per_event']:.2f} ms of CPU an event, {figures['peak_bytes'] / 2**20:.0f} MiB,"
        f" {figures['missing']:.0f} missing, {figures['duplicates']:.0f} twice"
    )


def _frameworks(peers: Path | None, say: Say) -> tuple[str, ...]:
    """Return the other frameworks if there is an interpreter that has them.  Raises `Fatal` if it lacks any."""
    if peers is None:
        say("no --peers: Quix Streams and FastStream are left out; `make bench` brings them")
        return ()
    wanted = "import worker.bench.plain.handler, quixstreams, faststream.confluent"
    done = subprocess.run([peers, "-c", wanted], capture_output=True, text=True, timeout=_LOOK_S, check=False)
    if done.returncode:
        raise Fatal(f"--peers {peers}: {done.stderr.strip()[-300:]}; `make bench` makes one that has what it takes")
    return _PEERS
