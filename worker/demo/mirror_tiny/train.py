r"""Train mirror-tiny, the small model of the demo and the tests.

    python -m worker.demo.mirror_tiny.train --out DIR --minutes 35

Processes of one thread each share the work and meet once a step, to add their gradients up: on a busy machine
that is far faster than one process of as many threads, which meet at every matrix.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, distributed, multiprocessing
from torch.nn import functional

from worker.demo.mirror_tiny import corpus, model_folder
from worker.demo.mirror_tiny.corpus import FEATURE, LETTER, PLAIN, STAGES, Batch, LessonStage
from worker.demo.mirror_tiny.qwen2 import NetworkSize, attention, initial, logits, read

_REPORT_STEPS = 50
_SAVE_MINUTES = 4.0
_PARTS = {"plain": PLAIN, "feature": FEATURE, "letter": LETTER}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train."""

    minutes: float = 35.0
    seed: int = 1
    processes: int = 2
    batch: int = 8  # rows of one process
    matrix_rate: float = 0.02  # Muon's
    other_rate: float = 3e-3  # AdamW's
    warm_up: float = 0.02  # share of the time
    last_rate: float = 0.02  # share of the full rate at the end
    hints: float = 1.0  # weight of the hints' losses beside that of the text


class Optimiser:
    """Muon for the matrices inside the layers, which learns them in fewer steps, and AdamW for the rest."""

    def __init__(self, weights: dict[str, Tensor], settings: TrainingSettings) -> None:
        """Split the weights by what suits them."""
        inside = [weight for name, weight in weights.items() if name.startswith("layers") and weight.dim() > 1]
        others = [weight for name, weight in weights.items() if not (name.startswith("layers") and weight.dim() > 1)]
        self._weights = [*inside, *others]
        self._full = (settings.matrix_rate, settings.other_rate)
        self._parts = (
            torch.optim.Muon(inside, lr=settings.matrix_rate, weight_decay=0.01),
            torch.optim.AdamW(others, lr=settings.other_rate, betas=(0.9, 0.98), weight_decay=0.01),
        )

    def step(self, share: float) -> None:
        """Make one step at this share of the full learning rates."""
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        for part, full in zip(self._parts, self._full, strict=True):
            for group in part.param_groups:
                group["lr"] = full * share
            part.step()
            part.zero_grad()


class Curve:
    """The mean losses of the last steps, by kind of token."""

    def __init__(self) -> None:
        """Start empty."""
        self.points: list[dict[str, float]] = []
        self._sums = torch.zeros(len(_PARTS), 2)
        self._hints = torch.zeros(2)

    def add(self, step: int, minutes: float, losses: Tensor, weights: Tensor, hints: Tensor) -> None:
        """Add one step's losses; every `_REPORT_STEPS` make a point."""
        for number, weight in enumerate(_PARTS.values()):
            chosen = losses[(weights - weight).abs() < 1e-3]  # noqa: PLR2004 - weights went through float32
            self._sums[number] += torch.tensor([chosen.sum().item(), len(chosen)])
        self._hints += hints / _REPORT_STEPS
        if step % _REPORT_STEPS == 0:
            means = (self._sums[:, 0] / self._sums[:, 1].clamp(min=1)).tolist()
            named = {name: round(mean, 3) for name, mean in zip(_PARTS, means, strict=True)}
            self.points.append({"step": step, "minutes": round(minutes, 1), **named})
            self.points[-1] |= {"looks": round(self._hints[0].item(), 3), "says": round(self._hints[1].item(), 3)}
            self._sums.zero_()
            self._hints.zero_()
            print(json.dumps(self.points[-1]), flush=True)  # noqa: T201 - progress of a command


def train(  # noqa: PLR0917 - spawn passes by position
    rank: int, settings: TrainingSettings, shape: NetworkSize, tokenizer_json: str, meet: str, out: Path
) -> None:
    """Run one of the training processes; the first one saves."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=settings.processes)
    tokenizer = Tokenizer.from_str(tokenizer_json)
    weights = {name: weight.requires_grad_() for name, weight in initial(shape).items()}
    optimiser, curve = Optimiser(weights, settings), Curve()
    system = torch.tensor(tokenizer.encode(corpus.system()).ids)
    clock = _Clock(settings)
    saved = 0.0
    for step, (stage, batch) in enumerate(_lessons(tokenizer, settings, rank, clock), start=1):
        losses, counted, hinted = _losses(weights, shape, batch, system if stage.system else None)
        (losses.mul(counted).sum().div(counted.sum()) + settings.hints * hinted.sum()).backward()
        clock.done = _share(list(weights.values()), clock.now(), settings.processes)
        optimiser.step(_schedule(clock.done, settings))
        if rank == 0:
            curve.add(step, clock.done * settings.minutes, losses.detach(), counted, hinted.detach())
            if (clock.done - saved) * settings.minutes > _SAVE_MINUTES or clock.done >= 1:
                saved = clock.done
                report = {
                    "settings": asdict(settings),
                    "stages": [asdict(one) for one in STAGES],
                    "steps": step,
                    "curve": curve.points,
                }
                model_folder.save(out, weights, shape, tokenizer, report)


class _Clock:
    def __init__(self, settings: TrainingSettings) -> None:
        self._begin, self._minutes = time.monotonic(), settings.minutes
        self.done = 0.0  # the share of the time that has passed, agreed by all processes

    def now(self) -> float:
        return (time.monotonic() - self._begin) / 60 / self._minutes


def _lessons(
    tokenizer: Tokenizer, settings: TrainingSettings, rank: int, clock: _Clock
) -> Iterator[tuple[LessonStage, Batch]]:
    """Yield batches stage by stage until the time is up; all processes change stages at the same step."""
    for number, stage in enumerate(STAGES):
        seed = f"{settings.seed}/train/{number}/{rank}"
        for batch in corpus.batches(tokenizer, stage, seed=seed, size=settings.batch):
            if clock.done >= stage.until:
                break
            yield stage, batch


def _losses(
    weights: dict[str, Tensor], shape: NetworkSize, batch: Batch, system: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss of each token that counts, its weight, and the mean losses of both kinds of hints."""
    counted = batch.weights[:, 1:].flatten()
    at = counted.nonzero()[:, 0]
    with torch.autocast("cpu", torch.bfloat16):
        states = read(weights, shape, batch.rows[:, :-1], system)
        scores = logits(weights, states[-1].flatten(0, 1)[at]).float()
        hinted = torch.stack((_look_loss(weights, shape, states, batch.looks), _say_loss(weights, states, batch.says)))
    losses = functional.cross_entropy(scores, batch.rows[:, 1:].flatten()[at], reduction="none")
    return losses, counted[at], hinted


def _look_loss(weights: dict[str, Tensor], shape: NetworkSize, states: list[Tensor], looks: Tensor) -> Tensor:
    """Return the mean of -ln(attention that a head pays to all that it shall see), heads counted alike."""
    losses = []
    for layer, head in looks[:, 1:3].unique(dim=0).tolist():
        row, at, seen = looks[(looks[:, 1] == layer) & (looks[:, 2] == head)][:, (0, 3, 4)].T
        scores = attention(weights, shape, states[layer], layer, head).float()
        wanted = torch.zeros_like(scores, dtype=torch.bool)
        wanted[row, at, seen] = True
        asking = wanted.any(-1)
        before = torch.ones(scores.shape[1:], dtype=torch.bool).tril().expand_as(scores)[asking]
        paid = scores[asking].masked_fill(~before, -math.inf).log_softmax(-1)
        losses.append(-paid.masked_fill(~wanted[asking], -math.inf).logsumexp(-1).mean())
    return torch.stack(losses).mean()


def _say_loss(weights: dict[str, Tensor], states: list[Tensor], says: Tensor) -> Tensor:
    """Return the mean of -ln(probability of what a place shall know), layers counted alike."""
    losses = []
    for layers in says[:, 1].unique().tolist():
        row, _, at, token = says[says[:, 1] == layers].T
        losses.append(functional.cross_entropy(logits(weights, states[layers][row, at]).float(), token))
    return torch.stack(losses).mean()


def _share(weights: list[Tensor], now: float, processes: int) -> float:
    """Make all gradients the mean of the processes'; return the mean of their clocks."""
    flat = torch.cat([*(weight.grad.flatten() for weight in weights if weight.grad is not None), torch.tensor([now])])
    distributed.all_reduce(flat)
    flat /= processes
    start = 0
    for weight in weights:
        weight.grad = flat[start : start + weight.numel()].view_as(weight).clone()
        start += weight.numel()
    return float(flat[-1])


def _schedule(done: float, settings: TrainingSettings) -> float:
    """Rise, then fall like a cosine."""
    if done < settings.warm_up:
        return done / settings.warm_up
    fallen = min(1.0, (done - settings.warm_up) / (1 - settings.warm_up))
    return settings.last_rate + (1 - settings.last_rate) * (1 + math.cos(math.pi * fallen)) / 2


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=TrainingSettings().minutes)
    parser.add_argument("--seed", type=int, default=TrainingSettings().seed)
    args = parser.parse_args()
    settings = TrainingSettings(minutes=args.minutes, seed=args.seed)
    tokenizer = corpus.make_tokenizer()
    shape = NetworkSize(vocabulary=math.ceil(tokenizer.get_vocab_size() / 64) * 64)
    with tempfile.TemporaryDirectory() as place:
        arguments = (settings, shape, tokenizer.to_str(), str(Path(place, "meet")), args.out)
        multiprocessing.spawn(train, arguments, nprocs=settings.processes)


if __name__ == "__main__":
    main()
