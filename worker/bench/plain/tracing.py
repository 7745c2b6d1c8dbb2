"""What traces cost the worker, and what a collector costs that is away or silent: all paired in one run.

    off          no endpoint
    one          1 % of the traces are recorded, and sent
    all          every trace is recorded, and sent
    refused      as `one`, and nothing listens at the endpoint
    silent       as `one`, and who listens there never answers

Records bring no context, so the sampler decides.  The collector is a process of its own that reads and answers, and
keeps nothing.  Besides the rate, each round measures how long the worker takes to stop.

    python -m worker.bench.plain.tracing --bootstrap localhost:9092 --rounds 5 --events 20000 --own-processor

With `--own-processor` the worker has the first processor for itself; the process that sends its spans, the collector
and the bench share the others, and Kafka should (`taskset`).
"""

import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, NamedTuple

import typer

from worker.bench.harness import traffic
from worker.bench.harness.own_processor import Processors, leave_one, own_processor
from worker.bench.harness.processes import interruptible, running
from worker.bench.harness.rounds import Measured, MeasuredInterval, geometric, ratio, turns, verdict
from worker.bench.harness.steady_stretch import Stretch
from worker.bench.harness.topics import new_name, plain_client, topics
from worker.bench.plain.contenders import Run
from worker.bench.plain.outputs import Outputs
from worker.core.errors import Fatal

OFF = "off"
GOALS: Mapping[str, float] = {"one": 0.98, "all": 0.90, "refused": 0.98, "silent": 0.98}  # of the rate of OFF
_SHARES = {"one": "0.01", "all": "1", "refused": "0.01", "silent": "0.01"}


def main(
    bootstrap: Annotated[str, typer.Option(help="Kafka brokers, host:port.")],
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; in each all contenders take a turn.")] = 5,
    events: Annotated[int, typer.Option(min=1_000, help="Events per turn.")] = 20_000,
    *,
    only: Annotated[str, typer.Option(help="Contenders beside `off`, by comma.")] = ",".join(GOALS),
    own: Annotated[bool, typer.Option("--own-processor", help="Give the worker a processor of its own.")] = False,
) -> None:
    """Measure what traces cost, and print a line per turn and a table."""
    contenders = (OFF, *only.split(","))
    if set(contenders) - {OFF, *GOALS}:
        raise typer.BadParameter(f"--only {only}: want some of {', '.join(GOALS)}")
    found: list[Measured] = []
    processors = leave_one() if own else None
    with interruptible(), _endpoints() as endpoints, _loaded(bootstrap, events) as topic:
        for number in range(rounds):
            for contender in turns(contenders, number):
                found.append(_measure(_Stage(bootstrap, topic, events, endpoints, processors), contender, number))
                typer.echo(_line(found[-1]))
    typer.echo(table(found))


def table(found: list[Measured]) -> str:
    """Return the comparison of each contender with the worker without traces, as Markdown."""
    lines = [
        "| traces | rate, of that without | events per CPU second, of those without | goal | time to stop |",
        "| --- | --- | --- | --- | --- |",
    ]
    for contender in dict.fromkeys(one.contender for one in found):
        stops = [one.figures["stop_s"] for one in found if one.contender == contender]
        stop = f"{max(stops):.1f} s at most"
        if contender == OFF:
            lines.append(f"| {contender} | 1 | 1 | | {stop} |")
            continue
        goal = GOALS[contender]
        cells = [
            f"{_interval(share)}: {verdict(share, at_least=goal)}"
            for share in (ratio(found, contender, OFF), _of_cpu(found, contender))
        ]
        lines.append(f"| {contender} | {' | '.join(cells)} | at least {goal:.2f} | {stop} |")
    return "\n".join(lines)


def _of_cpu(found: list[Measured], contender: str) -> MeasuredInterval:
    """Return the events that `contender` answers with a second of CPU, divided by those without traces.

    Other work on the machine takes time from the worker, but hardly changes what an event costs it.
    """
    costs: dict[int, dict[str, float]] = {}
    for one in found:
        costs.setdefault(one.number, {})[one.contender] = one.figures["cpu_s_per_event"]
    return geometric([each[OFF] / each[contender] for each in costs.values() if {OFF, contender} <= each.keys()])


def _interval(share: MeasuredInterval) -> str:
    return f"{share.middle:.3f} ({share.low:.3f} to {share.high:.3f})"


def _line(one: Measured) -> str:
    return (
        f"round {one.number + 1}, {one.contender}: {one.events_per_s:.0f} events/s,"
        f" {1000 * one.figures['cpu_s_per_event']:.2f} ms of CPU per event, stopped in {one.figures['stop_s']:.1f} s"
    )


@contextmanager
def _loaded(bootstrap: str, events: int) -> Iterator[str]:
    """Create an input topic with `events` events for the block."""
    topic = f"{new_name()}-in"
    with topics(plain_client(bootstrap), {topic: traffic.PARTITIONS}):
        traffic.publish(bootstrap, topic, traffic.impressions(events))
        yield topic


class _Stage(NamedTuple):
    """What all turns have in common: an input topic and its number of events among it."""

    bootstrap: str
    topic: str
    events: int
    endpoints: Mapping[str, str]
    processors: Processors | None


def _measure(stage: _Stage, contender: str, number: int) -> Measured:
    bootstrap, name, events, endpoints, processors = stage
    out = f"{name}-{contender}-{number}"
    run = Run(bootstrap, name, out, f"{out}.dlq")
    variables = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": _SHARES[contender],
                 "OTEL_EXPORTER_OTLP_ENDPOINT": endpoints[contender]} if contender != OFF else {}  # fmt: skip
    stretch = Stretch(events * traffic.QUESTIONS_AN_EVENT)
    with (
        topics(plain_client(bootstrap), {run.output: traffic.PARTITIONS, run.dead_letters: 1}),
        closing(Outputs(bootstrap, run.output)) as outputs,
        running(run.worker(), variables) as contending,
        own_processor(contending, processors) if processors else nullcontext(),
    ):
        outputs.follow(stretch, contending)
        began_s = time.monotonic()
        contending.end()
        stop_s = time.monotonic() - began_s
    if not stretch.passed:
        raise Fatal(f"{contender}: {events} events are too few for a rate")
    num = round(stretch.num / traffic.QUESTIONS_AN_EVENT)
    return Measured(contender, number, num, stretch.seconds, {"cpu_s_per_event": stretch.cpu_s / num, "stop_s": stop_s})


@contextmanager
def _endpoints() -> Iterator[Mapping[str, str]]:
    """Give each contender its endpoint: a collector in a process of its own, nobody, or one that never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent, collector() as answering:
        quiet = f"http://127.0.0.1:{silent.getsockname()[1]}"
        yield {"one": answering, "all": answering, "refused": "http://127.0.0.1:1", "silent": quiet}


@contextmanager
def collector() -> Iterator[str]:
    """Run a collector in a process of its own, and give its address; it keeps nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with running([sys.executable, "-m", "worker.bench.plain.tracing", "--collector", str(port)]):
        yield f"http://127.0.0.1:{port}"


class _Sink(BaseHTTPRequestHandler):
    """Reads what is sent, and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    if sys.argv[1:2] == ["--collector"]:
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), _Sink).serve_forever()
    else:
        typer.run(main)
