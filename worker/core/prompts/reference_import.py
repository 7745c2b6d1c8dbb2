"""A prompt profile with the wording that the reference model was trained with, from a local copy of its `template.py`.

The wording is its authors' and not part of this project.  The file is parsed, never run: only string literals are
looked at, and told apart by what they hold.

    default system text    names the labels of all six sections
    direct system text     speaks of an exposure list and names none of them
    user layout            has the three headings; where there is one it must be ours, for the domains' layouts are
"""

import ast
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import yaml

from worker.core.errors import BadSettings

KNOWN_SHA256 = "6b2b68f2021525c3"  # how the hash begins of the file that the layouts were taken from (b6e628c)
_LABELS = ("Stimulus:", "Stimulus Factors:", "Knowledge:", "Knowledge Factors:", "Evaluation:", "Evaluation Style:")
_HEADINGS = ("# User Profile", "## History", "# Exposure List")
_PLACE = re.compile(r"\{\w*\}")
_MIN_CHARS = 60  # of a system text; shorter literals are names and labels


def convert(source: bytes, ours: Mapping[str, Any]) -> tuple[bytes, str]:
    """Return a profile as YAML, with the source's system texts and the rest of `ours`, and a word on its origin.

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
    for layout in (text for text in (*whole, *parts) if all(heading in text for heading in _HEADINGS)):
        if _shape(layout) != _shape(str(ours["user"])):
            message = f"the user layout is not the one that this project renders: {layout!r}; nothing is written"
            raise BadSettings(message)
    found = sha256(source).hexdigest()
    known = (
        "the file that the layouts were taken from"
        if found.startswith(KNOWN_SHA256)
        else "another version of it than the layouts were taken from: look at a prompt with `prompts render`"
    )
    content = {**ours, "name": "reference", "imported_from": found, "system": system}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000)
    return f"# The wording is that of the file it was imported from.\n{text}".encode(), known


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
    return _PLACE.sub("{}", re.sub(r"\?\}", "}", layout)).strip()
