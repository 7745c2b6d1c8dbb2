"""`mirrorstream bench --tune FILE`: candidates beside the baseline, in turns, and what is recommended as a file.

    round 1    baseline, A    baseline, B    ...      each word is a process of its own
    round 2    A, baseline    B, baseline    ...
    at last    baseline, the fastest of each kind together, as many rounds: only what is faster again is recommended

Speeds are divided within a pair only.  A pair that is done is in the journal; a run that was ended goes on after it.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python
from rich.console import Console

from worker.bench.command import LEAST_QUESTIONS, MEDIAN, SEQUENCES
from worker.bench.environment import machine as described
from worker.bench.harness.processes import interruptible
from worker.bench.harness.traffic import QUESTIONS_AN_EVENT
from worker.bench.report import HEIGHT, WIDTH
from worker.bench.tune import candidates as offers, decide
from worker.bench.tune.candidates import Baseline, Candidate, Machine
from worker.bench.tune.decide import JudgedCandidate, Shares
from worker.bench.tune.journal import Journal
from worker.bench.tune.processes import trial
from worker.bench.tune.report import Tuned, as_json, render, settings_file
from worker.core.errors import BadSettings, Fatal
from worker.engines.local.vllm import make
from worker.settings import Settings

Say = Callable[[str], None]
Trial = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """The options of the command."""

    file: Path
    only: frozenset[str]
    weights: tuple[Path, ...]
    rounds: int
    events: int | None
    tokens: int | None  # median of a rationale
    model_shape: str | None
    limit_s: float  # of one trial
    minutes: float | None  # of the run, after which no pair begins
    as_json: bool


@dataclass(slots=True)
class Tuning:
    """A run: what every trial is given, and what was found."""

    work: Mapping[str, Any]
    journal: Journal
    rounds: int
    trial: Trial
    say: Say
    until_s: float | None = None  # monotonic
    left: list[str] = field(default_factory=list)  # what the time did not suffice for

    def judge(self, candidates: list[Candidate]) -> list[JudgedCandidate]:
        """Try candidates in turns; return the verdict on each that was tried in at least one round."""
        for number in range(self.rounds):
            for one in candidates:
                self._pair(one, number)
        return [found for one in candidates if (found := self._verdict(one)) is not None]

    def _pair(self, candidate: Candidate, number: int) -> None:
        done = self.journal.pairs
        failed = any("failed" in done.get((candidate.name, before), {}) for before in range(number))
        if (candidate.name, number) in done or failed:
            return
        if self.until_s is not None and time.monotonic() >= self.until_s:
            self.left.append(f"{candidate.name}, round {number + 1}")
            return
        pair: dict[str, Any] = {}
        for name in ("baseline", "candidate") if number % 2 == 0 else ("candidate", "baseline"):
            found = self._trial(candidate if name == "candidate" else None)
            if "failed" in found:
                pair = {"failed": found["failed"]}
                break
            pair[name] = found
        self.journal.found_pair(candidate.name, number, pair)
        speeds = {name: told["events"] / told["seconds"] for name, told in pair.items() if name != "failed"}
        told = pair.get("failed") or f"{speeds['candidate'] / speeds['baseline']:.3f} of the baseline's speed"
        self.say(f"round {number + 1} of {self.rounds}, {candidate.name}: {told}")

    def _trial(self, candidate: Candidate | None) -> dict[str, Any]:
        """Run one trial; of the baseline it must succeed.  Raises `Fatal`."""
        settings = dict(self.work["settings"])
        if candidate is not None:
            options = dict(settings.get("vllm_options", {})) | dict(candidate.options)
            settings |= {**candidate.settings, "vllm_options": options}
        found = self.trial({**self.work, "settings": settings, "texts": self.journal.texts})
        if candidate is None:
            if "failed" in found:
                raise Fatal(f"bench: the settings as they are did not run: {found['failed']}")
            if self.journal.texts is None:
                self.journal.found_texts(found["texts"])
        found.pop("texts", None)
        return found

    def _verdict(self, candidate: Candidate) -> JudgedCandidate | None:
        pairs = [pair for (name, _), pair in sorted(self.journal.pairs.items()) if name == candidate.name]
        if failed := [pair["failed"] for pair in pairs if "failed" in pair]:
            return JudgedCandidate(candidate, None, None, f"did not run: {failed[0]}")
        if not pairs:
            return None
        ratios = [pair["baseline"]["seconds"] / pair["candidate"]["seconds"] for pair in pairs]
        try:
            effects = [decide.compare(Shares.of(pair["baseline"]), Shares.of(pair["candidate"])) for pair in pairs]
        except ValueError as error:
            return JudgedCandidate(candidate, None, None, f"no comparison: {error}")
        return decide.judge(candidate, ratios, effects)


def run(settings: Settings, options: TuneOptions) -> int:
    """Try what is offered, print the table, write the file of settings; return 0."""
    machine = offers.machine()
    settings = _sized(settings, machine)
    if settings.draws < decide.LEAST_DRAWS:
        raise BadSettings("bench --tune: draws: want 2 or more, which have a standard error")
    events = options.events or ceil(LEAST_QUESTIONS * settings.max_num_seqs / QUESTIONS_AN_EVENT)
    work: dict[str, Any] = {
        "settings": changed(settings),
        "shape": options.model_shape,
        "events": events,
        "median": options.tokens or MEDIAN[machine.kind],
        "natural": options.model_shape is None,  # a model with random weights never ends a rationale
    }
    say = Console(stderr=True).log
    with interruptible():
        tuning = Tuning(
            work=work,
            journal=Journal(journal_of(options.file), digest(work, machine, make(settings).card.engine_version)),
            rounds=options.rounds,
            trial=lambda one: trial(one, limit_s=options.limit_s),
            say=say,
            until_s=None if options.minutes is None else time.monotonic() + 60 * options.minutes,
        )
        tuned = tune(tuning, machine, Baseline(settings.max_num_seqs, options.weights), options.only)
    tuned.about.update(_about(settings, options, tuning))
    options.file.write_text(settings_file(tuned), encoding="utf-8")
    if options.as_json:
        sys.stdout.write(json.dumps(as_json(tuned)) + "\n")
    else:
        Console(width=WIDTH, height=HEIGHT).print(render(tuned))
    return 0


def tune(tuning: Tuning, machine: Machine, base: Baseline, only: frozenset[str]) -> Tuned:
    """Try every candidate alone, and once more what is to be recommended."""
    tried, skipped = offers.offered(machine, base, only=only)
    judged = tuning.judge(tried)
    for one in decide.confirmations(decide.choose(judged)):
        found = tuning.judge([one])
        judged += found
        if found and found[0].is_recommended:
            return Tuned(judged, skipped, one, tuning.left)
    return Tuned(judged, skipped, None, tuning.left)


def changed(settings: Settings) -> dict[str, Any]:
    """Return the settings that are not their defaults, as JSON has them."""
    defaults = Settings.model_construct()
    found = {name: value for name, value in dict(settings).items() if value != getattr(defaults, name)}
    told: dict[str, Any] = to_jsonable_python(found)
    return told


def journal_of(file: Path) -> Path:
    """Return where the figures of a file of settings are kept."""
    return file.with_name(f"{file.name}.journal")


def digest(work: Mapping[str, Any], machine: Machine, vllm: str) -> str:
    """Return what figures are of: settings, load, machine, version.  Secrets go in, and do not come out."""
    text = json.dumps([work, [machine.kind, machine.gpus, machine.capability], vllm], sort_keys=True)
    return sha256(text.encode()).hexdigest()


def _sized(settings: Settings, machine: Machine) -> Settings:
    """Return the settings with a number of sequences for the device, if none is set."""
    if settings.max_num_seqs == Settings.model_fields["max_num_seqs"].default:
        return settings.model_copy(update={"max_num_seqs": SEQUENCES[machine.kind]})
    return settings


def _about(settings: Settings, options: TuneOptions, tuning: Tuning) -> dict[str, str]:
    told: dict[str, Any] = next((pair["baseline"] for pair in tuning.journal.pairs.values() if "baseline" in pair), {})
    lines = {name: str(value) for name, value in described(None).items() if name != "broker"}
    return lines | {
        "device": str(told.get("device", "not known: nothing ran")),
        "vllm": str(told.get("vllm", "")),
        "model": f"{options.model_shape}, random weights" if options.model_shape else Path(settings.model).name,
        "baseline": f"max_num_seqs={settings.max_num_seqs}, block_size={told.get('block_size', '?')}, "
                    + ", ".join(f"{name}={value}" for name, value in told.get("runs", {}).items()),
        "load": f"{tuning.work['events']} events, median rationale {tuning.work['median']} tokens, "
                f"{tuning.rounds} rounds",
    }  # fmt: skip
