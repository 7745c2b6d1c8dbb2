"""What a scenario can do: topics, records with a fate, workers that are watched, and waits that end.

    play.make("in", 2)
    first = play.worker()
    play.send("in", range(40))
    play.settle()
    play.recreate("in", 3)

A wait that ends without its condition is no error: the judge says what is missing then.  A worker that ends without
having been told to is noted as a problem and started again with the same settings, as Kubernetes does.
"""

import random
import re
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.events import encode, impression
from tests.support.harness import Stage, Worker, as_flags
from tests.support.judge import questions
from tests.support.patience import patience

from .brokers import POLL_S, Topics
from .judge import Evidence, Findings, judge
from .ledger import Entry, Fate, Metric, Notice, Place
from .outcome import Outcome, Reader
from .sending import Sender, Way
from .watch import Watched

PATIENCE_S = 40.0  # for what takes a second on a quiet machine; only a failure waits this long
REST_S = 0.7  # after everything is there: what comes twice comes by then
MAX_RESTARTS = 2  # of one worker that ends by itself; then it stays down
TERM_S = 30.0


class Play:
    """One run of one scenario."""

    def __init__(
        self, bootstrap: str, name: str, folder: Path, chance: random.Random, *, patience_s: float = PATIENCE_S
    ) -> None:
        self.chance = chance
        self.name = name
        self.stage = Stage(bootstrap, name, folder)
        self.patience_s = patience_s
        self.topics = Topics(bootstrap)
        self.ledger: list[Entry] = []
        self.notices: list[Notice] = []
        self.steps: list[str] = []  # what was done, for people
        # What a scenario counts by itself, beside the judge.
        self.lost: list[str] = []
        self.duplicated: list[str] = []
        self.unasked: list[str] = []  # also what was answered before it might be
        self.unsaid: list[str] = []
        self.problems: list[str] = []  # what is wrong beside the judge's counts
        self.watched: list[Watched] = []
        self.stack = ExitStack()  # of servers that live as long as the run
        self.inputs: set[str] = set()  # topics whose group offsets must be their ends when all is done
        self._sender = Sender(bootstrap)
        self._told: set[int] = set()  # processes that may end
        self._restarted: dict[int, int] = {}  # process to how often it was started again before
        self.responses, self.dead_letters = self.stage.responses, self.stage.dead_letters
        self._outcome = Outcome(bootstrap, self.responses, self.dead_letters)
        self._since_s = time.monotonic()

    # -- topics

    def topic(self, name: str = "in") -> str:
        """Return the whole name of an input topic; the stage's own is `in`."""
        return f"{self.name}-{name}"

    def make(self, name: str = "in", partitions: int = 1, *, reads: bool = True, **config: object) -> None:
        """Make an input topic; `reads`: the group must be at its ends when all is done."""
        self._create(self.topic(name), partitions, config)
        if reads:
            self.inputs.add(self.topic(name))

    def make_outputs(self, partitions: int = 1, **config: object) -> None:
        """Make the topics of responses and dead letters."""
        for topic in (self.responses, self.dead_letters):
            self._create(topic, partitions, config)

    def rename_output(self, setting: str, topic: str) -> None:
        """Give the topic of responses or of dead letters another name, before it is made."""
        self.stage.overrides[setting] = topic
        if setting == "output_topic":
            self.responses = topic
        else:
            self.dead_letters = topic
        self._outcome.close()
        self._outcome = Outcome(self.stage.bootstrap, self.responses, self.dead_letters)

    def drop(self, name: str) -> None:
        """Delete a topic."""
        topic = self.topic(name)
        self._outcome.drain()  # what is committed there now counts
        self._sender.forget()
        self.say(f"{topic} deleted")
        self.topics.delete(topic)
        self.inputs.discard(topic)

    def recreate(self, name: str, partitions: int) -> tuple[str, str]:
        """Delete a topic and make it again at once; return its old and its new id."""
        topic = self.topic(name)
        reads = topic in self.inputs
        old = self.topics.id_of(topic)
        self.drop(name)
        self._create(topic, partitions, {})
        if reads:
            self.inputs.add(topic)
        self._outcome.anew(topic)
        return old, self.topics.id_of(topic, unless=old)

    def grow(self, name: str, partitions: int) -> None:
        """Add partitions to a topic, up to so many."""
        topic = self.topic(name)
        self.say(f"{topic} grows to {partitions} partitions")
        self.topics.grow(topic, partitions)
        self._sender.forget()

    def _create(self, topic: str, partitions: int, config: Mapping[str, object]) -> None:
        self.topics.create(topic, partitions, {key: str(value) for key, value in config.items()})
        self.say(f"{topic} made, {partitions} partitions")

    # -- records

    def send(
        self,
        name: str,
        numbers: Iterable[int],
        fate: Fate = Fate.ANSWERED,
        *,
        why: str = "",
        start_ms: int | None = None,
        partition: int | None = None,
        **fields: Any,
    ) -> list[Entry]:
        """Send impressions as the tests write them, keyed by their users, one after another."""
        events = [impression(number, **fields) for number in numbers]
        values = [(event["user"]["user_id"].encode(), encode(event)) for event in events]
        return self.send_raw(name, values, fate, events=events, why=why, start_ms=start_ms, partition=partition)

    def send_raw(
        self,
        name: str,
        records: Sequence[tuple[bytes | None, bytes | None]],
        fate: Fate,
        *,
        events: Sequence[Mapping[str, Any] | None] = (),
        detail: str = "",
        why: str = "",
        **way: Any,
    ) -> list[Entry]:
        """Send keys and values, as `sending.Way` says; write down what is expected of each."""
        topic = self.topic(name)
        numbers = [f"{len(self.ledger) + index}" for index in range(len(records))]
        places = self._sender.send(topic, records, numbers, Way(**way))
        known: Sequence[Mapping[str, Any] | None] = events or [None] * len(records)
        entries = [
            _entry(number, places[number], fate, event, detail=detail, why=why)
            for number, event in zip(numbers, known, strict=True)
        ]
        self.ledger += entries
        self.say(f"{len(records)} records to {topic}: {fate.value}" + (f" ({why})" if why else ""))
        return entries

    # -- workers

    def worker(self, *words: str, ends: bool = False, **settings: Any) -> int:
        """Start a worker; return its number.  One that `ends` by itself is right to do so."""
        given = self.stage.settings(**settings)
        flags = as_flags({name: value for name, value in given.items() if value is not None})
        number = self._start(["run", *words, *flags])
        if ends:
            self.may_end(number)
        return number

    def _start(self, command: Sequence[str], restarts: int = 0) -> int:
        number = len(self.watched)
        log = self.stage.folder / f"worker-{number}.log"
        started = Worker(command, log, module=self.stage.module, variables=self.stage.variables)
        self.stage.workers.append(started)
        self.watched.append(Watched(started))
        self._restarted[number] = restarts
        self.say(f"worker {number} started")
        return number

    def freeze(self, number: int) -> None:
        """Stop a process in the middle of whatever it does."""
        self.watched[number].worker.process.send_signal(signal.SIGSTOP)
        self.watched[number].frozen = True
        self.say(f"worker {number} frozen")

    def thaw(self, number: int) -> None:
        """Let it go on."""
        self.watched[number].worker.process.send_signal(signal.SIGCONT)
        self.watched[number].frozen = False
        self.say(f"worker {number} goes on")

    def kill(self, number: int) -> None:
        """End a process with none of its code run."""
        self._told.add(number)
        self.watched[number].look(now=True)
        self.watched[number].worker.kill()
        self.say(f"worker {number} killed")

    def may_end(self, number: int) -> None:
        """Say that a process may end by itself from now on, and is not started again."""
        self._told.add(number)

    def stop(self, number: int, *codes: int) -> int | None:
        """Ask a process to end, as Kubernetes does; it must end with 0 or one of `codes`."""
        one = self.watched[number]
        self._told.add(number)
        one.look(now=True)
        if one.alive:
            one.worker.process.send_signal(signal.SIGTERM)
        return self.ends(number, 0, *codes, within_s=TERM_S)

    def ends(self, number: int, *codes: int, within_s: float) -> int | None:
        """Wait until a process has ended by itself; it must do so, with one of these codes."""
        self._told.add(number)
        one = self.watched[number]
        self.until(lambda: not one.alive, f"end of worker {number}", within_s=within_s)
        code = one.worker.process.poll()
        one.evidence.log = one.worker.log
        if code not in codes:
            self.problems.append(f"worker {number} ended with {code}, want {codes}: {_last_line(one.worker.log)}")
        self.say(f"worker {number} ended with {code}")
        return code

    def ready(self, *numbers: int) -> bool:
        """Wait until these workers are ready, and one at least owns a partition."""
        chosen = [self.watched[number] for number in numbers]
        return self.until(
            lambda: (
                all(one.ready[0] == 200 for one in chosen)
                and sum(one.metric("assigned_partitions") for one in chosen) > 0
            ),
            f"ready workers {numbers}",
        )

    # -- waits

    def look(self) -> None:
        """Take what came out, what the workers say, and which of them ended."""
        self._outcome.look()
        for number, one in enumerate(self.watched):
            one.look()
            if not one.alive and number not in self._told:
                self._told.add(number)
                self._ended(number, one)

    def _ended(self, number: int, one: Watched) -> None:
        code = one.worker.process.poll()
        self.problems.append(f"worker {number} ended by itself with {code}: {_last_line(one.worker.log)}")
        self.say(f"worker {number} ended by itself with {code}")
        if self._restarted[number] < MAX_RESTARTS:
            self._start(one.worker.words, self._restarted[number] + 1)

    def until(self, condition: Callable[[], bool], what: str, *, within_s: float | None = None) -> bool:
        """Wait until the condition holds; return False, and note a step, if it does not come to."""
        until_s = time.monotonic() + patience(self.patience_s if within_s is None else within_s)
        while True:
            self.look()
            if condition():
                return True
            if time.monotonic() > until_s:
                self.say(f"waited in vain for {what}")
                return False
            time.sleep(POLL_S)

    def rest(self, seconds: float) -> None:
        """Look on for a while."""
        until_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > until_s, "time", within_s=seconds + 1)

    def settle(self, *, within_s: float | None = None) -> bool:
        """Wait until nothing that was sent is missing; a dead letter in the place of an answer is not waited for."""
        return self.until(lambda: not self.findings().pending, "answers", within_s=within_s)

    def findings(self) -> Findings:
        """Judge what came out by now; nothing of what must have been said."""
        return judge(self.ledger, self._outcome.answers, self._outcome.letters)

    def missing(self, fate: Fate) -> int:
        """Return how many records of this fate lack what must become of them."""
        chosen = [one for one in self.ledger if one.fate is fate]
        return len(judge(chosen, self._outcome.answers, self._outcome.letters).lost)

    def none_yet(self, entries: Iterable[Entry]) -> None:
        """Note each of these records that is answered or dead-lettered although a decision is waited for."""
        self._outcome.drain()
        fates = [replace(one, fate=Fate.NEITHER, why="nobody has decided yet") for one in entries]
        answers = [one for one in self._outcome.answers if one.key[0] in {entry.event_id for entry in fates}]
        letters = [one for one in self._outcome.letters if one.number in {entry.number for entry in fates}]
        self.unasked += judge(fates, answers, letters).unasked

    def expect(
        self,
        what: str,
        *workers: int,
        line: Sequence[str] | None = None,
        severe: bool = True,
        metric: Metric | None = None,
        unready: Sequence[str] | None = None,
    ) -> Notice:
        """Write down what one of these processes must say before the run ends."""
        words = tuple(line) if line is not None else None
        notice = Notice(what, workers, words, severe, metric, tuple(unready) if unready is not None else None)
        self.notices.append(notice)
        return notice

    def said(self, notice: Notice) -> bool:
        """Return True if nothing of a notice is missing any more."""
        return not judge([], [], [], [notice], self.evidence).unsaid

    @property
    def evidence(self) -> list[Evidence]:
        """What was seen of each process."""
        return [one.evidence for one in self.watched]

    def say(self, step: str) -> None:
        """Note what was done."""
        self.steps.append(f"{time.monotonic() - self._since_s:5.1f} s {step.replace(self.name, 'X')}")

    # -- the end

    def finish(self) -> Findings:
        """Wait for what is missing, end the workers, look whether all is committed, and judge."""
        self.settle()
        self.rest(REST_S)
        for number, one in enumerate(self.watched):
            if one.alive and one.frozen:
                self.thaw(number)
            if one.alive and number not in self._told:
                self.until(lambda one=one: one.ready[0] == 200, f"ready worker {number}")  # type: ignore[misc]
                if one.ready[0] != 200:
                    self.problems.append(f"worker {number} is not ready at the end: {one.ready[1].strip()}")
        for number, one in enumerate(self.watched):
            if one.alive:
                self.stop(number)
        self._outcome.drain()
        self._look_at_offsets()
        found = judge(self.ledger, self._outcome.answers, self._outcome.letters, self.notices, self.evidence)
        for kind in ("lost", "duplicated", "unasked", "unsaid"):
            getattr(found, kind).extend(getattr(self, kind))
        return found

    def _look_at_offsets(self) -> None:
        if not self.inputs:
            return
        committed = self.topics.committed(self.stage.name)
        for topic in sorted(self.inputs):
            for number, end in self.topics.ends(topic).items():
                at = committed.get((topic, number), 0)
                if at != end:
                    short = topic.replace(self.name, "X")
                    self.problems.append(f"{short}[{number}]: the group has committed {at}, and the end is {end}")

    def reset_offsets(self, name: str, *, to_end: bool = False) -> None:
        """Set the group's offsets in a topic, as an operator does while no worker runs."""
        topic = self.topic(name)
        self.say(f"offsets of {topic} set to its {'end' if to_end else 'beginning'}")
        self.topics.reset(self.stage.name, topic, to_end=to_end)

    def count_in(self, name: str, header: str) -> int:
        """Return how many committed records of a topic have a header."""
        reader = Reader(self.stage.bootstrap, self.topic(name))
        try:
            return sum(header in dict(message.headers() or ()) for message in reader.rest())
        finally:
            reader.close()

    def forget_outcome(self) -> None:
        """Drop what came out: a scenario wrote it by itself."""
        self._outcome.close()
        self._outcome = Outcome(self.stage.bootstrap, f"{self.name}-none", f"{self.name}-none")

    def close(self) -> None:
        """End what runs, and delete the topics."""
        for one in self.watched:
            one.worker.end()
        self.stack.close()
        self._outcome.close()
        self.topics.delete_all()


def _entry(number: str, place: Place, fate: Fate, event: Mapping[str, Any] | None, *, detail: str, why: str) -> Entry:
    if event is None:
        return Entry(number, place, fate, detail=detail, why=why)
    keys = frozenset(questions(dict(event)))
    at_us = None if fate is Fate.DEAD else int(event["occurred_at"])
    return Entry(number, place, fate, str(event["event_id"]), keys, at_us, detail, why)


def _last_line(log: str) -> str:
    lines = [line for line in log.splitlines() if re.search(r"ERROR|WARNING|error|Error|: ", line)]
    return lines[-1][:300] if lines else "(its log is empty)"
