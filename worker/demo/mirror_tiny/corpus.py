"""What mirror-tiny reads: lessons as chat text, its tokenizer, and batches of token rows.

The text is what the worker sends, `prompts.prompt.build` of profile mirror-v1 in Qwen2's chat format.  Only what the
model is to write has weight in the loss.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from worker.core.prompts import prompt
from worker.core.prompts.prompt import Prompt
from worker.demo.generated_users import FEATURES, MAX_HISTORY
from worker.demo.mirror_tiny.hints import Row, RowMaker
from worker.demo.mirror_tiny.rationale import write
from worker.demo.scenes import Lesson, lessons
from worker.settings import prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MAX_VOCABULARY = 2048
# Qwen2's, but for two things that make rows short and look-ups plain: a feature's name is one token wherever it stands,
# and a number is not cut into digits.
_NAME = rf"(?:{'|'.join(FEATURES)})(?![\p{{L}}-])"
_SPLIT = (
    rf"{_NAME}|(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?(?!{_NAME})\p{{L}}+|\p{{N}}+(?:[./]\p{{N}}+)*"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MAX_ROW = 640  # tokens of a lesson, the system message not counted
_SORTED_BATCHES = 8  # how many batches are sorted by length together

# Weights of tokens in the loss.
PLAIN, FEATURE, LETTER = 0.3, 2.0, 5.0


@dataclass(frozen=True, slots=True)
class LessonStage:
    """What is taught until this share of the time.

    Short scenes come first: they show the same structure at less cost.  The system message is the same in all prompts
    and dear, so it comes last.
    """

    until: float
    max_options: int
    max_history: int
    system: bool = False


STAGES = (
    LessonStage(0.12, max_options=5, max_history=4),
    LessonStage(0.72, max_options=12, max_history=MAX_HISTORY),
    LessonStage(1.00, max_options=12, max_history=MAX_HISTORY, system=True),
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows padded on the right; `weights` are those of each row's tokens in the loss, hints start with the row."""

    rows: Tensor  # (batch, length)
    weights: Tensor  # (batch, length)
    looks: Tensor  # (looks, 5): row, then as `hints.Look`
    says: Tensor  # (says, 4): row, then as `hints.Say`


def ask(lesson: Lesson) -> Prompt:
    """Return the prompt that the worker would build."""
    return prompt.build(PROFILE, prompt.scene(PROFILE, lesson.impression, MAX_HISTORY), lesson.options)


def question(lesson: Lesson) -> str:
    """Return the user's turn and the start of the assistant's."""
    built = ask(lesson)
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


def batches(tokenizer: Tokenizer, stage: LessonStage, *, seed: str, size: int) -> Iterator[Batch]:
    """Yield batches of one stage for ever, each of rows of about equal lengths."""
    found = _rows(tokenizer, stage, seed)
    order = random.Random(stage.until)  # the same for all seeds, so that processes take long batches together
    while True:
        pool = sorted(islice(found, _SORTED_BATCHES * size), key=lambda row: len(row.ids))
        starts = list(range(0, len(pool), size))
        order.shuffle(starts)
        for start in starts:
            yield _batch(pool[start : start + size])


def _rows(tokenizer: Tokenizer, stage: LessonStage, seed: str) -> Iterator[Row]:
    """Yield lessons as tokens; the few that would make a batch slow are left out."""
    reader = RowMaker(tokenizer)
    found = lessons(PROFILE, seed, options=(2, stage.max_options), max_history=stage.max_history)
    for number, lesson in enumerate(found):
        rationale = write(lesson, random.Random(f"{seed}/rationale/{number}")) + "<|im_end|>\n"
        row = reader.read(lesson, question(lesson), rationale)
        if len(row.ids) <= MAX_ROW:
            yield row


def _batch(rows: Sequence[Row]) -> Batch:
    looks = [(number, *look) for number, row in enumerate(rows) for look in row.looks]
    says = [(number, *say) for number, row in enumerate(rows) for say in row.says]
    return Batch(
        _padded([torch.tensor(row.ids) for row in rows]),
        _padded([_weights(row) for row in rows]),
        torch.tensor(looks),
        torch.tensor(says),
    )


def _weights(row: Row) -> Tensor:
    weights = torch.full((len(row.ids),), PLAIN)
    weights[: row.asked] = 0
    weights[list(row.features)] = FEATURE
    weights[row.answer] = LETTER
    weights[-1] = 0
    return weights


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
