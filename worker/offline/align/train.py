"""Step 3, train: supervised fine-tuning on the preferred draws, then direct preference optimisation (TRL, PEFT).

    selected.jsonl  ->  sft/checkpoints/..., sft/  ->  dpo/checkpoints/..., candidate/

A stage goes on from its last whole checkpoint: weights, optimiser, schedule and chance are those of a run that was not
killed, so the weights have the same bytes on the same machine with the same number of threads and processes.  A stage
that is done is not done again.  Its folder is written aside and then takes its name.

With `accelerate launch` or DeepSpeed every process runs this and the first one writes (`processes`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.core.errors import BadSettings, Fatal
from worker.engines.adapters import NOTE, refuse_other_base
from worker.engines.model_files import model_path, weights_digest
from worker.offline.align import files, processes
from worker.offline.align.hyper_parameters import Dpo, HyperParameters, StageParameters
from worker.offline.align.rows import TrainingRow, dpo_columns, sft_columns
from worker.offline.evaluate.output_files import FULL

SFT, DPO, CANDIDATE, ABOUT = "sft", "dpo", "candidate", NOTE
_CHECKPOINTS = "checkpoints"
_WHOLE = "whole"  # a file in a checkpoint that is: one that was half written has none
_CHECKPOINTS_KEPT = 2
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "vocab.json")
_MORE_TOKENIZER = ("merges.txt", "added_tokens.json", "tokenizer.model", "tekken.json")
_TORCH_WRITES = ("inline_container", "iostream")  # in what `torch.save` says of a file
Tell = Callable[[str, int, int], None]  # stage, steps done, steps in all


@dataclass(frozen=True, slots=True)
class Base:
    """The model to begin with; `adapter` is a LoRA adapter to go on with."""

    model: str
    adapter: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder of the weights.  Raises `BadSettings` if it is none."""
        found = Path(model_path(self.model))
        if not (found / "config.json").is_file():
            raise BadSettings(
                f"base {self.model}: is no folder with config.json and *.safetensors; nothing was trained"
            )
        return found

    def digests(self) -> dict[str, str]:
        """Return what tells its weights apart."""
        adapter = {"adapter": weights_digest(self.adapter)} if self.adapter else {}
        return {"base": weights_digest(self.folder), **adapter}


class Training:
    """One training in one work folder; `identity` tells it from others (files, hyper-parameters, weights).

    Raises `BadSettings` if the folder holds another training, `Fatal` without TRL.
    """

    def __init__(
        self, work: Path, base: Base, hyper: HyperParameters, identity: Mapping[str, object], tell: Tell
    ) -> None:
        self._work, self._base, self._hyper, self._tell = work, base, hyper, tell
        self._about = {"identity": files.fingerprint(identity), **identity}
        try:
            import peft  # noqa: F401 - looked for before anything is loaded
            import trl  # noqa: F401 - the same
        except ImportError as error:
            raise Fatal(f"train needs TRL and PEFT ({error}): install requirements/align.txt") from error
        if base.adapter is not None and hyper.method == "full":
            raise BadSettings(f"adapter {base.adapter}: hyper-parameters have method: full; want method: lora")
        if base.adapter is not None:
            refuse_other_base(base.adapter, base.folder)

    def run(self, rows: Sequence[TrainingRow], tokenizer: Any) -> dict[str, int]:
        """Train both stages and return their steps."""
        import torch

        if self._hyper.threads is not None and not torch.cuda.is_available():
            torch.set_num_threads(self._hyper.threads)
        sft = self._work / SFT
        for out in (sft, self._work / CANDIDATE):
            files.check_folder(out)
        steps = {SFT: self._stage(SFT, self._hyper.sft, sft_columns(rows), tokenizer, start=None, out=sft)}
        pairs = dpo_columns(rows)
        if not pairs["prompt_ids"] and self._hyper.dpo.epochs:
            raise BadSettings(
                "selected.jsonl: no scene has a rejected draw, so there is nothing for DPO; set dpo.epochs: 0"
            )
        steps[DPO] = self._stage(DPO, self._hyper.dpo, pairs, tokenizer, start=sft, out=self._work / CANDIDATE)
        return steps

    def _stage(
        self,
        name: str,
        stage: StageParameters,
        columns: Mapping[str, Any],
        tokenizer: Any,
        *,
        start: Path | None,
        out: Path,
    ) -> int:
        """Run one stage into its folder, unless it is there; return how many steps it made."""
        done = self._done(out)
        scratch = self._work / f".{name}" / _CHECKPOINTS
        if done is None and stage.epochs:
            self._begin(scratch.parent)
        processes.meet()
        if done is not None:
            if processes.is_first():
                files.clear(scratch.parent)  # of a process that was killed between the result and this
            return done
        model = self._load(start)
        steps = 0
        if stage.epochs:
            trainer = self._trainer(name, stage, model, columns, tokenizer=tokenizer, scratch=scratch)
            with _room(scratch):
                result = trainer.train(resume_from_checkpoint=_last_whole(scratch))
            steps, model = int(result.global_step), trainer.model
        if processes.is_first():
            self._save(model, out, {"stage": name, "steps": steps})
            files.clear(scratch.parent)
        processes.meet()  # the next stage reads what was written
        return steps

    def _done(self, out: Path) -> int | None:
        found = self._noted(out, "steps")
        return None if found is None else int(found["steps"])

    def _begin(self, folder: Path) -> None:
        """Note whose checkpoints a folder will have.  Raises `BadSettings` if it has those of another training.

        They may know a user who is to be forgotten by now.
        """
        if self._noted(folder) is None and processes.is_first():
            files.clear(folder)
            folder.mkdir()
            files.write_whole(folder / ABOUT, {"identity": self._about["identity"]})

    def _noted(self, folder: Path, *names: str) -> Mapping[str, Any] | None:
        """Return the note of a folder, None without one.  Raises `BadSettings` for that of another training."""
        note = folder / ABOUT
        if not note.is_file():
            return None
        about = files.read_note(note, "identity", *names)
        if about["identity"] != self._about["identity"]:
            raise BadSettings(f"{folder}: is of another training; want another --work folder, or delete it")
        return about

    def _load(self, start: Path | None) -> Any:
        """Return the model to train: the base with its adapter, or what the stage before made."""
        import torch
        from transformers import AutoModelForCausalLM

        dtype = getattr(torch, self._hyper.dtype)
        full = self._hyper.method == "full"
        weights = start if full and start is not None else self._base.folder
        model = AutoModelForCausalLM.from_pretrained(str(weights), dtype=dtype if not full else torch.float32)
        model.config.use_cache = False
        if full:
            return model
        from peft import LoraConfig, PeftModel, get_peft_model

        adapter = start or self._base.adapter
        if adapter is not None:
            return PeftModel.from_pretrained(model, str(adapter), is_trainable=True)
        lora = self._hyper.lora
        torch.manual_seed(self._hyper.seed)  # of the first matrices
        config = LoraConfig(
            r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.target_modules,
            task_type="CAUSAL_LM",
        )  # fmt: skip
        return get_peft_model(model, config)

    def _trainer(
        self,
        name: str,
        stage: StageParameters,
        model: Any,
        columns: Mapping[str, Any],
        *,
        tokenizer: Any,
        scratch: Path,
    ) -> Any:
        from worker.offline.align import trainers

        _drop_halves(scratch)
        processes.leave_to_hyper_parameters()
        told = trainers.Telling(lambda at, of: self._tell(name, at, of), _WHOLE)
        arguments = self._arguments(stage, scratch)
        data = trainers.rows(columns, str(self._about["identity"]))
        if isinstance(stage, Dpo):
            made = trainers.dpo(model, data, tokenizer, arguments, stage=stage, callback=told)
        else:
            made = trainers.sft(model, data, tokenizer, arguments, callback=told)
        trainers.refuse_split_weights(made)
        return made

    def _arguments(self, stage: StageParameters, scratch: Path) -> dict[str, Any]:
        import torch

        has_gpu = torch.cuda.is_available()
        return {
            "output_dir": str(scratch),
            "num_train_epochs": stage.epochs,
            "learning_rate": stage.learning_rate,
            "weight_decay": stage.weight_decay,
            "warmup_steps": stage.warmup_steps,
            "lr_scheduler_type": stage.scheduler,
            "max_grad_norm": stage.max_grad_norm,
            "per_device_train_batch_size": stage.batch_size,
            "gradient_accumulation_steps": stage.accumulate,
            "gradient_checkpointing": self._hyper.gradient_checkpointing,
            "bf16": self._hyper.dtype == "bfloat16",
            "use_cpu": not has_gpu,
            "dataloader_pin_memory": has_gpu,
            "max_length": self._hyper.max_length,
            "seed": self._hyper.seed,
            "data_seed": self._hyper.seed,
            "save_strategy": "steps",
            "save_steps": self._hyper.save_steps,
            "save_total_limit": _CHECKPOINTS_KEPT,
            "report_to": "none",
            "logging_strategy": "no",
            "disable_tqdm": True,
            "remove_unused_columns": False,
        }

    def _save(self, model: Any, out: Path, more: Mapping[str, object]) -> None:
        """Write a folder that transformers and vLLM load, aside, then give it its name."""
        import torch

        if self._hyper.method == "full":
            own = getattr(model.config, "dtype", None) or torch.bfloat16
            model.to(_own_dtype(self._base.folder) or own)
            model.config.use_cache = True
        with files.whole_folder(out) as new, _room(new):
            if self._hyper.method == "full":
                model.save_pretrained(str(new))
                _copy_tokenizer(self._base.folder, new)
            else:
                model.save_pretrained(str(new), selected_adapters=["default"])
            files.write_whole(new / ABOUT, {**self._about, **more, "base_digest": weights_digest(self._base.folder)})


@contextmanager
def _room(place: Path) -> Iterator[None]:
    """Say in one line that there is no room for a folder.  Raises `Fatal`.

    Rust's safetensors and the C++ of torch have errors of their own for a full disk, without a number.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        of_torch = isinstance(error, RuntimeError) and any(one in str(error) for one in _TORCH_WRITES)
        if of_torch or isinstance(error, SafetensorError) or getattr(error, "errno", None) in FULL:
            words = f"cannot be written ({error}): is the disk full?"
            raise Fatal(f"{place}: {words}; the last whole checkpoint is kept, so the same command goes on") from error
        raise


def _own_dtype(folder: Path) -> Any:
    """Return the data type in which the base's weights are stored."""
    import torch

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), None)


def _copy_tokenizer(base: Path, out: Path) -> None:
    """Copy the tokenizer's files byte for byte: transformers writes some of them anew, with another split."""
    for name in (*_TOKENIZER, *_MORE_TOKENIZER):
        if (base / name).is_file():
            (out / name).write_bytes((base / name).read_bytes())


def _checkpoints(scratch: Path) -> list[Path]:
    return sorted(scratch.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))


def _last_whole(scratch: Path) -> str | None:
    return next((str(path) for path in reversed(_checkpoints(scratch)) if (path / _WHOLE).is_file()), None)


def _drop_halves(scratch: Path) -> None:
    """Remove checkpoints that a killed process was writing or removing."""
    for path in _checkpoints(scratch):
        if not (path / _WHOLE).is_file() and processes.is_first():
            files.clear(path)
