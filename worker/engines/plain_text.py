"""Encodes event text as token ids, so that it can never become a token of the chat's structure.

A tokenizer's added tokens are matched in any text before everything else.  Those that are special, and those written
with markup, such as `<think>` or `<|User|>` which some tokenizers do not call special, are *control tokens*: no text
gives them, not even through the merges of the vocabulary.  The other added tokens are text, such as the line breaks and
runs of blanks of Gemma's: text gives them as the whole tokenizer would.

Some tokenizers put a blank before a text (SentencePiece's `▁`): at its beginning, or after each control token as well.
`segment` encodes what follows a control token, `beginning` what begins a chat, `inner` what stands in the middle.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

_MARKUP = re.compile(r"[<>\[\]{}|\uff5c]")
_NEVER = "\ufdd0%d\ufdd1"  # instead of a unigram piece that no text shall give: nothing that a text can hold
LONG_TEXT = 4_000  # characters; longer texts are encoded without holding Python's lock, which is a little slower


class PlainText:
    """The tokenizer of texts, made of a fast tokenizer's own file (`tokenizer.json`)."""

    def __init__(self, backend: Mapping[str, Any]) -> None:
        from tokenizers import Tokenizer

        control, text = _sorted(backend.get("added_tokens") or ())
        self.control = {str(token["content"]): token for token in control}
        unknown = _unknown(backend["model"])
        self.control_ids = frozenset(int(token["id"]) for token in control if token["content"] != unknown)
        model = _without(backend["model"], {str(token["content"]) for token in control})
        plain = {**backend, "model": model, "added_tokens": text, "post_processor": None}
        bare = {**plain, "normalizer": _no_prefix(plain.get("normalizer"))}
        bare["pre_tokenizer"] = _no_prefix(plain.get("pre_tokenizer"))
        self.has_prefix = bare != plain
        self._mark = f"\ufdd0{secrets.token_hex(8)}\ufdd1"  # nothing that a text can hold
        mark_id = 1 + max([*(int(token["id"]) for token in (*control, *text)), *_ids(backend["model"])])
        mark = {
            "id": mark_id, "content": self._mark, "special": True, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False,
        }  # fmt: skip
        self.inner_tokenizer = Tokenizer.from_str(json.dumps(bare))
        self._marked = (
            Tokenizer.from_str(json.dumps({**plain, "added_tokens": [*text, mark]}))
            if self.has_prefix
            else self.inner_tokenizer
        )
        decoder = _no_strip(backend.get("decoder"))
        self._decoder = Tokenizer.from_str(json.dumps({**backend, "decoder": decoder, "post_processor": None}))
        # One shared object per id: a token takes 8 bytes, not 40, in every prompt and block.
        self._shared = tuple(range(mark_id))

    def beginning(self, text: str) -> tuple[int, ...]:
        """Encode text with which a chat begins."""
        return self._ids_of(self._marked, text)

    def segment(self, text: str) -> tuple[int, ...]:
        """Encode text that follows a control token."""
        return self._ids_of(self._marked, self._mark + text)[1:] if self.has_prefix else self.inner(text)

    def inner(self, text: str) -> tuple[int, ...]:
        """Encode text that stands in the middle of a text."""
        return self._ids_of(self.inner_tokenizer, text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids in the middle of a text, without special tokens, as vLLM returns what it generates."""
        return str(self._decoder.decode(list(ids), skip_special_tokens=True))

    def _ids_of(self, tokenizer: Any, text: str) -> tuple[int, ...]:
        if len(text) > LONG_TEXT:
            (found,) = tokenizer.encode_batch_fast([text], add_special_tokens=False)
        else:
            found = tokenizer.encode(text, add_special_tokens=False)
        ids = found.ids
        assert self.control_ids.isdisjoint(ids), "text became a control token"
        return tuple(self._shared[one] if one < len(self._shared) else one for one in ids)


def _sorted(added: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return the control tokens and the text tokens among added tokens."""
    control = [token for token in added if token.get("special") or _MARKUP.search(str(token["content"]))]
    return control, [token for token in added if token not in control]


def _without(model: Mapping[str, Any], control: set[str]) -> Mapping[str, Any]:
    """Return a tokenizer's model that gives none of these pieces for any text."""
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, list):  # of a unigram model: pieces with scores, whose places are the ids
        pieces = [[_NEVER % at if one in control else one, score] for at, (one, score) in enumerate(vocabulary)]
        return {**model, "vocab": pieces}
    if not isinstance(vocabulary, Mapping) or control.isdisjoint(vocabulary):
        return model
    left = {one: number for one, number in vocabulary.items() if one not in control or one == model.get("unk_token")}
    merges = [one for one in model.get("merges") or () if _merged(one) not in control and _halves(one) <= left.keys()]
    return {**model, "vocab": left, "merges": merges}


def _unknown(model: Mapping[str, Any]) -> str | None:
    """Return what a tokenizer without bytes gives for a rare character; None if it has nothing for it."""
    place = model.get("unk_id")  # of a unigram model
    return model.get("unk_token") if place is None else model["vocab"][place][0]


def _halves(merge: Any) -> set[str]:
    return set(merge.split(" ", 1) if isinstance(merge, str) else merge)


def _merged(merge: Any) -> str:
    return merge.replace(" ", "", 1) if isinstance(merge, str) else "".join(merge)


def _ids(model: Mapping[str, Any]) -> Sequence[int]:
    vocabulary = model.get("vocab") or {}
    return [len(vocabulary)] if isinstance(vocabulary, list) else [0, *vocabulary.values()]


def _no_prefix(step: Any) -> Any:
    """Return a normalizer or pre-tokenizer that puts nothing before a text."""
    if not isinstance(step, Mapping):
        return step
    if step.get("type") == "Prepend":
        return None
    found = dict(step)
    if "prepend_scheme" in found:
        found["prepend_scheme"] = "never"
    if "add_prefix_space" in found:
        found["add_prefix_space"] = False
    for name in ("normalizers", "pretokenizers"):
        if name in found:
            found[name] = [one for one in map(_no_prefix, found[name]) if one is not None]
    return found


def _no_strip(step: Any) -> Any:
    """Return a decoder that keeps the blank before a text."""
    if not isinstance(step, Mapping):
        return step
    found = dict(step)
    if found.get("type") == "Metaspace":
        found["prepend_scheme"] = "never"
    if "decoders" in found:
        found["decoders"] = [_no_strip(one) for one in found["decoders"] if one.get("type") != "Strip"]
    return found
