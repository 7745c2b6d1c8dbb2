"""A prompt profile with the wording that the reference model was trained with, from a local copy of its `template.py`.

The wording is its authors' and not part of this project.  The file is parsed, never run: only string literals are
looked at, and told apart by what they hold.

    default system text    names the labels of all six sections
    direct system text     speaks of an exposure list and names none of them
    user layout            has two of our headings and a place; it must be ours, for the domains' layouts are

`reference_unplaced` says what of the texts the worker does not know.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import yaml

from worker.core.errors import BadSettings
from worker.core.prompts.reference_unplaced import PLACE, headings, unknown_layout, unplaced

KNOWN_SHA256 = "6b2b68f2021525c3"  # how the hash begins of the file that the layouts were taken from (b6e628c)
_LABELS = ("Stimulus:", "Stimulus Factors:", "Knowledge:", "Knowledge Factors:", "Evaluation:", "Evaluation Style:")
_HEADINGS = ("# User Profile", "## History", "# Exposure List")
_MIN_HEADINGS = 2  # of ours in a text that is a user layout
_MIN_CHARS = 60  # of a system text; shorter literals are names and labels


@dataclass(frozen=True, slots=True)
class Imported:
    """A profile made of the reference's file."""

    content: bytes  # YAML
    origin: str  # where the wording is from, and what of it could not be placed; a sentence's end, for people
    unplaced: tuple[str, ...]


def convert(source: bytes, ours: Mapping[str, Any]) -> Imported:
    """Return a profile with the source's system texts and the rest of `ours`.

    Raises `BadSettings` if the source holds not exactly one system text of each kind, or another user layout.
    """
    whole, parts = _texts(source)
    system = {
        "default": _one(
            "default system text",
            [text for text in whole if all(label in text for label in _LABELS)],
            f"it names {' '.join(_LABELS)}",
        ),
        "direct": _one(
            "direct system text",
            [text for text in whole if _is_direct(text)],
            f"it speaks of an exposure list in {_MIN_CHARS} characters or more and names none of the sections",
        ),
    }
    for layout in (*whole, *parts):
        _check_layout(layout, str(ours["user"]))
    found = sha256(source).hexdigest()
    content = {**ours, "name": "reference", "imported_from": found, "system": system}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)
    words = dict(ours["vocabularies"])
    groups = words.pop("groups")
    other = unplaced(system, words, groups, ours["labels"].values())
    if not (is_known := found.startswith(KNOWN_SHA256)):
        other += unknown_layout((*whole, *parts), headings(str(ours["user"])))
    return Imported(
        f"# The wording is that of the file it was imported from.\n{text}".encode(),
        _origin(other, is_known=is_known),
        other,
    )


def _origin(other: tuple[str, ...], *, is_known: bool) -> str:
    if other:
        return f"a file of which this could not be placed: {', '.join(other)}; look at a prompt with `prompts render`"
    if is_known:
        return "the file that the layouts were taken from"
    return "a file whose headings, option forms and factors are all known"


def _check_layout(text: str, ours: str) -> None:
    """Raise `BadSettings` if a text is a layout of the user message, and not ours."""
    there, wanted = headings(text), headings(ours)
    if len(set(there) & set(wanted)) < _MIN_HEADINGS or not PLACE.search(text) or _shape(text) == _shape(ours):
        return
    more, less = [one for one in there if one not in wanted], [one for one in wanted if one not in there]
    problems = [
        *([f"headings {', '.join(map(repr, more))} have no place"] if more else []),
        *([f"headings {', '.join(map(repr, less))} are not there"] if less else []),
    ]
    why = "; ".join(problems) or f"its headings are known, but not its lines: {text!r}"
    raise BadSettings(f"the user layout is not the one that this project renders: {why}; nothing is written")


def _texts(source: bytes) -> tuple[list[str], list[str]]:
    """Return the string literals that are no docstrings, and f-strings with {} for their holes; each once."""
    try:
        tree = ast.parse(source)
        nodes = list(ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        message = f"is no Python file: {str(error) or type(error).__name__}"
        raise BadSettings(message) from error
    formatted = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    left_out = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    left_out |= {id(piece) for node in formatted for piece in node.values}
    whole = [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out
    ]
    parts = ["".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values) for node in formatted]
    return [text for text in dict.fromkeys(whole) if _is_text(text)], parts


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _is_direct(text: str) -> bool:
    named = any(label in text for label in _LABELS) or any(heading in text for heading in _HEADINGS)
    return len(text) >= _MIN_CHARS and "exposure list" in text.lower() and not named


def _one(what: str, found: list[str], sign: str) -> str:
    if len(found) != 1:
        message = f"holds {len(found)} texts that could be the {what}, want one ({sign}); nothing is written"
        raise BadSettings(message)
    return found[0]


def _shape(layout: str) -> str:
    """Return a layout with its places unnamed and outer spaces off, so that only the fixed text counts."""
    return PLACE.sub("{}", re.sub(r"\?\}", "}", layout)).strip()
