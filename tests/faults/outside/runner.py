"""Plays seeded scenarios, some side by side, and sums up what the judge found."""

import random
import secrets
import sys
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Self

from tests.support.kafka_broker import SHORT_WAITS, KafkaCluster

from .judge import Findings
from .kinds import KINDS
from .play import PATIENCE_S, Play

PATIENT: Mapping[str, str] = {**SHORT_WAITS, "group.initial.rebalance.delay.ms": "2000"}  # 3 s is Kafka's default
COUNTS = ("lost", "duplicated", "unasked", "wrong", "unsaid")


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: a kind and the seed of everything that it draws."""

    kind: str
    seed: int

    @property
    def again(self) -> str:
        """The command that repeats this run alone."""
        return f"python -m tests.faults.outside --runs 1 --seed {self.seed} --only {self.kind}"


@dataclass(slots=True)
class Run:
    """What one run came to."""

    plan: Plan
    findings: Findings = field(default_factory=Findings)
    problems: list[str] = field(default_factory=list)  # beside the judge's counts
    steps: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        """True if all was as it must be."""
        return self.findings.clean and not self.problems


@dataclass(frozen=True, slots=True)
class Report:
    """All runs."""

    seed: int
    runs: Sequence[Run]
    seconds: float

    def problems(self) -> list[str]:
        """Say what was not as it must be, each with the command that repeats it."""
        return [
            f"{run.plan.kind} {run.plan.seed}: {what}; again: {run.plan.again}"
            for run in self.runs
            for what in _told(run)
        ]

    def figures(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        kinds = {kind: [run for run in self.runs if run.plan.kind == kind] for kind in KINDS}
        return {
            "seed": self.seed,
            "runs": len(self.runs),
            **_counts(self.runs),
            "seconds": round(self.seconds, 1),
            "kinds": {kind: {"runs": len(runs), **_counts(runs)} for kind, runs in kinds.items() if runs},
            "problems": [
                {
                    "seed": run.plan.seed,
                    "kind": run.plan.kind,
                    "again": run.plan.again,
                    "what": _told(run),
                    "steps": run.steps,
                }
                for run in self.runs
                if not run.clean
            ],
        }

    def table(self) -> str:
        """Return the figures for people."""
        found = self.figures()
        names = ["runs", "not clean", *COUNTS, "other"]
        rows = [("kind", names)]
        rows += [(kind, [str(row[name]) for name in names]) for kind, row in [*found["kinds"].items(), ("all", found)]]
        lines = [f"{name:14}" + "".join(f"{cell:>12}" for cell in cells) for name, cells in rows]
        return "\n".join([*lines, f"{found['seconds']} s, seed {self.seed}"])


def plan(runs: int, seed: int, only: Sequence[str] = ()) -> list[Plan]:
    """Return so many runs: rounds of all kinds, in every round another order."""
    chance = random.Random(seed)
    round_of = [kind for kind, one in KINDS.items() for _ in range(one.share) if not only or kind in only]
    kinds: list[str] = []
    while len(kinds) < runs:
        kinds += chance.sample(round_of, len(round_of))
    return [Plan(kind, seed + index) for index, kind in enumerate(kinds[:runs])]


class Brokers:
    """The brokers of a whole call, each started when it is first asked for."""

    def __init__(self, bootstrap: str = "") -> None:
        self._bootstrap = {False: bootstrap} if bootstrap else {}
        self._stack = ExitStack()
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def bootstrap(self, *, patient: bool) -> str:
        """Return the address of one that waits for a new group's members, or of one that does not."""
        with self._lock:
            if patient not in self._bootstrap:
                cluster = KafkaCluster(settings=PATIENT if patient else SHORT_WAITS)
                self._bootstrap[patient] = self._stack.enter_context(cluster).bootstrap_servers
            return self._bootstrap[patient]


def run_all(
    plans: Sequence[Plan], brokers: Brokers, folder: Path, *, seed: int, jobs: int = 1, **settings: Any
) -> Report:
    """Play all, so many side by side."""
    start_s = time.monotonic()
    # Workers die with the thread that starts them; the pool's threads live until all is done.
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_play, one, brokers, folder, index, **settings) for index, one in enumerate(plans)]
        runs = [future.result() for future in futures]
    return Report(seed, runs, time.monotonic() - start_s)


def _play(
    plan: Plan, brokers: Brokers, folder: Path, index: int, *, patience_s: float = PATIENCE_S, module: str = "worker",
    variables: Mapping[str, str] | None = None,
) -> Run:  # fmt: skip
    kind = KINDS[plan.kind]
    own = folder / f"{index}-{plan.kind}-{plan.seed}"
    own.mkdir()
    run = Run(plan)
    start_s = time.monotonic()
    name = f"{plan.kind}-{plan.seed}-{secrets.token_hex(2)}"
    play = Play(brokers.bootstrap(patient=kind.patient), name, own, random.Random(f"{plan.kind} {plan.seed}"),
                patience_s=patience_s)  # fmt: skip
    play.stage.module = module
    play.stage.variables |= variables or {}
    run.problems, run.steps = play.problems, play.steps
    try:
        kind.play(play)
        run.findings = play.finish()
    except Exception as error:  # noqa: BLE001 - a scenario that fails says so, and the others go on
        trace = traceback.format_exc().splitlines()
        play.problems.append(f"the scenario failed: {type(error).__name__}: {error} ({trace[-3].strip()})")
    finally:
        play.close()
    run.seconds = time.monotonic() - start_s
    counts = {name: num for name, num in _counts([run]).items() if num and name != "not clean"}
    said = ", ".join(f"{num} {name}" for name, num in counts.items())
    say(f"{index + 1} {plan.kind} {plan.seed}: {run.seconds:.1f} s, {said or 'clean'}")
    if not run.clean:
        for line in [*run.steps, *(f"=> {what}" for what in _told(run))]:
            say(f"    {line}")
    return run


def _told(run: Run) -> list[str]:
    found = [f"{kind}: {what}" for kind in COUNTS for what in _short(getattr(run.findings, kind))]
    return [*found, *(f"other: {what}" for what in run.problems)]


def _short(found: Sequence[str], most: int = 5) -> list[str]:
    more = [f"and {len(found) - most} more"] if len(found) > most else []
    return [*found[:most], *more]


def _counts(runs: Sequence[Run]) -> dict[str, int]:
    totals = Counter({kind: sum(len(getattr(run.findings, kind)) for run in runs) for kind in COUNTS})
    return {
        "not clean": sum(not run.clean for run in runs),
        **{kind: totals[kind] for kind in COUNTS},
        "other": sum(len(run.problems) for run in runs),
    }


def say(what: str) -> None:
    """Tell a person who waits."""
    print(time.strftime("%H:%M:%S"), what, file=sys.stderr, flush=True)
