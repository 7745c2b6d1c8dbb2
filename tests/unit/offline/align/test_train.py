"""Training with TRL on the tiny model: it resumes to the same bytes, and refuses what does not fit."""

import json
import os
import random
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("trl", reason="training needs requirements/align.txt, which the tests' requirements hold")

import accelerate.state
from safetensors import safe_open

from tests.support import alignment
from tests.support.full_disk import files_of_at_most
from worker.core.errors import BadSettings, Fatal
from worker.core.prompts import prompt
from worker.demo.mirror_tiny.rationale import write
from worker.demo.scenes import lessons
from worker.engines.model_files import model_path
from worker.offline.align import files, processes, steps, trainers
from worker.offline.align.choice_source import hashed
from worker.offline.align.hyper_parameters import HyperParameters, load
from worker.offline.align.rows import RowReader
from worker.offline.align.train import Base
from worker.settings import prompt_profiles

NUM_SCENES = 6
TINY = Path(model_path("mirror-tiny"))
LORA = {"method": "lora", "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}}


class Killed(Exception):
    """The process died here."""


def selected(work: Path, profile: str) -> prompt.Profile:
    """Write what `select` would: lessons of mirror-tiny, each with the second best option as the rejected one."""
    found = prompt_profiles.load(profile)
    lines: list[dict[str, object]] = []
    for number, lesson in enumerate(islice(lessons(found, "train", options=(4, 4), max_history=2), NUM_SCENES)):
        built = prompt.build(found, prompt.scene(found, lesson.impression, 10), lesson.options)
        text = write(lesson, random.Random(number)).partition("Behavior: [")[0]
        lines.append({
            "line": number, "digest": str(number), "user": f"user {number}", "domain": "movies", "at": 10 + number,
            "options": 4, "prompt": {"system": built.system, "user": built.user, "prefix": built.prefix},
            "score": 0.0, "chosen": {"text": text, "letter": lesson.best},
            "rejected": {"text": text, "letter": (lesson.best + 1) % 4},
        })  # fmt: skip
    split = {"salt": "", "held_out_users": 0.5, "cut_us": None}
    header: dict[str, object] = {"choices": "c", "outcomes": None, "split": split,
              "prompt": found.sha256, "settings": {}, "forgotten": [], "by": "random", "keep": 0}  # fmt: skip
    work.mkdir(parents=True)
    with files.Growing(work / "selected.jsonl", header) as file:
        file.append(lines)
        file.finish()
    return found


def hyper(folder: Path, **more: Any) -> HyperParameters:
    found = alignment.hyper(folder, save_steps=1).model_dump()
    for stage in ("sft", "dpo"):
        found[stage] |= {"epochs": 1, "batch_size": 2, "warmup_steps": 0}
    return HyperParameters.model_validate(found | more)


def train(work: Path, own: HyperParameters, found: prompt.Profile, **more: Any) -> Mapping[str, int]:
    return steps.train(work, Base("mirror-tiny"), own, profile=found, **more).steps


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


@pytest.mark.parametrize(
    ("more", "kills"),
    [
        pytest.param({}, (("sft", 2), ("dpo", 3)), marks=pytest.mark.long, id="full"),
        pytest.param(LORA, (("dpo", 2),), id="lora"),
    ],
)
def test_a_training_that_was_killed_goes_on_to_the_same_bytes(
    tmp_path: Path, more: dict[str, Any], kills: tuple[tuple[str, int], ...]
) -> None:
    """In both stages, right after a checkpoint and before it is marked as whole."""
    profile = alignment.short_profile(tmp_path)
    own = hyper(tmp_path, **more)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    found = selected(undisturbed, profile)
    assert train(undisturbed, own, found) == {"sft": 3, "dpo": 3}
    selected(killed, profile)
    for stage, at in kills:

        def die(name: str, step: int, _of: int, stage: str = stage, at: int = at) -> None:
            if (name, step) == (stage, at):
                raise Killed

        with pytest.raises(Killed):
            train(killed, own, found, tell=die)
        assert not (killed / "candidate").exists()
        half = killed / f".{stage}" / "checkpoints" / "checkpoint-99"  # of a process that died while it wrote
        half.mkdir(parents=True, exist_ok=True)
        (half / "model.safetensors").write_bytes(b"half")
    assert train(killed, own, found) == {"sft": 3, "dpo": 3}
    for stage in ("sft", "candidate"):
        assert weights(killed / stage) == weights(undisturbed / stage) != weights(TINY)
    assert sorted(path.name for path in killed.iterdir()) == ["candidate", "selected.jsonl", "sft"]


def test_a_training_with_other_options_does_not_go_on_from_what_was_killed(tmp_path: Path) -> None:
    """Its checkpoints may know a user who is to be forgotten by now; one without a note is of nobody knows what."""
    work, own = tmp_path / "work", hyper(tmp_path, **LORA)
    found = selected(work, alignment.short_profile(tmp_path))

    seen: list[int] = []

    def die(_name: str, step: int, _of: int) -> None:
        seen.append(step)
        if step == 2:
            raise Killed

    with pytest.raises(Killed):
        train(work, own, found, tell=die)
    assert list((work / ".sft" / "checkpoints").glob("checkpoint-1/whole"))
    other = hyper(tmp_path, **LORA, sft=own.sft.model_dump() | {"learning_rate": 1e-2})
    with pytest.raises(BadSettings, match=r"/\.sft: is of another training; want another --work folder, or delete it"):
        train(work, other, found)
    (work / ".sft" / "align.json").unlink()
    with pytest.raises(Killed):
        train(work, other, found, tell=die)
    assert seen == [1, 2, 1, 2]


def test_a_checkpoint_is_on_the_disk_before_it_counts_as_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut keeps a mark without bytes, and may lose the bytes of the weights that were written before it."""
    checkpoint = tmp_path / "checkpoint-1"
    checkpoint.mkdir()
    seen: list[list[Path]] = []
    monkeypatch.setattr(files, "sync_folder", lambda folder: seen.append(list(folder.iterdir())))
    arguments, state = SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace(global_step=1)
    trainers.Telling(lambda *_: None, "whole").on_save(arguments, state, None)
    assert seen == [[]]
    assert [one.name for one in checkpoint.iterdir()] == ["whole"]


def test_what_a_kill_left_beside_a_result_is_removed(tmp_path: Path) -> None:
    """Checkpoints are many times as large as an adapter."""
    none = {"epochs": 0}
    own = hyper(tmp_path, **LORA)
    own = hyper(tmp_path, **LORA, sft=own.sft.model_dump() | none, dpo=own.dpo.model_dump() | none)
    found = selected(tmp_path / "work", alignment.short_profile(tmp_path))
    train(tmp_path / "work", own, found)
    (tmp_path / "work" / ".sft" / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    train(tmp_path / "work", own, found)
    names = sorted(path.name for path in (tmp_path / "work").iterdir())
    assert names == ["candidate", "selected.jsonl", "sft"]


@pytest.mark.parametrize("room_bytes", [1_000_000, 6_000_000], ids=["safetensors", "torch"])
def test_a_disk_without_room_is_told_and_the_training_goes_on_later(tmp_path: Path, room_bytes: int) -> None:
    """Weights of 4.4 MB are written by safetensors, the optimiser's state by torch, each with errors of its own."""
    found = selected(tmp_path / "work", alignment.short_profile(tmp_path))
    own = hyper(tmp_path, dpo=hyper(tmp_path).dpo.model_dump() | {"epochs": 0})
    told = r"\.sft/checkpoints: cannot be written \(.*\): is the disk full\?; the last whole checkpoint is kept"
    with files_of_at_most(room_bytes), pytest.raises(Fatal, match=told):
        train(tmp_path / "work", own, found)
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == [".sft", "selected.jsonl"]
    assert train(tmp_path / "work", own, found)["sft"] == 3


def test_a_result_without_room_leaves_no_folder(tmp_path: Path) -> None:
    found = selected(tmp_path / "work", alignment.short_profile(tmp_path))
    none = {"epochs": 0}
    own = hyper(tmp_path, sft=hyper(tmp_path).sft.model_dump() | none, dpo=hyper(tmp_path).dpo.model_dump() | none)
    with files_of_at_most(1_000_000), pytest.raises(Fatal, match=r"\.sft.new: cannot be written"):
        train(tmp_path / "work", own, found)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["selected.jsonl"]
    (tmp_path / "work" / "candidate").touch()
    with pytest.raises(BadSettings, match=r"candidate: is a file or a link; want a folder there, or none yet"):
        train(tmp_path / "work", own, found)


@pytest.mark.parametrize(
    ("fsdp", "stage", "seen"), [(True, 0, "FSDP"), (False, 3, "DeepSpeed ZeRO stage 3"), (False, 2, "")]
)
def test_weights_that_are_divided_among_processes_are_refused(fsdp: bool, stage: int, seen: str) -> None:
    """The first process would save its part of them as if it were all."""
    plugin = SimpleNamespace(zero_stage=stage) if stage else None
    state = SimpleNamespace(deepspeed_plugin=plugin)
    trainer = SimpleNamespace(accelerator=SimpleNamespace(state=state), is_fsdp_enabled=fsdp)
    if not seen:
        trainers.refuse_split_weights(trainer)
        return
    with pytest.raises(BadSettings, match=rf"accelerate: {seen} divides the weights among the processes; want plain"):
        trainers.refuse_split_weights(trainer)


def test_the_hyper_parameters_decide_what_a_launcher_has_a_default_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed ends a training whose launcher says another accumulation, 1 by default, than the hyper-parameters."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    monkeypatch.setenv("ACCELERATE_GRADIENT_CLIPPING", "1.0")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    state = accelerate.state.AcceleratorState
    monkeypatch.setattr(state, "_shared_state", {"deepspeed_plugins": "of the first stage"})
    processes.leave_to_hyper_parameters()
    assert "deepspeed_plugins" not in state._shared_state
    assert not any(name.startswith("ACCELERATE_GRADIENT") for name in os.environ)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    profile = alignment.short_profile(folder)
    found = selected(folder / "work", profile)
    dpo = {"dpo": hyper(folder).dpo.model_dump() | {"epochs": 0}}
    train(folder / "work", hyper(folder, **LORA, **dpo), found)
    (folder / "work" / "profile.json").write_text(json.dumps(profile))
    return folder / "work"


def test_an_adapter_of_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    """By the digest of the base that it notes; without one, by the shapes of its matrices."""
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (other / name).write_bytes((TINY / name).read_bytes())
    _halve(TINY / "model.safetensors", other / "model.safetensors")
    found = prompt_profiles.load(json.loads((adapter / "profile.json").read_text()))
    own = hyper(tmp_path, **LORA)
    made = adapter / "candidate"
    with pytest.raises(BadSettings, match=r"adapter .*candidate: was made for a base of weights \w{12}, and .* has"):
        steps.train(adapter, Base(str(other), made), own, profile=found)
    (made / "align.json").unlink()
    with pytest.raises(BadSettings, match=r"weight is \d+ wide in .*, want \d+ wide: it is an adapter of another base"):
        steps.train(adapter, Base(str(other), made), own, profile=found)
    with pytest.raises(BadSettings, match="hyper-parameters have method: full; want method: lora"):
        steps.train(adapter, Base("mirror-tiny", made), hyper(tmp_path), profile=found)


def _halve(path: Path, to: Path) -> None:
    """Write weights whose matrices are half as wide."""
    from safetensors.numpy import save_file
    from safetensors.torch import load_file

    halved = {name: one[..., : one.shape[-1] // 2].float().numpy() for name, one in load_file(path).items()}
    save_file(halved, to)


def test_another_training_in_the_same_folder_is_refused(adapter: Path, tmp_path: Path) -> None:
    found = prompt_profiles.load(json.loads((adapter / "profile.json").read_text()))
    with pytest.raises(BadSettings, match="sft: is of another training; want another --work folder, or delete it"):
        train(adapter, hyper(tmp_path), found)


def test_scenes_that_do_not_fit_are_counted_and_none_is_an_error(tmp_path: Path) -> None:
    found = selected(tmp_path / "work", alignment.short_profile(tmp_path))
    with pytest.raises(BadSettings, match=r"no scene fits max_length=64 tokens \(6 too_long\); nothing was trained"):
        train(tmp_path / "work", hyper(tmp_path, max_length=64), found)
    own = hyper(tmp_path, sft=hyper(tmp_path).sft.model_dump() | {"epochs": 0},
                dpo=hyper(tmp_path).dpo.model_dump() | {"epochs": 0})  # fmt: skip
    _, lines = files.read(tmp_path / "work" / "selected.jsonl", "select")
    lengths = [len(one.prompt) + len(one.chosen) for one in RowReader(str(TINY), found.stop).rows(list(lines), 9999)[0]]
    limit = sorted(lengths)[3]  # four of them fit
    made = steps.train(
        tmp_path / "work", Base("mirror-tiny"), own.model_copy(update={"max_length": limit}), profile=found
    )
    assert (made.rows, made.left_out, made.steps) == (4, {"too_long": NUM_SCENES - 4}, {"sft": 0, "dpo": 0})


def test_a_model_whose_letters_are_no_single_tokens_is_refused(tmp_path: Path) -> None:
    found = selected(tmp_path / "work", alignment.short_profile(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    for path in TINY.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    content = json.loads((TINY / "tokenizer.json").read_text())
    vocabulary, merges = content["model"]["vocab"], content["model"]["merges"]
    merged = next(one for one in vocabulary if len(one) > 10)  # some long word gives its place to "[A"
    place = vocabulary.pop(merged)
    vocabulary["[A"] = place
    merges[:] = [one for one in merges if merged not in ("".join(one), *one)]
    merges.append(["[", "A"])
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": r"\[[A-Z]|[^\[]+|\["}
    (other / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(Fatal, match="want the letter as one token after those of the text before it"):
        steps.train(tmp_path / "work", Base(str(other)), hyper(tmp_path), profile=found)
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["selected.jsonl"]


def test_a_base_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    found = selected(tmp_path / "work", alignment.short_profile(tmp_path))
    with pytest.raises(BadSettings, match=r"base some/model: is no folder with config.json .*nothing was trained"):
        steps.train(tmp_path / "work", Base("some/model"), hyper(tmp_path), profile=found)


def test_a_row_is_what_the_engines_read(tmp_path: Path) -> None:
    """The letter is the one token whose probability is read, and the turn is ended."""
    found = selected(tmp_path / "work", alignment.short_profile(tmp_path))
    _, lines = files.read(tmp_path / "work" / "selected.jsonl", "select")
    line = next(lines)
    reader = RowReader(str(TINY), found.stop)
    (row,), _ = reader.rows([line], 9999)
    text = reader.tokenizer.decode(row.prompt + row.chosen)
    assert text.endswith(f"Behavior: [{'ABCD'[line['chosen']['letter']]}]<|im_end|>")
    assert f"{line['prompt']['prefix']}{line['chosen']['text']}" in text
    assert len(row.prompt) + len(row.chosen) == len(reader.tokenizer(text)["input_ids"])


def test_a_user_who_asks_to_be_forgotten_is_not_trained_on(tmp_path: Path) -> None:
    found = selected(tmp_path / "work", alignment.short_profile(tmp_path))
    path = tmp_path / "work" / "selected.jsonl"
    path.write_bytes(path.read_bytes())
    none = {"epochs": 0}
    own = hyper(tmp_path, sft=hyper(tmp_path).sft.model_dump() | none, dpo=hyper(tmp_path).dpo.model_dump() | none)
    header, lines = files.read(path, "select")
    told = {name: value for name, value in header.items() if name not in {"mirrorstream", "version"}}
    rest = [{**line, "user": hashed("me") if line["line"] == 0 else line["user"]} for line in lines]
    path.unlink()
    with files.Growing(path, told) as file:
        file.append(rest)
        file.finish()
    made = steps.train(tmp_path / "work", Base("mirror-tiny"), own, profile=found, forget=frozenset({"me"}))
    assert (made.rows, made.left_out, made.unknown) == (NUM_SCENES - 1, {"forgotten": 1}, ())
    assert hashed("me") in (tmp_path / "work" / "candidate" / "align.json").read_text()


def test_the_result_has_the_shapes_types_and_tokenizer_of_the_base(adapter: Path, tmp_path: Path) -> None:
    found = selected(tmp_path / "work", alignment.short_profile(tmp_path))
    train(tmp_path / "work", hyper(tmp_path, dpo=hyper(tmp_path).dpo.model_dump() | {"epochs": 0}), found)
    made = tmp_path / "work" / "candidate"
    assert _form(made) == _form(TINY)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (made / name).read_bytes() == (TINY / name).read_bytes()
    assert (adapter / "candidate" / "adapter_config.json").is_file()


def _form(folder: Path) -> dict[str, tuple[str, list[int]]]:
    with safe_open(folder / "model.safetensors", "pt") as opened:
        parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        return {name: (part.get_dtype(), part.get_shape()) for name, part in parts.items()}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: a", "sft: is missing; dpo: is missing"),
        ("sft: {epochs: -1}", "sft.epochs: want"),
        ("a: [", "is not YAML"),
        ("nmae: x", "nmae:"),
    ],
)
def test_hyper_parameters_that_are_wrong_are_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "hyper.yaml"
    path.write_text(text)
    with pytest.raises(BadSettings, match=told):
        load(str(path))


def test_the_default_is_the_references_recipe() -> None:
    found = load("reference")
    assert (found.method, found.sft.learning_rate, found.sft.epochs) == ("full", 2e-4, 1)
    assert (found.dpo.learning_rate, found.dpo.epochs, found.dpo.beta, found.dpo.weight_decay) == (1e-5, 2, 0.1, 0.05)
    assert (found.sft.batch_size, found.sft.accumulate, found.sft.warmup_steps) == (1, 4, 10)
    assert (found.sft.weight_decay, found.sft.max_grad_norm, found.dpo.max_grad_norm) == (0.01, 0, 0)


def test_sft_beside_dpo_keeps_the_preferred_answers_likely(tmp_path: Path) -> None:
    """DPO alone, with long steps, makes both answers of a pair less likely; mean log-probability of a token."""
    found, likely = prompt_profiles.load(alignment.short_profile(tmp_path)), []
    for number, weight in enumerate((0.0, 1.0)):
        selected(tmp_path / str(number), alignment.short_profile(tmp_path))
        own = hyper(tmp_path).model_dump()
        own["sft"] |= {"epochs": 0}
        own["dpo"] |= {"epochs": 3, "learning_rate": 1e-3, "sft_weight": weight}
        train(tmp_path / str(number), HyperParameters.model_validate(own), found)
        likely.append(_log_likelihood(tmp_path / str(number), found))
    without, beside = likely
    assert beside > without + 0.03, likely


def _log_likelihood(work: Path, found: prompt.Profile) -> float:
    """Return the candidate's mean log-probability of a token of the preferred answers."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(work / "candidate"), dtype=torch.float32)
    _, lines = files.read(work / "selected.jsonl", "select")
    sums = []
    for row in RowReader(str(TINY), found.stop).rows(list(lines), 9999)[0]:
        with torch.no_grad():
            scores = model(torch.tensor([row.prompt + row.chosen])).logits[0, len(row.prompt) - 1 : -1].log_softmax(-1)
        sums.append(scores[torch.arange(len(row.chosen)), torch.tensor(row.chosen)].mean().item())
    return float(sum(sums) / len(sums))


def test_without_trl_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    found = selected(tmp_path / "work", alignment.short_profile(tmp_path))
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(Fatal, match=r"train needs TRL and PEFT .*: install requirements/align.txt"):
        train(tmp_path / "work", hyper(tmp_path), found)
