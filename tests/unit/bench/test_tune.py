"""`bench --tune`: what is offered and skipped, what is recommended, what a run that was ended goes on with."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.bench.harness.rounds import MeasuredInterval
from worker.bench.model.load import Lengths
from worker.bench.tune import candidates as offers, decide, processes, trial as trials
from worker.bench.tune.candidates import Baseline, Candidate, Machine
from worker.bench.tune.decide import EffectOnAnswers, JudgedCandidate, Shares
from worker.bench.tune.journal import Journal
from worker.bench.tune.report import Tuned, as_json, render, settings_file
from worker.bench.tune.run import Tuning, changed, journal_of, tune
from worker.cli.bench import DIMENSIONS
from worker.core.errors import BadSettings, Fatal
from worker.core.prompts.prompt import Profile
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.questions import Kind, Status
from worker.engines.choice_model import ChoiceModel
from worker.settings import Settings, load

CPU = Machine("cpu", 0, 0.0)
H200 = Machine("gpu", 2, 9.0)
ALL = frozenset(DIMENSIONS)
HARMLESS = EffectOnAnswers(error=0.05, mean=0.001, worst=0.01, flips=0.0, shift=0.0)
FASTER = (1.2, 1.21, 1.19)


def names(machine: Machine, base: Baseline | None = None) -> tuple[set[str], dict[str, str]]:
    tried, skipped = offers.offered(machine, base or Baseline(8), only=ALL)
    return {one.name for one in tried}, skipped


def test_every_dimension_of_the_command_is_offered_or_skipped_with_its_reason() -> None:
    for machine in (CPU, H200):
        tried, _ = offers.offered(machine, Baseline(8, (Path("/m/awq"),)), only=ALL)
        skipped = {one.dimension for one, missing in offers._all(machine, Baseline(8)) if missing}
        assert {one.dimension for one in tried} | skipped == set(DIMENSIONS)


def test_a_machine_without_gpus_skips_what_needs_them_and_says_so() -> None:
    tried, skipped = names(CPU)
    assert skipped == {
        "enforce_eager": offers.NEEDS_GPU,
        "cudagraph_mode=FULL_DECODE_ONLY": offers.NEEDS_GPU,
        "kv_cache_dtype=fp8": offers.NEEDS_FP8,
        "quantization=fp8": offers.NEEDS_FP8,
        "AWQ, GPTQ or FP8 weights": offers.NEEDS_WEIGHTS,
        "tensor_parallel_size=2": offers.NEEDS_TWO,
        "data_parallel_size=2": offers.NEEDS_TWO,
    }
    assert {"n-gram speculation", "block_size=32", "dtype=float32"} <= tried


def test_a_machine_with_two_gpus_of_fp8_skips_nothing_that_is_there() -> None:
    tried, skipped = names(H200, Baseline(256, (Path("/models/shop-awq"),)))
    assert skipped == {}
    assert {"model=shop-awq", "tensor_parallel_size=2", "data_parallel_size=2", "kv_cache_dtype=fp8"} <= tried
    assert names(Machine("gpu", 1, 8.0))[1]["kv_cache_dtype=fp8"] == offers.NEEDS_FP8


@pytest.mark.parametrize(("visible", "num"), [(None, 2), ("0", 1), ("0,1,2", 2), ("", 0)])
def test_gpus_are_counted_by_their_driver(
    visible: str | None, num: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 9.0\necho 9.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(offers, "on_cpu", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert offers.machine() == Machine("gpu", num, 9.0 if num else 0.0)


@pytest.mark.parametrize(
    ("ratios", "effect", "why"),
    [
        (FASTER, HARMLESS, ""),
        ((1.2,), HARMLESS, "not surely faster"),  # one round decides nothing
        ((1.3, 0.9, 1.1), HARMLESS, "not surely faster"),
        ((0.8, 0.81, 0.79), HARMLESS, "slower"),
        (FASTER, EffectOnAnswers(0.05, 0.01, 0.051, 0.0, 0.0), "moves answers"),
        (FASTER, EffectOnAnswers(0.05, 0.0, 0.0, 0.0, -0.06), "moves answers"),
        (FASTER, EffectOnAnswers(0.05, 0.05, 0.05, 0.2, 0.05), ""),
        (FASTER, EffectOnAnswers(0.0, 0.0, 1e-9, 0.0, 0.0), "moves answers"),
    ],
)
def test_only_what_is_surely_faster_and_harmless_is_recommended(ratios: Any, effect: EffectOnAnswers, why: str) -> None:
    found = decide.judge(Candidate("block", "b"), ratios, [effect] * len(ratios))
    assert (found.why, found.is_recommended) == (why, why == "")


def test_the_worst_change_of_any_round_counts() -> None:
    rounds = [HARMLESS, EffectOnAnswers(0.05, 0.001, 0.2, 0.0, 0.0), HARMLESS]
    assert decide.judge(Candidate("block", "b"), FASTER, rounds).why == "moves answers"


def test_the_error_between_draws_is_pooled_over_duels() -> None:
    base = Shares({"a": (0.4, 0.6), "b": (0.5, 0.5)}, {"a": (0.5, 0.5)}, {"d": 0})
    found = decide.compare(base, base)
    assert found.error == pytest.approx((0.02 / 2 / 2) ** 0.5)
    assert (found.mean, found.worst, found.flips, found.shift) == (0, 0, 0, 0)
    with pytest.raises(ValueError, match="want 1 of each"):
        decide.compare(base, Shares({"c": (0.1, 0.2)}, {}, {}))


def judged(dimension: str, name: str, speed: float, why: str = "") -> JudgedCandidate:
    candidate = Candidate(dimension, name, options={name: 1})
    return JudgedCandidate(candidate, MeasuredInterval(speed - 0.1, speed, speed + 0.1), HARMLESS, why)


def test_the_fastest_of_each_dimension_is_chosen_and_measured_anew() -> None:
    found = [judged("a", "a1", 1.2), judged("a", "a2", 1.4), judged("b", "b1", 1.5), judged("c", "c1", 2.0, "slower")]
    chosen = decide.choose(found)
    assert [one.name for one in chosen] == ["b1", "a2"]
    both, alone = decide.confirmations(chosen)
    assert (both.options, alone.options) == ({"b1": 1, "a2": 1}, {"b1": 1})
    assert [one.options for one in decide.confirmations(chosen[:1])] == [{"b1": 1}]
    assert decide.confirmations([]) == []


class Trials:
    """Engines whose speed and shares are made up, by what the settings say."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []

    def __call__(self, work: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(work)
        options = work["settings"].get("vllm_options", {})
        if "speculative_config" in options:
            return {"failed": "leave out vllm_options.speculative_config"}
        speed = 1.0
        if options.get("block_size") == 32:
            speed = 1.5
        if work["settings"].get("max_num_seqs") == 16:
            speed *= 1.3
        moved = 0.4 if work["settings"].get("dtype") == "float16" else 0.0
        speed *= 3 if moved else 1
        seconds = 10 / speed * (1 + len(self.asked) / 1_000)
        given = {"e": (0.3 + moved, 0.5 + moved), "f": (0.5, 0.6)}
        return {
            "seconds": seconds, "events": 4, "given": given, "own": given, "tops": {"d": 0},
            "texts": {"d": " I am bored.\n"} if work["texts"] is None else work["texts"],
        }  # fmt: skip


def tuning(tmp_path: Path, trials: Trials, **more: Any) -> Tuning:
    work = {"settings": {"max_num_seqs": 8, "vllm_options": {"seed": 1}}}
    journal = Journal(tmp_path / "journal", "digest")
    return Tuning(work=work, journal=journal, rounds=3, trial=trials, say=lambda _: None, **more)


ONLY = frozenset({"sequences", "block", "dtype", "speculation"})


def test_what_is_faster_and_harmless_is_written_as_settings_that_load(tmp_path: Path) -> None:
    trials = Trials()
    found = tune(tuning(tmp_path, trials), CPU, Baseline(8), ONLY)
    told = as_json(found)
    assert told["recommended"] == {"max_num_seqs": 16, "vllm_options": {"block_size": 32}}
    assert told["candidates"]["dtype=float16"]["verdict"] == "moves answers"
    refused = "did not run: leave out vllm_options.speculative_config"
    assert told["candidates"]["n-gram speculation"]["verdict"] == refused
    assert told["candidates"]["again: block_size=32 + max_num_seqs=16"]["speed"]["middle"] == pytest.approx(
        1.95, abs=0.05
    )
    file = tmp_path / "tuned.yaml"
    file.write_text(settings_file(found))
    assert yaml.safe_load(file.read_text()) == told["recommended"]
    loaded = load(file)
    assert (loaded.max_num_seqs, loaded.vllm_options) == (16, {"block_size": 32})
    render(found)
    json.dumps(told)


def test_candidates_take_turns_with_the_baseline_and_all_read_the_same_rationales(tmp_path: Path) -> None:
    trials = Trials()
    tune(tuning(tmp_path, trials), CPU, Baseline(8), frozenset({"block"}))
    blocks = [one["settings"]["vllm_options"].get("block_size", 0) for one in trials.asked]
    assert blocks[:8] == [0, 16, 0, 32, 0, 64, 0, 128]
    assert blocks[8:12] == [16, 0, 32, 0]
    assert trials.asked[0]["texts"] is None
    assert all(one["texts"] == {"d": " I am bored.\n"} for one in trials.asked[1:])
    assert all(one["settings"]["vllm_options"]["seed"] == 1 for one in trials.asked)


def test_what_was_faster_by_chance_is_not_recommended(tmp_path: Path) -> None:
    """It is not faster when it is measured anew; and what two do together may be harmful, where one alone is not."""
    lucky = tuning(tmp_path, Trials())
    for number in range(3):
        work = {**lucky.work, "texts": None}
        pair = {"baseline": Trials()(work), "candidate": Trials()(work)}
        pair["candidate"]["seconds"] /= 2
        lucky.journal.found_pair("prefix cache off", number, pair)
    found = as_json(tune(lucky, CPU, Baseline(8), frozenset({"cache"})))
    assert found["candidates"]["prefix cache off"]["verdict"] == "recommended"
    assert found["candidates"]["again: prefix cache off"]["verdict"] in {"not surely faster", "slower"}
    assert found["recommended"] == {}


def test_a_run_that_was_ended_goes_on_after_its_last_pair(tmp_path: Path) -> None:
    first, limited = Trials(), tuning(tmp_path, Trials(), until_s=0.0)
    assert limited.judge([Candidate("block", "b", options={"block_size": 32})]) == []
    assert limited.left == ["b, round 1", "b, round 2", "b, round 3"]
    whole = tune(tuning(tmp_path, first), CPU, Baseline(8), ONLY)
    with (tmp_path / "journal").open("a") as journal:
        journal.write('{"candidate": "cut o')  # by a crash
    again = Trials()
    assert as_json(tune(tuning(tmp_path, again), CPU, Baseline(8), ONLY)) == as_json(whole)
    assert again.asked == []


def test_what_does_not_run_is_not_tried_again_and_a_baseline_that_does_not_ends_the_run(tmp_path: Path) -> None:
    trials = Trials()
    tune(tuning(tmp_path, trials), CPU, Baseline(8), frozenset({"speculation"}))
    assert len(trials.asked) == 2
    (tmp_path / "other").mkdir()
    broken = tuning(tmp_path / "other", Trials())
    broken.trial = lambda _: {"failed": "no weights"}
    with pytest.raises(Fatal, match="the settings as they are did not run: no weights"):
        tune(broken, CPU, Baseline(8), frozenset({"cache"}))


def test_a_journal_of_other_settings_is_refused(tmp_path: Path) -> None:
    path = journal_of(tmp_path / "tuned.yaml")
    Journal(path, "one")
    Journal(path, "one")
    with pytest.raises(BadSettings, match="is of other settings"):
        Journal(path, "two")
    path.write_text("not a journal\n")
    with pytest.raises(BadSettings, match="is no journal"):
        Journal(path, "one")


def test_nothing_recommended_is_said_in_the_file_and_is_no_setting() -> None:
    found = Tuned([judged("a", "a1", 0.9, "slower")], {}, None, ["b, round 1"])
    text = settings_file(found)
    assert "# Nothing is recommended" in text
    assert "1 pairs were not measured" in text
    assert yaml.safe_load(text) == {}


def test_a_setting_that_changes_answers_is_told_with_its_fingerprint() -> None:
    changes = Tuned([], {}, Candidate("dtype", "d", settings={"dtype": "float32"}), [])
    same = Tuned([], {}, Candidate("block", "b", options={"block_size": 32}), [])
    assert "another fingerprint" in settings_file(changes)
    assert "another fingerprint" not in settings_file(same)


def test_a_trial_has_the_settings_that_differ_from_their_defaults() -> None:
    found = changed(load(None, {"model": "other", "max_num_seqs": 8, "vllm_options": {"block_size": 32}}))
    assert found == {"model": "other", "max_num_seqs": 8, "vllm_options": {"block_size": 32}}
    assert load(None, found).max_num_seqs == 8


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import time; time.sleep(60)", "took more than 2 s"),
        (
            "import os, sys; sys.stderr.write('torch: abort\\n'); sys.stderr.flush(); os.abort()",
            "exited with -6: torch",
        ),
        ('print(\'{"failed": "no weights"}\')', "no weights"),
    ],
)
def test_a_trial_that_hangs_or_crashes_is_one_line(code: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(processes, "COMMAND", (sys.executable, "-c", code))
    assert processes.trial({}, limit_s=2)["failed"].startswith(why)


class Chosen(ChoiceModel):
    """The choice model in the place of vLLM; it does not end some of its own rationales."""

    block_size, device = 128, "cpu"

    def __init__(self, settings: Settings, profile: Profile, lengths: Lengths) -> None:
        super().__init__()
        self.is_natural = False

    async def forget(self) -> None:
        return

    @contextmanager
    def natural(self) -> Iterator[None]:
        self.is_natural = True
        yield
        self.is_natural = False

    async def draw(self, ask: Ask) -> Drawn:
        if self.is_natural and ask.order[0] == 1 and ask.question.kind is Kind.DUEL:
            return Drawn(Status.LENGTH)
        return await super().draw(ask)

    async def choose_after(self, ask: Ask, text: str) -> Drawn:
        return await super().draw(ask)


async def test_a_trial_tells_time_and_shares_and_compares_whole_duels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "BenchEngine", Chosen)
    settings = load(None, {"max_num_seqs": 8, "draws": 2})
    work = {"median": 8, "events": 12, "natural": True, "texts": None}
    found = await trials.measure(work, settings)
    assert found["seconds"] > 0
    assert 0 < len(found["own"]) < 12, "a duel with a draw that was not answered is left out"
    assert all(len(shares) == 2 for shares in found["own"].values())
    again = await trials.measure({**work, "texts": found["texts"]}, settings)
    assert (again["given"], again["tops"]) == (found["given"], found["tops"])
    effect = decide.compare(Shares.of(found), Shares.of(again))
    assert (effect.worst, effect.flips, effect.shift) == (0, 0, 0)
    json.dumps(found)
