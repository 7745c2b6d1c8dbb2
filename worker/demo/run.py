"""`mirrorstream demo`: a broker, generated users and films, a worker, and what comes out, on one machine.

probe the machine  ->  broker, topics, worker, page  ->  events until a verdict stands  ->  last screen
                                                     ->  while somebody looks at the page: more events
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from webbrowser import open as open_browser

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from worker.core.records import Impression
from worker.demo import last_screen, new_topics, pace, scenes, traffic
from worker.demo.broker import embedded_broker
from worker.demo.children import child
from worker.demo.independent_count import QUESTIONS
from worker.demo.page import Watched, on_embedded, shown
from worker.demo.traffic import Tally, Traffic
from worker.experiment.readout import Report
from worker.experiment.report import assemble
from worker.experiment.store.database import State
from worker.settings import Settings, load
from worker.system import stopping

NO_ANSWER_S = 60.0  # from the command: a line says so
START_S = {"choice-model": 5.0}  # from the command to the first answer, on two quiet cores
VLLM_START_S = 45.0
PLANNED_USERS = 200  # of a demo that sizes itself: an interval nearly as narrow as can be from 100 to 500 users
LOOKED_AT_BACKLOG = 20  # events: what is still computed when nobody looks any more
IDLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """What the caller wants."""

    events: int | None  # None: as many as the machine can in two minutes
    engine: str
    bootstrap: str | None
    seed: int
    as_json: bool

    @property
    def start_s(self) -> float:
        """From the command to the first answer on a quiet machine, seconds."""
        return START_S.get(self.engine, VLLM_START_S)


def run(*, events: int | None, engine: str, bootstrap: str | None, seed: int, as_json: bool) -> int:
    """Run the demo; return 0 only if nothing is missing and nothing came twice."""
    with stopping.unwinding():
        return _Demo(Plan(events, engine, bootstrap, seed, as_json)).run()


class _Demo:
    """One demo, from the probe to the page that stays."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._console = Console(stderr=plan.as_json, highlight=False)
        self._speed = pace.probe()
        self._tally = Tally(plan.engine, time.monotonic() - last_screen.process_age_s())
        self._tally.count.plan(plan.events or pace.MIN_EVENTS)
        self._definition = scenes.definition(plan.events or PLANNED_USERS)
        users = plan.events or pace.MAX_LOOKED_AT
        self._impressions: Iterator[Impression] = scenes.impressions(plan.seed, num_users=users)

    def run(self) -> int:
        """Return the exit code."""
        with ExitStack() as stack:
            servers = self._plan.bootstrap or stack.enter_context(embedded_broker())
            choices = _choices(servers, self._plan.engine, self._speed.slow)
            settings = load(None, choices)
            new_topics.make(settings, embedded=self._plan.bootstrap is None, say=self._say)
            page, events = self._start(stack, choices, settings)
            self._say_what_comes(page)
            self._ask(events)
            if not self._tally.first_s:
                return self._nothing()
            code = self._tell()
            if self._console.is_terminal and not self._plan.as_json:
                self._hold(page, events, code)
        return code

    def _start(self, stack: ExitStack, choices: dict[str, Any], settings: Settings) -> tuple[Watched, Traffic]:
        """Start the worker, the page and the traffic; the log is a file that goes with them."""
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mirrorstream-demo-"))
        log = Path(folder) / "worker.log"
        output = stack.enter_context(log.open("wb"))
        environment = _environment(self._speed)
        worker = stack.enter_context(child(_command(choices), stdout=output, stderr=output, env=environment))
        readable = settings if self._plan.bootstrap else on_embedded(settings)
        page = stack.enter_context(shown(readable, self._definition))
        return page, stack.enter_context(traffic.opened(self._tally, settings, worker, log))

    def _say_what_comes(self, page: Watched) -> None:
        if self._speed.slow >= pace.SLOW:
            self._say(
                f"This machine is slow or busy: work takes {self._speed.slow:.0f} times as long as on two quiet cores."
                " Deadlines are longer by as much."
            )
        first = pace.duration(self._plan.start_s * self._speed.slow)
        exact = f"{self._plan.events:,} events from there" if self._plan.events else "a verdict about two minutes later"
        self._say(f"First answer in about {first}, {exact}. Watch it at {page.address}")

    def _ask(self, events: Traffic) -> None:
        """Feed events and read answers until all are there, or nothing has come for too long."""
        words = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}")
        progress = Progress(*words, console=self._console)
        task = progress.add_task(f"answers of {self._plan.engine}", total=None, left="")
        warned = False
        with Live(progress, console=self._console, refresh_per_second=4) as live:
            while self._tally.count.missing and not self._is_silent():
                events.step(self._impressions)
                self._resize()
                total = QUESTIONS * (self._tally.count.sent + self._tally.count.unsent)
                progress.update(task, completed=len(self._tally.count.seen), total=total, left=self._left())
                live.update(Group(progress, _latest(self._tally)))
                if not warned and not self._tally.first_s and self._waited_s() > NO_ANSWER_S:
                    warned = True
                    self._say(last_screen.no_answer(self._plan.engine, self._waited_s()))
        events.read(1.0)  # what comes now would be one too many

    def _resize(self) -> None:
        """Have as many events as fit into the time, at the speed so far."""
        if self._plan.events is None and self._tally.first_s:
            wanted = pace.size(answered=self._tally.answered, elapsed_s=self._tally.asking_s)
            self._tally.count.plan(wanted)

    def _waited_s(self) -> float:
        return time.monotonic() - self._tally.started_s

    def _is_silent(self) -> bool:
        since_s = max(self._tally.started_s, self._tally.last_s)
        return time.monotonic() - since_s > pace.patience_s(self._speed.slow, answered=bool(self._tally.first_s))

    def _left(self) -> str:
        """Print the time left."""
        tally = self._tally
        if not tally.answered:
            left_s = self._plan.start_s * self._speed.slow - self._waited_s()
            return f"first answer in {pace.duration(left_s)}" if left_s > 0 else "first answer any moment"
        left_s = tally.count.missing / QUESTIONS * max(1.0, tally.asking_s) / tally.answered
        return f"{pace.duration(left_s)} left" if left_s else "done"

    def _nothing(self) -> int:
        """Print that there was no answer at all."""
        self._say(last_screen.no_answer(self._plan.engine, self._waited_s()))
        self._write_json()
        return 1

    def _tell(self) -> int:
        """Print the result, for people and as JSON; return the exit code."""
        self._console.print()
        for line in last_screen.lines(self._tally, self._report(), self._plan.bootstrap):
            self._say(line)
        self._write_json()
        return 1 if self._tally.count.missing or self._tally.count.duplicates else 0

    def _say(self, line: str) -> None:
        """Print a line as it is; the terminal folds it, so that it can be copied whole."""
        self._console.print(escape(line), soft_wrap=True)

    def _report(self) -> Report:
        state = State()
        state.define(self._definition, taken_at=self._definition.start)  # its events are made after it
        state.take(self._tally.answers, health={"read": len(self._tally.answers)}, positions={})
        return assemble.report(state, assemble.Defaults())

    def _write_json(self) -> None:
        if self._plan.as_json:
            sys.stdout.write(json.dumps(last_screen.summary(self._tally, self._plan.bootstrap)) + "\n")

    def _hold(self, page: Watched, events: Traffic, code: int) -> NoReturn:
        """Serve the page until Ctrl-C, which raises `Enough`; while it is open, more users are asked."""
        open_browser(page.address)
        more = f"; while you look at it, up to {pace.MAX_LOOKED_AT:,} users are asked" if not self._plan.events else ""
        self._say(f"\nThe page stays at {page.address} until Ctrl-C{more}.")
        try:
            while True:
                self._go_on(page, events)
        except KeyboardInterrupt:
            raise stopping.Enough(code) from None

    def _go_on(self, page: Watched, events: Traffic) -> None:
        looked_at = page.is_looked_at and self._plan.events is None
        self._tally.count.plan(pace.MAX_LOOKED_AT if looked_at else 0)
        self._tally.answers.clear()  # the page has them
        if self._tally.count.missing:
            events.step(self._impressions, backlog=LOOKED_AT_BACKLOG)
        else:
            time.sleep(IDLE_S)


def _choices(servers: str, engine: str, slow: float) -> dict[str, Any]:
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
        **pace.deadlines(slow),
    }


def _command(choices: dict[str, Any]) -> list[str]:
    """Return `mirrorstream run` as users type it."""
    texts = {name: json.dumps(value) if isinstance(value, list) else value for name, value in choices.items()}
    flags = [part for name, text in texts.items() for part in ("--set", f"{name}={text}")]
    return [sys.executable, "-m", "worker", "run", *flags]


def _environment(speed: pace.Speed) -> dict[str, str]:
    """Return the worker's environment; what the caller has set wins, but for settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MIRRORSTREAM_")}
    return {**pace.threads(speed), **kept}


def _latest(tally: Tally) -> Panel:
    """Show the last answer: what was chosen, and why in the model's words."""
    response = tally.count.last
    if not response:
        return Panel("the worker starts ...", title="latest answer")
    text = next((draw["text"] for draw in response["draws"] if draw["text"]), "(this engine gives no reasons)")
    chosen = (
        tally.name(response["options"][response["choice"]]["item_id"]) if response["choice"] is not None else "nothing"
    )
    share = f", duel share {response['duel_share']:.2f}" if response["duel_share"] is not None else ""
    head = f"{response['question']} of {response['variant']}: {response['user_id']} picks {chosen}{share}"
    return Panel(escape(f"{head}\n{text.strip()}"), title="latest answer")
