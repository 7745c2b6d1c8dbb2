"""Encodes chat messages as token ids, so that event text can never become a special or added token.

The chat template is rendered once, with marks in place of the texts.  Its own pieces, such as `<|im_start|>`, are
encoded with the whole tokenizer, and texts with a copy without added tokens, so `<|im_end|>` in a title is plain
characters.  Special tokens split text anyway, so for ordinary text the ids are those of the joined string.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Any

from worker.core.bounded_cache import BytesLru
from worker.core.errors import Fatal
from worker.core.prompts.prompt import Prompt, letter
from worker.core.simulation.questions import MAX_OPTIONS

KEPT_BYTES = 32 << 20  # of cached blocks and their tokens: about 50,000 of ordinary length
# A block starts at an option, a heading, or after a blank line, as a history entry does.  A tokenizer such as Qwen2's
# ends a word at a line break, so the tokens of the blocks are those of the text.  The prompts of an event share most
# blocks, and each block is encoded once.
_BLOCK = re.compile(r"(?<=\n)(?=[\[#])|(?<=\n\n)(?=\S)")
_ENDS = (
    "a\n",
    "1\n",
    ".\n",
    ")\n\n",
    "] \n",
    "\t\n \n",
    "\u00e9\n",
    "\U0001f600\n\n",
)  # examples of how a block may end
_STARTS = ("[A] a", "[1", "# A", "## 1", "[[", "#\n")
_AFTER_BLANK = (*_STARTS, "A movie", "1 a", "'s", "\u00e9t", "\u0301a", "\u65e5", "\U0001f600", "-- a", '"A', "_")
LONG_TEXT = 4_000  # characters; longer texts are encoded without holding Python's lock, which is a little slower
# Characters per token above which a text is assumed not to fit; its tokens are then counted piece by piece.
_SPARSE = 8
MAX_BROKEN = 32  # tokens at the end that are checked one by one for a complete character
_MARKS = ("MARK-OF-THE-SYSTEM-TEXT", "MARK-OF-THE-USER-TEXT", "MARK-OF-THE-ASSISTANT-TEXT")


class Tokens:
    """The tokenizer of one model.

    Takes a fast tokenizer and the string before a letter.  The constructor raises `Fatal` if a letter is not one token.
    """

    def __init__(self, tokenizer: Any, stop: str) -> None:
        from tokenizers import Tokenizer

        backend = json.loads(tokenizer.backend_tokenizer.to_str())
        self._added = frozenset(int(token["id"]) for token in backend.get("added_tokens", ()))
        self._plain = Tokenizer.from_str(json.dumps({**backend, "added_tokens": [], "post_processor": None}))
        pieces = _pieces(tokenizer)
        self._pieces = [tuple(tokenizer.encode(piece, add_special_tokens=False)) for piece in pieces]
        # One shared object per id: a token takes 8 bytes, not 40, in every prompt and block.
        self._ids = tuple(range(1 + max(self._plain.get_vocab(with_added_tokens=True).values())))
        self._blocks: BytesLru[str, tuple[int, ...]] = BytesLru(KEPT_BYTES)
        self._lock = Lock()  # of the blocks: long prompts are tokenised in a thread
        self._has_blocks = _has_blocks(self._plain)
        self.letters = self._letters(stop)

    def encode(self, text: str) -> tuple[int, ...]:
        """Encode text with special tokens disabled."""
        if len(text) > LONG_TEXT:
            (found,) = self._plain.encode_batch_fast([text], add_special_tokens=False)
        else:
            found = self._plain.encode(text, add_special_tokens=False)
        ids = found.ids
        assert self._added.isdisjoint(ids), "text became a special token"
        return tuple(map(self._ids.__getitem__, ids))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens included."""
        return str(self._plain.decode(list(ids), skip_special_tokens=False))

    def chat(self, prompt: Prompt, max_tokens: int | None = None) -> tuple[int, ...]:
        """Return the token ids of a prompt, up to the end of its prefix.

        For a prompt of more than `max_tokens`, returns only a beginning with more ids than that: encoding stops there.
        """
        before, between, last = self._pieces
        head = before + self._encode_kept(prompt.system) + between
        tail = last + self._encode_kept(prompt.prefix)
        room = None if max_tokens is None else max_tokens - len(head) - len(tail)
        return head + self._encode_blocks(prompt.user, room) + tail

    def _encode_blocks(self, text: str, room: int | None) -> tuple[int, ...]:
        """Encode a text by blocks; stops once there are more than `room` ids."""
        if not self._has_blocks:
            return self._beginning(text, room) or self.encode(text)
        ids: list[int] = []
        for block in _blocks(text):
            ids += self._encode_kept(block)
            if room is not None and len(ids) > room:
                break
        return tuple(ids)

    def _beginning(self, text: str, room: int | None) -> tuple[int, ...]:
        """Return the ids of a beginning if the text certainly does not fit into `room`, else ().

        Encoding by pieces adds at most one token per piece, so twice the room is certainly too much.
        """
        if room is None or len(text) <= _SPARSE * max(room, 0):
            return ()
        ids: list[int] = []
        for start in range(0, len(text), LONG_TEXT):
            ids += self.encode(text[start : start + LONG_TEXT])
            if len(ids) > 2 * room:
                return tuple(ids)
        return ()

    def _encode_kept(self, text: str) -> tuple[int, ...]:
        with self._lock:
            found = self._blocks.get(text)
        if found is None:
            found = self.encode(text)
            with self._lock:
                self._blocks.put(text, found, num_bytes=text.__sizeof__() + found.__sizeof__())
        return found

    def continued(self, prompt_ids: tuple[int, ...], generated_ids: Sequence[int], text: str) -> tuple[int, ...]:
        """Return the ids of a prompt and of the generated `text` after it; generated ids are kept as far as they match.

        The ids may continue after a stop string (`[B` can be one token), so ids beyond the text are dropped and the
        rest of the text is encoded again.
        """
        kept = self._num_agreed(generated_ids, text)
        rest = text[len(self.decode(generated_ids[:kept])) :] if kept else text
        return prompt_ids + tuple(generated_ids[:kept]) + (self.encode(rest) if rest else ())

    def _num_agreed(self, ids: Sequence[int], text: str) -> int:
        """Return the largest number of ids whose text is a prefix of `text`.

        The text of more ids extends that of fewer, except for U+FFFD at the end: an incomplete character.  Without it,
        ids whose text is not a prefix do not become one with more ids, so the limit is found by bisection.  All ids
        could be bytes of incomplete characters: after `MAX_BROKEN` of them, fewer ids are kept than possible.
        """

        def agrees(num: int) -> bool:
            return text.startswith(self.decode(ids[:num]))

        def disagrees(num: int) -> bool:
            return not text.startswith(self.decode(ids[:num]).rstrip("\ufffd"))

        num = len(ids)
        if not agrees(num):
            num = bisect_left(range(len(ids) + 1), x=True, key=disagrees) - 1
        for fewer in range(num, max(num - MAX_BROKEN, 0), -1):
            if agrees(fewer):
                return fewer
        num = max(num - MAX_BROKEN, 0)
        while num and not agrees(num):
            num //= 2
        return num

    def _letters(self, stop: str) -> tuple[int, ...]:
        """Return the token id of each letter after `stop`.  Raises `Fatal` if a letter is not one token."""
        found: list[int] = []
        for slot in range(MAX_OPTIONS):
            alone = self.encode(letter(slot))
            if len(alone) != 1 or self.encode(stop + letter(slot)) != self.encode(stop) + alone:
                message = (
                    f"tokenizer: {letter(slot)!r} after {stop!r} is not one token of its own; this model cannot be used"
                )
                raise Fatal(message)
            found += alone
        return tuple(found)


def _blocks(text: str) -> Iterator[str]:
    """Yield the blocks of a text in order."""
    start = 0
    for found in _BLOCK.finditer(text):
        yield text[start : found.start()]
        start = found.start()
    yield text[start:]


def _has_blocks(plain: Any) -> bool:
    """Return True if this tokenizer splits a text at the start of a block, and encodes both sides independently."""
    split = plain.pre_tokenizer
    if split is None or type(plain.normalizer).__name__ not in {"NoneType", "NFC"}:
        return False

    def words(text: str) -> list[str]:
        return [word for word, _ in split.pre_tokenize_str(text)]

    def is_cut(end: str, start: str) -> bool:
        return words(end + start) == words(end) + words(start)

    return all(is_cut(end, start) for end in _ENDS for start in _STARTS) and all(
        is_cut(end, start) for end in _ENDS if end.endswith("\n\n") for start in _AFTER_BLANK
    )


def load(model: str, revision: str | None) -> Any:
    """Return a model's tokenizer exactly as in its `tokenizer.json`.

    transformers 5 rebuilds some tokenizers, such as Qwen2's, with the split of its own class instead of the file's; a
    model that was trained with another split would get other tokens than in training.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast.from_pretrained(model, revision=revision)
    except (OSError, ValueError):  # the model has no such file
        return AutoTokenizer.from_pretrained(model, revision=revision)


def _pieces(tokenizer: Any) -> list[str]:
    """Render the chat template with marks for the texts; return the part before each of the three marks."""
    roles = ("system", "user", "assistant")
    messages = [{"role": role, "content": mark} for role, mark in zip(roles, _MARKS, strict=True)]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True)
    pieces = []
    for mark in _MARKS:
        piece, found, rendered = rendered.partition(mark)
        if not found:
            message = "chat template: it want system, user and assistant text once each; this model cannot be used"
            raise Fatal(message)
        pieces.append(piece)
    return pieces
