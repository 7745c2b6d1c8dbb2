"""`mirrorstream demo`: a broker, generated users and films, a worker, and what comes out, on one machine."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.core.codec import avro_schemas, framing, impression as codec
from worker.core.codec.avro_encoder import Encoder
from worker.core.codec.avro_schemas import schema_text
from worker.core.errors import Fatal
from worker.core.records import Impression, Message
from worker.demo import scenes
from worker.demo.broker import embedded_broker
from worker.demo.independent_count import QUESTIONS, Count, Reader
from worker.demo.page import hold, shown
from worker.experiment.report import assemble
from worker.experiment.report.terminal import render
from worker.experiment.store.answers import Answer, read
from worker.experiment.store.database import State
from worker.kafka import admin
from worker.settings import Settings, load

BACKLOG = 100  # events sent and not yet answered: the embedded broker keeps everything in memory
SILENCE_S = 120.0  # without a single answer: the demo gives up and says what is missing
NOT_PROVEN = "not proven on the embedded broker"
PROVEN = "exactly once for readers with isolation.level=read_committed"


@dataclass(slots=True)
class Demo:
    """One run."""

    events: int
    engine: str
    seed: int
    started_s: float = field(default_factory=lambda: time.monotonic() - process_age_s())
    first_s: float = 0.0  # from the command to the first response
    dead_letters: int = 0
    count: Count = field(init=False)
    answers: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Count what is to be sent as missing."""
        self.count = Count(unsent=self.events)

    @property
    def consumed(self) -> int:
        """Events of which something came out: an answer or a dead letter."""
        return self.count.answered + self.dead_letters


def process_age_s() -> float:
    """Return how long ago this process was started, so that its imports count; in steps of 10 ms."""
    started_ticks = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]  # since boot
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(started_ticks) / os.sysconf("SC_CLK_TCK")


def run(*, events: int, engine: str, bootstrap: str | None, seed: int, as_json: bool) -> int:
    """Run the demo; return 0 only if nothing is missing and nothing came twice."""
    console = Console(stderr=as_json)
    demo = Demo(events, engine, seed)
    with ExitStack() as stack:
        servers = bootstrap or stack.enter_context(embedded_broker())
        choices = _choices(servers, engine)
        settings = load(None, choices)
        _make_topics(settings, embedded=bootstrap is None)
        log = stack.enter_context(tempfile.NamedTemporaryFile("w+", prefix="mirrorstream-demo-", suffix=".log"))
        process = stack.enter_context(_worker(choices, Path(log.name)))
        page = stack.enter_context(shown(settings, scenes.definition(events)))
        console.print(f"Watch it at {page}")
        _follow(demo, settings, process, console, Path(log.name))
        summary = _report(demo, bootstrap, console, as_json=as_json)
        if console.is_terminal and not as_json:
            hold(page, console)
    return 0 if not summary["missing"] and not summary["duplicates"] else 1


def _report(demo: Demo, bootstrap: str | None, console: Console, *, as_json: bool) -> dict[str, object]:
    """Say what came of it, to people and to programs."""
    console.print()
    state = State()
    state.define(scenes.definition(demo.events))
    state.take(demo.answers, health={"read": len(demo.answers)}, positions={})
    console.print(render(assemble.report(state, assemble.Defaults())))
    summary = _summary(demo, bootstrap)
    if as_json:
        sys.stdout.write(json.dumps(summary) + "\n")
    else:
        console.print(Panel("\n".join(f"{name}: {value}" for name, value in summary.items()), title="counted"))
    return summary


def _choices(servers: str, engine: str) -> dict[str, Any]:
    """Return the worker's settings; topics and group are the demo's own, so that it can run on any cluster."""
    name = f"mirrorstream-demo-{int(time.time())}"
    return {
        "bootstrap_servers": servers,
        "group_id": name,
        "input_topics": [f"{name}-impressions"],
        "output_topic": f"{name}-responses",
        "dead_letter_topic": f"{name}-impressions.dlq",
        "engine": engine,
        "start_from": "earliest",
        "max_tokens": 160,
        "max_num_seqs": 64,
        "http_port": 0,
    }


def _make_topics(settings: Settings, *, embedded: bool) -> None:
    topics = [*settings.input_topics, settings.output_topic, settings.dead_letter_topic]
    if embedded:
        admin.touch(settings, topics)
    else:
        admin.create(settings, dict.fromkeys(topics, 4))


@contextmanager
def _worker(choices: dict[str, Any], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `mirrorstream run` as users do, its log in a file; SIGTERM drains it."""
    assignments = [
        f"{name}={json.dumps(value) if isinstance(value, list) else value}" for name, value in choices.items()
    ]
    command = [sys.executable, "-m", "worker", "run", *(part for one in assignments for part in ("--set", one))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIRRORSTREAM_")}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _follow(demo: Demo, settings: Settings, process: subprocess.Popen[bytes], console: Console, log: Path) -> None:
    """Feed events and read answers until all are there."""
    reader = Reader(settings.bootstrap_servers, schema_text("SimulatedResponse"))
    reader.follow(settings.output_topic, settings.dead_letter_topic)
    feed = _Feed(demo, settings)
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
    task = progress.add_task(f"answers of {demo.engine}", total=QUESTIONS * demo.events)
    last_s = time.monotonic()
    with Live(progress, console=console, refresh_per_second=4) as live:
        while demo.count.missing:
            feed.send()
            for topic, value in reader.read(0.2):
                last_s = time.monotonic()
                _take(demo, settings, reader, topic, value)
            progress.update(task, completed=len(demo.count.seen))
            live.update(Group(progress, _latest(demo)))
            if process.poll() is not None:
                raise Fatal(f"the worker ended with exit code {process.returncode}:\n{log.read_text()[-3000:]}")
            if time.monotonic() - max(last_s, demo.started_s) > SILENCE_S:
                break
    for topic, value in reader.read(1.0):  # what comes now would be one too many
        _take(demo, settings, reader, topic, value)
    reader.close()
    feed.close()


def _take(demo: Demo, settings: Settings, reader: Reader, topic: str, value: bytes) -> None:
    if topic == settings.dead_letter_topic:
        demo.dead_letters += 1
        return
    demo.first_s = demo.first_s or time.monotonic() - demo.started_s
    demo.count.add(reader.decode(value))
    _, payload = framing.split(value, ())
    decoded = codec.decode_plain(payload, avro_schemas.own_schema("SimulatedResponse"), "SimulatedResponse")
    demo.answers.append(read(decoded))


class _Feed:
    """Sends generated events, never more than the backlog ahead of the answers."""

    def __init__(self, demo: Demo, settings: Settings) -> None:
        self._demo = demo
        self._topic = settings.input_topics[0]
        self._encoder = Encoder("RecommendationImpression")
        self._publisher = admin.Publisher(settings)
        self._impressions: Iterator[Impression] = scenes.impressions(demo.seed, num_users=demo.events)

    def send(self) -> None:
        """Send as many events as the backlog lets."""
        count = self._demo.count
        while count.unsent and (len(count.expected) - len(count.seen)) // QUESTIONS < BACKLOG:
            impression = next(self._impressions)
            self._publisher.send(
                Message(self._topic, impression.user.user_id.encode(), self._encoder.encode(impression))
            )
            count.expect(impression.event_id, [slate.variant for slate in impression.slates])

    def close(self) -> None:
        """Deliver what is queued."""
        self._publisher.close()


def _latest(demo: Demo) -> Panel:
    """Show the last answer: what was chosen, and why in the model's words."""
    response = demo.count.last
    if not response:
        return Panel("the worker starts ...", title="latest answer")
    text = next((draw["text"] for draw in response["draws"] if draw["text"]), "(this engine gives no reasons)")
    chosen = response["options"][response["choice"]]["item_id"] if response["choice"] is not None else "nothing"
    share = f", duel share {response['duel_share']:.2f}" if response["duel_share"] is not None else ""
    head = f"{response['question']} of {response['variant']}: {response['user_id']} picks {chosen}{share}"
    return Panel(escape(f"{head}\n{text.strip()}"), title="latest answer")


def _summary(demo: Demo, bootstrap: str | None) -> dict[str, object]:
    seconds = time.monotonic() - demo.started_s - demo.first_s
    return {
        "consumed": demo.consumed,
        "responses": sum(demo.count.seen.values()),
        "dead_letters": demo.dead_letters,
        "missing": demo.count.missing,
        "duplicates": demo.count.duplicates,
        "events_per_s": round(demo.consumed / seconds, 1) if seconds > 0 else 0.0,
        "first_response_s": round(demo.first_s, 1),
        "engine": demo.engine,
        "broker": bootstrap or "embedded",
        "guarantee": PROVEN if bootstrap else NOT_PROVEN,
    }
