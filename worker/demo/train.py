r"""Train mirror-tiny, the small model of the demo and the tests: `python -m worker.demo.train --out DIR --minutes 35`.

The text is what the worker sends, `worker.prompt.build` of profile mirror-v1 in Qwen2's chat format; only the
assistant's turn counts in the loss.  Most steps leave the system message out, since it is the same in every prompt
and dear; the last ones put it in.
"""

import argparse
import json
import math
import random
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional

from worker import profiles, prompt
from worker.demo.qwen2 import EPSILON, ROPE_THETA, Qwen2, Shape
from worker.demo.rationale import write
from worker.demo.scenes import CATEGORIES, GENRES, MAX_HISTORY, TAGS, lessons

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MAX_LENGTH = 4096
MAX_VOCABULARY = 2048
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_CHAT = (
    "{%- for message in messages -%}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)
_PROFILE = profiles.load("mirror-v1")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train."""

    minutes: float = 35.0
    seed: int = 1
    batch: int = 32
    rate: float = 3e-3
    muon: float = 0.02
    plain_weight: float = 0.3
    telling_weight: float = 2.0
    rating_weight: float = 0.5
    warm_up: float = 0.03  # share of the time
    letter_weight: float = 5.0  # of the answer


@dataclass(frozen=True, slots=True)
class Stage:
    """What is taught until this share of the time; short scenes first, they show the same structure at less cost."""

    until: float
    max_options: int
    max_history: int
    system: bool


STAGES = (Stage(0.3, 4, 5, False), Stage(0.75, 12, 10, False), Stage(1.0, 12, 10, True))


import os

if os.environ.get("ONE"):
    STAGES = tuple(Stage(*x) for x in json.loads(os.environ["ONE"]))


def texts(seed: str, stage: Stage = STAGES[-1]) -> Iterator[tuple[str, str]]:
    """Yield user message and assistant turn, for ever."""
    for number, lesson in enumerate(
        lessons(_PROFILE, seed, options=(2, stage.max_options), max_history=stage.max_history)
    ):
        shared = prompt.scene(_PROFILE, lesson.impression, MAX_HISTORY)
        built = prompt.build(_PROFILE, shared, lesson.options)
        rng = random.Random(f"{seed}/rationale/{number}")
        yield built.user, built.prefix + write(lesson, rng)


def make_tokenizer() -> Tokenizer:
    """Learn byte-level BPE in Qwen2's manner.

    Options are learned without their letters, so "[A" stays two tokens and an answer is the letter of the list.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    corpus = [re.sub(r"\[[A-Z]\]", "", user + turn) for user, turn in islice(texts("tokenizer"), 2_000)]
    corpus += [_PROFILE.system["default"], _PROFILE.system["direct"]] * 50
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right; `weights` are 0 but on the tokens that the model is to predict."""

    rows: Tensor
    weights: Tensor


class Teacher:
    """Makes batches of rows of about equal lengths."""

    def __init__(self, tokenizer: Tokenizer, settings: Settings) -> None:
        """Find the tokens that carry the answer: the features, as a rationale names them."""
        self._tokenizer = tokenizer
        self._settings = settings
        self._telling = {i for name in GENRES for i in tokenizer.encode(f" {name}|{name}").ids} | {
            i for name in (*CATEGORIES, *TAGS) for i in tokenizer.encode(f" {name}").ids
        }

    def batches(self, stage: Stage) -> Iterator[Batch]:
        """Yield batches of one stage, for ever."""
        settings = self._settings
        source = texts(f"{settings.seed}/train/{stage.until}", stage)
        rng = random.Random(settings.seed)
        while True:
            rows = sorted((self._row(*next(source)) for _ in range(8 * settings.batch)), key=lambda row: len(row[0]))
            chunks = [rows[start : start + settings.batch] for start in range(0, len(rows), settings.batch)]
            rng.shuffle(chunks)
            for chunk in chunks:
                ids, weights = zip(*chunk, strict=True)
                yield Batch(_padded(ids), _padded(weights))

    def _row(self, user: str, turn: str) -> tuple[Tensor, Tensor]:
        prefix = _PROFILE.prefix["default"]
        head = self._tokenizer.encode(f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n{prefix}").ids
        tail = self._tokenizer.encode(turn.removeprefix(prefix) + "<|im_end|>\n").ids
        weights = self._ratings(head) + [
            self._settings.telling_weight if i in self._telling else self._settings.plain_weight for i in tail
        ]
        weights[-4:] = [self._settings.letter_weight, 0.1, 0.1, 0.0]
        return torch.tensor(head + tail), torch.tensor(weights)

    def _ratings(self, head: list[int]) -> list[float]:
        """Give weight to the history's ratings: to foresee them is to know the user's taste."""
        marks = self._tokenizer.encode("Rating: ").ids
        return [
            self._settings.rating_weight if head[max(0, i - len(marks)) : i] == marks else 0.0 for i in range(len(head))
        ]


def _padded(rows: tuple[Tensor, ...]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


class Optimiser:
    """Muon for the matrices inside the layers, AdamW for the rest."""

    def __init__(self, model: Qwen2, settings: Settings) -> None:
        """Split the parameters by the optimiser that suits them."""
        matrices = [weight for weight in model.layers.parameters() if weight.dim() > 1]
        if not settings.muon:
            matrices = []
        others = [weight for weight in model.parameters() if not any(weight is one for one in matrices)]
        self._parameters = [*matrices, *others]
        self._parts = [torch.optim.AdamW(others, lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.01)]
        if matrices:
            self._parts.append(torch.optim.Muon(matrices, lr=settings.muon, weight_decay=0.01))
        for part in self._parts:
            for group in part.param_groups:
                group["full_lr"] = group["lr"]

    def step(self, share: float) -> None:
        """Go one step at this share of the full rates."""
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = group["full_lr"] * share
            part.step()
            part.zero_grad()


def train(tokenizer: Tokenizer, shape: Shape, settings: Settings, out: Path) -> dict[str, object]:
    """Train and save; return the report."""
    torch.manual_seed(settings.seed)
    model = Qwen2(shape)
    if os.environ.get("COMP"):
        model.compile(dynamic=True)
    optimiser = Optimiser(model, settings)
    teacher = Teacher(tokenizer, settings)
    prefix = torch.tensor(tokenizer.encode(f"<|im_start|>system\n{_PROFILE.system['default']}<|im_end|>\n").ids)
    begin = time.monotonic()
    curve: list[dict[str, float]] = []
    step = 0
    sums = [0.0] * 4
    for stage in STAGES:
        for batch in teacher.batches(stage):
            done = (time.monotonic() - begin) / 60 / settings.minutes
            if done >= stage.until:
                break
            loss, parts = _loss(model, batch, prefix if stage.system else None, settings)
            loss.backward()
            optimiser.step(_schedule(done, settings.warm_up))
            step += 1
            sums = [a + b for a, b in zip(sums, parts)]
            if step % 25 == 0:
                curve.append(
                    {
                        "step": step,
                        "minutes": round(done * settings.minutes, 2),
                        **dict(zip(("plain", "rating", "telling", "letter"), (round(a / 25, 3) for a in sums))),
                    }
                )
                sums = [0.0] * 4
                print(json.dumps(curve[-1]), flush=True)
    report = {
        "settings": asdict(settings),
        "shape": asdict(shape),
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": step,
        "curve": curve,
    }
    save(model, tokenizer, report, out)
    return report


def _schedule(done: float, warm_up: float) -> float:
    return (
        done / warm_up
        if done < warm_up
        else 0.02 + 0.98 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))) / 2
    )


def _loss(model: Qwen2, batch: Batch, prefix: Tensor | None, settings: Settings) -> tuple[Tensor, list[float]]:
    weights = batch.weights[:, 1:].flatten()
    wanted = weights.nonzero()[:, 0]
    with torch.autocast("cpu", torch.bfloat16):
        states = model(batch.rows[:, :-1], prefix).flatten(0, 1)[wanted]
        logits = model.logits(states).float()
    losses = functional.cross_entropy(logits, batch.rows[:, 1:].flatten()[wanted], reduction="none")
    weights = weights[wanted]
    parts = [losses.detach()[(weights - w).abs() < 1e-4].sum().item() / max(1, ((weights - w).abs() < 1e-4).sum().item()) for w in (settings.plain_weight, settings.rating_weight, settings.telling_weight, settings.letter_weight)]
        losses.detach()[weights == w].mean().item() for w in (1.0, settings.telling_weight, settings.letter_weight)
    ]
    return (losses * weights).sum() / weights.sum(), parts


def save(model: Qwen2, tokenizer: Tokenizer, report: dict[str, object], out: Path) -> None:
    """Write the model folder beside `out`, then move it into place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=out.parent, prefix=".new-"))
    shape = model.shape
    state = {f"model.{name}": weight.detach().bfloat16().contiguous() for name, weight in model.state_dict().items()}
    save_file(state, new / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(new / "tokenizer.json"))
    ids = {name: tokenizer.token_to_id(name) for name in SPECIAL}
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "hidden_act": "silu",
        "max_position_embeddings": MAX_LENGTH,
        "rms_norm_eps": EPSILON,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
    }
    _write(new / "config.json", config)
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": MAX_LENGTH,
        "clean_up_tokenization_spaces": False,
        "chat_template": _CHAT,
    }
    _write(new / "tokenizer_config.json", tokenizer_config)
    _write(new / "training.json", report)
    new.chmod(0o755)
    if out.exists():
        shutil.rmtree(out)
    new.rename(out)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--x", default="{}")
    parser.add_argument("--s", default="{}")
    args = parser.parse_args()
    torch.set_num_threads(2)
    tokenizer = make_tokenizer()
    shape = Shape(vocabulary=math.ceil(tokenizer.get_vocab_size() / 64) * 64, **json.loads(args.s))
    train(tokenizer, shape, Settings(minutes=args.minutes, seed=args.seed, **json.loads(args.x)), args.out)


if __name__ == "__main__":
    main()
