"""Chat messages to token ids, so that event text can never become a special or added token.

The chat template is rendered once, with marks where the texts go.  Its own pieces, `<|im_start|>` and the like, are
encoded with the whole tokenizer; texts with a copy of it that has no added tokens, so `<|im_end|>` inside a title is
only characters.  Special tokens split text anyway, so the ids are those of the joined string for honest text.
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

KEPT_BYTES = 32 << 20  # of blocks and their tokens: about 50,000 of ordinary length
# An option, a heading, or what follows a blank line, as an entry of the history, begins a block.  A tokenizer like
# Qwen2's ends a word at a line break, so the tokens of blocks are those of the text; an event's prompts share most of
# their blocks, and each is encoded once.
_BLOCK = re.compile(r"(?<=\n)(?=[\[#])|(?<=\n\n)(?=\S)")
_ENDS = ("a\n", "1\n", ".\n", ")\n\n", "] \n", "\t\n \n", "\u00e9\n", "\U0001f600\n\n")  # what a block may end in
_STARTS = ("[A] a", "[1", "# A", "## 1", "[[", "#\n")
_AFTER_BLANK = (*_STARTS, "A movie", "1 a", "'s", "\u00e9t", "\u0301a", "\u65e5", "\U0001f600", "-- a", '"A', "_")
LONG_TEXT = 4_000  # characters; a longer text is encoded without Python's lock, which costs a little more
# Characters a token of a text that surely does not fit: its tokens are counted piece by piece first.
_SPARSE = 8
MAX_BROKEN = 32  # tokens at the end that are looked at one by one, in search of a character whose bytes are all there
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
        # One object for each id: a token of a prompt then takes 8 bytes, not 40, in every prompt and block.
        self._ids = tuple(range(1 + max(self._plain.get_vocab(with_added_tokens=True).values())))
        self._blocks: BytesLru[str, tuple[int, ...]] = BytesLru(KEPT_BYTES)
        self._lock = Lock()  # of the blocks: long prompts are tokenised in a thread
        self._has_blocks = _has_blocks(self._plain)
        self.letters = self._letters(stop)

    def encode(self, text: str) -> tuple[int, ...]:
        """Encode text as text."""
        if len(text) > LONG_TEXT:
            (found,) = self._plain.encode_batch_fast([text], add_special_tokens=False)
        else:
            found = self._plain.encode(text, add_special_tokens=False)
        ids = found.ids
        assert self._added.isdisjoint(ids), "text became a special token"
        return tuple(map(self._ids.__getitem__, ids))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids."""
        return str(self._plain.decode(list(ids), skip_special_tokens=False))

    def chat(self, prompt: Prompt, max_tokens: int | None = None) -> tuple[int, ...]:
        """Return the ids of a prompt, up to the end of its prefix.

        Of a prompt of more than `max_tokens` its first ids, more than that many: what does not fit is not encoded on.
        """
        before, between, last = self._pieces
        head = before + self._encode_kept(prompt.system) + between
        tail = last + self._encode_kept(prompt.prefix)
        room = None if max_tokens is None else max_tokens - len(head) - len(tail)
        return head + self._encode_blocks(prompt.user, room) + tail

    def _encode_blocks(self, text: str, room: int | None) -> tuple[int, ...]:
        """Encode a text; one of more tokens than there is room for up to where that shows."""
        if not self._has_blocks:
            return self._beginning(text, room) or self.encode(text)
        ids: list[int] = []
        for block in _blocks(text):
            ids += self._encode_kept(block)
            if room is not None and len(ids) > room:
                break
        return tuple(ids)

    def _beginning(self, text: str, room: int | None) -> tuple[int, ...]:
        """Return the ids of a beginning of a text that surely has no room, else none.

        Counted by pieces, a text has a token more for each; so twice the room is surely too much.
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
        Without it, ids that are no start of the text stay none with more, so those are found by halving.  Bytes that
        never become a character could be as many as there are ids: after some, fewer ids are kept than could be.
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


def _blocks(text: str) -> Iterator[str]:
    """Cut a text at the beginnings of its blocks, one after the other."""
    start = 0
    for found in _BLOCK.finditer(text):
        yield text[start : found.start()]
        start = found.start()
    yield text[start:]


def _has_blocks(plain: Any) -> bool:
    """Say whether this tokenizer splits a text where a block begins, and both sides as if each stood alone."""
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
