"""TRL's trainers on rows that are tokenised already; imported by `train` alone, for TRL takes seconds to import."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from datasets.table import InMemoryTable
from transformers import PrinterCallback, TrainerCallback
from transformers.utils import logging
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from worker.core.errors import BadSettings
from worker.offline.align import files, processes
from worker.offline.align.hyper_parameters import Dpo

_SPLITS_WEIGHTS = 3  # from this stage of ZeRO on
REFERENCE = "ref"  # TRL's name of the adapter that DPO began with


def rows(columns: Mapping[str, Sequence[Sequence[int]]], name: str) -> Any:
    """Return columns as TRL wants them; `name` stands for the hash of the content, which datasets cannot always make.

    datasets 5.2 pickles the table for its hash, and pyarrow 26 has a type that cannot be pickled.
    """
    return Dataset(InMemoryTable.from_pydict(dict(columns)), fingerprint=name)


class Telling(TrainerCallback):
    """Tells each step, and marks a checkpoint once all of it is written."""

    def __init__(self, tell: Callable[[int, int], None], mark: str) -> None:
        self._tell, self._mark = tell, mark

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Tell how far the stage is."""
        self._tell(state.global_step, state.max_steps)

    def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Mark the checkpoint once every process has written its part of it.

        DPO's copy of the adapter that it began with is removed: it is made again from the first stage.  transformers
        5.19 loads only the adapters in folders of their own if there is one, so with it the trained adapter, which has
        none, would begin anew.
        """
        processes.meet()  # each process writes its state of chance into the checkpoint
        if processes.is_first():
            checkpoint = Path(args.output_dir, f"checkpoint-{state.global_step}")
            shutil.rmtree(checkpoint / REFERENCE, ignore_errors=True)
            files.sync_folder(checkpoint)  # a power cut must not leave the mark without what it stands for
            (checkpoint / self._mark).touch()


class _Pairs(DPOTrainer):
    """TRL's, which takes tokenised rows in its collator, but tokenises all that it is given."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


def sft(model: Any, data: Any, tokenizer: Any, arguments: Mapping[str, Any], *, callback: Telling) -> Any:
    """Return the trainer of the first stage; the loss is of the completions alone, as the labels say."""
    config = SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}, packing=False)
    return _quiet(
        SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[callback])
    )


def dpo(model: Any, data: Any, tokenizer: Any, arguments: Mapping[str, Any], *, stage: Dpo, callback: Telling) -> Any:
    """Return the trainer of the second stage; its reference is the model as it is now.

    DPO only sees how much likelier the preferred answer is than the other one, and both may become unlikely.  The loss
    of SFT beside it keeps the preferred one likely, and with it the form of an answer.
    """
    both: dict[str, Any] = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, stage.sft_weight]}
    config = DPOConfig(**arguments, beta=stage.beta, **(both if stage.sft_weight else {}))
    return _quiet(
        _Pairs(model=model, args=config, train_dataset=data, processing_class=tokenizer, callbacks=[callback])
    )


def refuse_split_weights(trainer: Any) -> None:
    """See that a process holds all weights, for the first one writes them alone.  Raises `BadSettings`."""
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    stage = plugin.zero_stage if plugin is not None else 0
    if trainer.is_fsdp_enabled or stage >= _SPLITS_WEIGHTS:
        seen = "FSDP" if trainer.is_fsdp_enabled else f"DeepSpeed ZeRO stage {stage}"
        raise BadSettings(
            f"accelerate: {seen} divides the weights among the processes; want plain data parallelism or DeepSpeed ZeRO"
            " stage 1 or 2, of which each process holds all weights; nothing was trained"
        )


def _quiet(trainer: Any) -> Any:
    """Keep the trainer from printing: standard output is for the command's result."""
    trainer.remove_callback(PrinterCallback)
    logging.disable_progress_bar()
    return trainer
