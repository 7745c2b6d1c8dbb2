"""What mirror-tiny reads: lessons as chat text, its tokenizer, and batches of token rows.

The text is what the worker sends, `worker.prompt.build` of profile mirror-v1 in Qwen2's chat format.  Only what the
model is to write has weight in the loss, and the ratings in the history: to foresee them is to know the taste.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from worker import profiles, prompt
from worker.demo.invented import CATEGORIES, GENRES, MAX_HISTORY, TAGS
from worker.demo.rationale import write
from worker.demo.scenes import Lesson, lessons

PROFILE = profiles.load("mirror-v1")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MAX_VOCABULARY = 2048
_SPLIT = (  # Qwen2's
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SORTED_BATCHES = 8  # how many batches are sorted by length together

# Weights of tokens in the loss.
PLAIN, RATING, FEATURE, LETTER = 0.3, 0.5, 2.0, 5.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What is taught until this share of the time.

    Short scenes come first: they show the same structure at less cost, and without a history the answer is simply
    the option whose features the rationale names.  The system message is the same in all prompts and dear, so it
    comes last.
    """

    until: float
    max_options: int
    max_history: int
    system: bool = False


STAGES = (
    Stage(0.08, max_options=3, max_history=0),
    Stage(0.14, max_options=8, max_history=0),
    Stage(0.40, max_options=5, max_history=6),
    Stage(0.75, max_options=12, max_history=MAX_HISTORY),
    Stage(1.00, max_options=12, max_history=MAX_HISTORY, system=True),
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right; `weights` are those of each row's tokens in the loss."""

    rows: Tensor
    weights: Tensor


def question(lesson: Lesson) -> str:
    """Return the user's turn and the start of the assistant's."""
    built = prompt.build(PROFILE, prompt.scene(PROFILE, lesson.impression, MAX_HISTORY), lesson.options)
    return f"<|im_start|>user\n{built.user}<|im_end|>\n<|im_start|>assistant\n{built.prefix}"


def system() -> str:
    """Return the system's turn."""
    return f"<|im_start|>system\n{PROFILE.system['default']}<|im_end|>\n"


def make_tokenizer() -> Tokenizer:
    """Learn byte-level BPE in Qwen2's manner.

    Options are learned without their letters, so "[A" stays two tokens and an answer is the letter of the list.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MAX_VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_texts(), trainer)
    return tokenizer


def _tokenizer_texts() -> Iterator[str]:
    for number, lesson in enumerate(islice(lessons(PROFILE, "tokenizer"), 2_000)):
        yield re.sub(r"\[[A-Z]\]", "", question(lesson) + write(lesson, random.Random(number)))
    for _ in range(50):
        yield from PROFILE.system.values()


def batches(tokenizer: Tokenizer, stage: Stage, *, seed: str, size: int) -> Iterator[Batch]:
    """Yield batches of one stage for ever, each of rows of about equal lengths."""
    rows = _rows(tokenizer, stage, seed)
    order = random.Random(stage.until)  # the same for all seeds, so that processes take long batches together
    while True:
        pool = sorted(islice(rows, _SORTED_BATCHES * size), key=lambda row: len(row[0]))
        starts = list(range(0, len(pool), size))
        order.shuffle(starts)
        for start in starts:
            ids, weights = zip(*pool[start : start + size], strict=True)
            yield Batch(_padded(ids), _padded(weights))


def _rows(tokenizer: Tokenizer, stage: Stage, seed: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the tokens of lessons and their weights."""
    found = lessons(PROFILE, seed, options=(2, stage.max_options), max_history=stage.max_history)
    features = _feature_tokens(tokenizer)
    bracket = tokenizer.encode("Behavior: [").ids[-1]
    mark = tokenizer.encode("Rating: ").ids
    for number, lesson in enumerate(found):
        rng = random.Random(f"{seed}/rationale/{number}")
        head = tokenizer.encode(question(lesson)).ids
        weights = [RATING if head[max(0, at - len(mark)) : at] == mark else 0.0 for at in range(len(head))]
        tail = tokenizer.encode(write(lesson, rng) + "<|im_end|>\n").ids
        weights += [FEATURE if token in features else PLAIN for token in tail]
        weights[len(head) + _last(tail, bracket) + 1] = LETTER
        weights[-1] = 0.0
        yield torch.tensor(head + tail), torch.tensor(weights)


def _last(ids: Sequence[int], wanted: int) -> int:
    return len(ids) - 1 - ids[::-1].index(wanted)


def _feature_tokens(tokenizer: Tokenizer) -> frozenset[int]:
    """Return the tokens with which a rationale names features."""
    named = [f" {name}" for name in (*GENRES, *CATEGORIES, *TAGS)] + [f"|{name}" for name in GENRES]
    return frozenset(token for name in named for token in tokenizer.encode(name).ids)


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
