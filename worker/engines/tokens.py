"""Encodes chat messages as token ids: those of the whole rendered chat, but no text becomes a control token.

The chat template is rendered with marks in place of the texts (`chat_template`).  Its control tokens, such as
`<|im_start|>`, divide the chat into runs of text, which hold its own words and the messages.  A run is encoded as a
whole by a tokenizer without control tokens (`plain_text`), so `<|im_end|>` in a title is plain characters.  Control
tokens split text anyway, so for ordinary text the ids are those of the rendered string.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from worker.core.bounded_cache import BytesLru
from worker.core.errors import Fatal
from worker.core.prompts.prompt import Prompt, letter
from worker.core.simulation.questions import MAX_OPTIONS
from worker.engines.chat_template import MAX_KEPT, ChatTemplate, Edges, Part
from worker.engines.plain_text import LONG_TEXT, PlainText

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
# Characters per token above which a text is assumed not to fit; its tokens are then counted piece by piece.
_SPARSE = 8
MAX_BROKEN = 32  # tokens at the end that are checked one by one for a complete character


@dataclass(frozen=True, slots=True)
class _Run:
    """Text between two control tokens; a token may take the blanks beside it away (`lstrip`, `rstrip`)."""

    parts: tuple[Part, ...]
    is_first: bool  # in the chat
    lstrip: bool
    rstrip: bool


class Tokens:
    """The tokenizer of one model, with its chat template.

    Takes a fast tokenizer, the string before a letter, and the template to use if not the tokenizer's own.  The
    constructor raises `Fatal` if a letter is not one token, or if the template cannot be used.
    """

    def __init__(self, tokenizer: Any, stop: str, template: ChatTemplate | None = None) -> None:
        self._plain = PlainText(json.loads(tokenizer.backend_tokenizer.to_str()))
        self._begin_id = tokenizer.bos_token_id
        self._control = re.compile("|".join(map(re.escape, sorted(self._plain.control, key=len, reverse=True))) or "$^")
        self.template = template or ChatTemplate(tokenizer)
        self._layout = lru_cache(MAX_KEPT)(self._compile)
        self._blocks: BytesLru[str, tuple[int, ...]] = BytesLru(KEPT_BYTES)
        self._lock = Lock()  # of the blocks: long prompts are tokenised in a thread
        self._has_blocks = not self._plain.has_prefix and _has_blocks(self._plain.inner_tokenizer)
        self.letters = self._letters(stop)

    def encode(self, text: str) -> tuple[int, ...]:
        """Encode text that stands in the middle of a text; none of it becomes a control token."""
        return self._plain.inner(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of generated token ids as vLLM returns it, without special tokens."""
        return self._plain.decode(ids)

    def turn_end(self) -> int:
        """Return how many tokens the template puts after an assistant's text that is not to be continued."""
        ending = self.template.ending()
        return len(self._control.findall(ending)) + sum(len(self.encode(one)) for one in self._control.split(ending))

    def chat(self, prompt: Prompt, max_tokens: int | None = None) -> tuple[int, ...]:
        """Return the token ids of a prompt, up to the end of its prefix.

        For a prompt of more than `max_tokens`, returns only a beginning with more ids than that: encoding stops there.
        """
        texts = tuple(text.strip() for text in (prompt.system, prompt.user, prompt.prefix))
        ids: list[int] = []
        for element in self._layout(self.template.key(prompt)):
            if isinstance(element, int):
                if not self._begins_again(element, ids):
                    ids.append(element)
                continue
            room = None if max_tokens is None else max_tokens - len(ids)
            ids += self._encode_run(element, texts, room)
            if max_tokens is not None and len(ids) > max_tokens:
                break
        return tuple(ids)

    def _begins_again(self, control: int, ids: list[int]) -> bool:
        """Return True for a second mark of the beginning: the first control token again, or with blanks between.

        Which token begins a text is not always said; one that stands at the first place twice is no turn.
        """
        if ids[:1] != [control]:
            return False
        return len(ids) == 1 or (control == self._begin_id and not self.decode(ids[1:]).strip())

    def _compile(self, key: tuple[Edges, int]) -> tuple[int | _Run, ...]:
        """Divide the rendered template at its control tokens."""
        found: list[int | _Run] = []
        parts: list[Part] = []
        strips = False  # the control token before takes blanks away

        def end_run(*, rstrip: bool) -> None:
            if parts:
                found.append(_Run(tuple(parts), is_first=not found, lstrip=strips, rstrip=rstrip))
                parts.clear()

        for part in self.template.parts(key):
            if isinstance(part, int):
                parts.append(part)
                continue
            start = 0
            for match in self._control.finditer(part):
                if before := part[start : match.start()]:
                    parts.append(before)
                token = self._plain.control[match[0]]
                end_run(rstrip=bool(token.get("lstrip")))
                found.append(int(token["id"]))
                strips, start = bool(token.get("rstrip")), match.end()
            if part[start:]:
                parts.append(part[start:])
        end_run(rstrip=False)
        return tuple(found)

    def _encode_run(self, run: _Run, texts: tuple[str, ...], room: int | None) -> tuple[int, ...]:
        """Encode a run; stops once there are more than `room` ids."""
        text = "".join(texts[part] if isinstance(part, int) else part for part in run.parts)
        text = text.lstrip() if run.lstrip else text
        text = text.rstrip() if run.rstrip else text
        if not text:
            return ()
        if self._has_blocks:
            return self._encode_blocks(text, room)
        return self._beginning(text, room) or (
            self._plain.beginning(text) if run.is_first else self._plain.segment(text)
        )

    def _encode_blocks(self, text: str, room: int | None) -> tuple[int, ...]:
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

    def anew(self, prompt_ids: tuple[int, ...], text: str) -> tuple[int, ...]:
        """Return the ids of a prompt with more text at its end, as those of the whole chat tokenised anew."""
        after = next((at for at in range(len(prompt_ids), 0, -1) if prompt_ids[at - 1] in self._plain.control_ids), 0)
        encode = self._plain.segment if after else self._plain.beginning
        last = self.decode(prompt_ids[after:])
        last = last.removeprefix(" ") if self._plain.has_prefix else last
        if encode(last) != prompt_ids[after:]:  # such as text that the tokenizer's normalizer has changed
            return prompt_ids + self.encode(text)
        return prompt_ids[:after] + encode(last + text)

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
        """Return the one token of each letter that follows `stop` in context.  Raises `Fatal` if there is none."""
        before = self.encode(f"\n{stop}")
        found: list[int] = []
        for slot in range(MAX_OPTIONS):
            ids = self.encode(f"\n{stop}{letter(slot)}")
            if len(ids) != len(before) + 1 or ids[:-1] != before:
                pieces = " ".join(repr(self.decode([one])) for one in ids[-3:])
                raise Fatal(
                    f"tokenizer: {stop + letter(slot)!r} ends in the tokens {pieces}, want the letter as one token"
                    " after those of the text before it; this model cannot be used with this prompt profile"
                )
            found.append(ids[-1])
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
    model that was trained with another split would get other tokens than in training.  A folder may have Mistral's own
    file (`tekken.json`) or a SentencePiece model instead.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tekken = Path(model, "tekken.json")
    if tekken.is_file() and not Path(model, "tokenizer.json").is_file():
        from transformers.integrations.mistral import convert_tekken_tokenizer

        return convert_tekken_tokenizer(str(tekken))
    try:
        return PreTrainedTokenizerFast.from_pretrained(model, revision=revision)
    except (OSError, ValueError):  # the model has no such file
        return AutoTokenizer.from_pretrained(model, revision=revision)
