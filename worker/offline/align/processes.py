"""The processes of one training: `accelerate launch` starts several of one command, and the first one alone writes.

    first     looks . trains . writes . goes on          `.`: no process passes before all have come
    others    looks . trains .        . go on

Without a meeting behind the writing, another process would read what is half written, or not there yet; without one
behind the looking, a quick first process could write what a slow one then finds, and they would part ways.
"""

import os

_NUMBER, _ALL = "RANK", "WORLD_SIZE"  # as torchrun and accelerate set them


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
