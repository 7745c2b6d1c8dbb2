"""Chat messages to token ids, so that event text can never become a special or added token.

The chat template is rendered once, with marks where the texts go.  Its own pieces, `<|im_start|>` and the like, are
encoded with the whole tokenizer; texts with a copy of it that has no added tokens, so `<|im_end|>` inside a title is
only characters.  Special tokens split text anyway, so the ids are those of the joined string for honest text.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from worker.errors import Fatal
from worker.prompt import Prompt, letter
from worker.questions import MAX_OPTIONS

KEPT_BLOCKS = 2_048  # of at most some hundred characters each: a few MB
# An option, an entry or a heading begins a block.  A tokenizer like Qwen2's ends a word at a line break, so the tokens
# of blocks are those of the text; an event's prompts share most of their blocks, and each is encoded once.
_BLOCK = re.compile(r"(?<=\n)(?=[\[#])")
_ENDS = ("a\n", "1\n", ".\n", ")\n\n", "] \n", "\t\n \n", "\u00e9\n", "\U0001f600\n\n")  # what a block may end in
_STARTS = ("[A] a", "[1", "# A", "## 1", "[[", "#\n")
_MARKS = ("MARK-OF-THE-SYSTEM-TEXT", "MARK-OF-THE-USER-TEXT", "MARK-OF-THE-ASSISTANT-TEXT")


class Tokens:
    """The tokenizer of one model."""

    def __init__(self, tokenizer: Any, stop: str) -> None:
        """Take a fast tokenizer and the string before a letter.  Raises `Fatal` if letters cannot be read with it."""
        from tokenizers import Tokenizer

        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        self._added = frozenset(int(token["id"]) for token in backend.get("added_tokens", ()))
        self._plain = Tokenizer.from_str(json.dumps({**backend, "added_tokens": [], "post_processor": None}))
        pieces = _pieces(tokenizer)
        self._pieces = [tuple(tokenizer.encode(piece, add_special_tokens=False)) for piece in pieces]
        self._encode_kept = lru_cache(maxsize=KEPT_BLOCKS)(self.encode)
        self._has_blocks = _has_blocks(self._plain)
        self.letters = self._letters(stop)

    def encode(self, text: str) -> tuple[int, ...]:
        """Encode text as text."""
        ids = tuple(self._plain.encode(text, add_special_tokens=False).ids)
        assert self._added.isdisjoint(ids), "text became a special token"
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        return str(self._plain.decode(list(ids), skip_special_tokens=False))

    def chat(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the ids of a prompt, up to the end of its prefix."""
        before, between, last = self._pieces
        return (
            before
            + self._encode_kept(prompt.system)
            + between
            + self._encode_blocks(prompt.user)
            + last
            + self._encode_kept(prompt.prefix)
        )

    def _encode_blocks(self, text: str) -> tuple[int, ...]:
        if not self._has_blocks:
            return self.encode(text)
        return tuple(chain.from_iterable(map(self._encode_kept, _BLOCK.split(text))))

    def continued(self, prompt_ids: tuple[int, ...], generated_ids: Sequence[int], text: str) -> tuple[int, ...]:
        """Return the ids of a prompt and the `text` written after it; generated ids are kept where they are its text.

        The ids may run past a stop string (`[B` can be one token), so ids that are not a start of the text are
        dropped and the rest of the text is encoded anew.
        """
        kept = self._num_agreed(generated_ids, text)
        rest = text[len(self.decode(generated_ids[:kept])) :] if kept else text
        return prompt_ids + tuple(generated_ids[:kept]) + (self.encode(rest) if rest else ())

    def _num_agreed(self, ids: Sequence[int], text: str) -> int:
        """Return how many ids, as many as can be, are a start of the text.

        What some ids say, more ids say too, but for U+FFFD at the end: a character whose bytes are not all there.
        Without it, ids that are no start of the text stay none with more, so those are found by halving.
        """

        def disagrees(num: int) -> bool:
            return not text.startswith(self.decode(ids[:num]).rstrip("\ufffd"))

        num = len(ids)
        if not text.startswith(self.decode(ids)):
            num = bisect_left(range(len(ids) + 1), x=True, key=disagrees) - 1
        while num > 0 and not text.startswith(self.decode(ids[:num])):
            num -= 1
        return num

    def _letters(self, stop: str) -> tuple[int, ...]:
        """Return the token of each letter after `stop`; a letter that is not one token could not be measured."""
        found: list[int] = []
        for slot in range(MAX_OPTIONS):
            alone = self.encode(letter(slot))
            if len(alone) != 1 or self.encode(stop + letter(slot)) != self.encode(stop) + alone:
                message = (
                    f"tokenizer: {letter(slot)!r} after {stop!r} is not one token of its own; this model cannot be read"
                )
                raise Fatal(message)
            found += alone
        return tuple(found)


def _has_blocks(plain: Any) -> bool:
    """Say whether this tokenizer splits a text where a block begins, and both sides as if each stood alone."""
    split = plain.pre_tokenizer
    if split is None or type(plain.normalizer).__name__ not in {"NoneType", "NFC"}:
        return False

    def words(text: str) -> list[str]:
        return [word for word, _ in split.pre_tokenize_str(text)]

    return all(words(end + start) == words(end) + words(start) for end in _ENDS for start in _STARTS)


def load(model: str, revision: str | None) -> Any:
    """Return a model's tokenizer as its `tokenizer.json` has it.

    transformers 5 rebuilds some tokenizers, Qwen2's among them, with the split of its own class, whatever the file
    says; a model that was trained with another split would read other tokens than it knows.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast.from_pretrained(model, revision=revision)
    except (OSError, ValueError):  # a model without that file
        return AutoTokenizer.from_pretrained(model, revision=revision)


def _pieces(tokenizer: Any) -> list[str]:
    """Render the chat template with marks for texts and cut it there: what stands before each of the three."""
    roles = ("system", "user", "assistant")
    messages = [{"role": role, "content": mark} for role, mark in zip(roles, _MARKS, strict=True)]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True)
    pieces = []
    for mark in _MARKS:
        piece, found, rendered = rendered.partition(mark)
        if not found:
            message = (
                "chat template: a system, user or assistant text does not stand in it once; this model cannot be asked"
            )
            raise Fatal(message)
        pieces.append(piece)
    return pieces
