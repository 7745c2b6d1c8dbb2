"""The processes of one training: `accelerate launch` starts several of one command, and the first one alone writes.

    first     looks . trains . writes . goes on          `.`: no process passes before all have come
    others    looks . trains .        . go on

Without a meeting behind the writing, another process would read what is half written, or not there yet; without one
behind the looking, a quick first process could write what a slow one then finds, and they would part ways.
"""

import os

_NUMBER, _ALL = "RANK", "WORLD_SIZE"  # as torchrun and accelerate set them
# What `accelerate launch` says of DeepSpeed beside the hyper-parameters, from its file or by default.
_OF_HYPER_PARAMETERS = ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "ACCELERATE_GRADIENT_CLIPPING")


def is_first() -> bool:
    """Return True for the process that writes; one that is alone is the first."""
    return int(os.environ.get(_NUMBER, "0")) == 0


def meet() -> None:
    """Wait for all processes of this training; one that is alone goes on."""
    if int(os.environ.get(_ALL, "1")) <= 1:
        return
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


def leave_to_hyper_parameters() -> None:
    """Let DeepSpeed take accumulation and clipping from the trainer: it ends a training in which they differ.

    A launcher's default, one pass per step, differs from the reference's recipe; and what one stage has set is not that
    of the next, so its state is forgotten.
    """
    for name in _OF_HYPER_PARAMETERS:
        os.environ.pop(name, None)
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") == "true":
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=False)  # noqa: SLF001 - there is no other way
