"""A prompt profile with the wording that the reference model was trained with, from a local copy of its `template.py`.

The wording is its authors' and not part of this project.  The file is parsed, never run: only string literals are
looked at, and told apart by what they hold.

    default system text    names the labels of all six sections
    direct system text     speaks of an exposure list and names none of them
    user layout            has the three headings; it must be ours, for the domains' layouts are
"""

import ast
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import yaml

from worker.errors import BadSettings

KNOWN_SHA256 = "6b2b68f2021525c3"  # how the hash begins of the file that the layouts were taken from (b6e628c)
_LABELS = ("Stimulus:", "Stimulus Factors:", "Knowledge:", "Knowledge Factors:", "Evaluation:", "Evaluation Style:")
_HEADINGS = ("# User Profile", "## History", "# Exposure List")
_PLACE = re.compile(r"\{\w*\}")
_MIN_CHARS = 60  # of a system text; shorter literals are names and labels


def convert(source: bytes, ours: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Return a profile as YAML, with the source's system texts and the rest of `ours`, and a word on its origin.

    Raises `BadSettings` if the source holds not exactly one text of each kind, or another layout.
    """
    texts = list(dict.fromkeys(_literals(source)))
    system = {
        "default": _one("default system text", [text for text in texts if all(label in text for label in _LABELS)]),
        "direct": _one("direct system text", [text for text in texts if _is_direct(text)]),
    }
    for layout in (text for text in texts if all(heading in text for heading in _HEADINGS)):
        if _shape(layout) != _shape(str(ours["user"])):
            message = f"the user layout is not the one that this project renders: {layout!r}; nothing is written"
            raise BadSettings(message)
    found = sha256(source).hexdigest()
    known = "the file that the layouts were taken from" if found.startswith(KNOWN_SHA256) else "another version"
    content = {**ours, "name": name, "imported_from": found, "system": system}
    return "# The wording is that of the file it was imported from.\n" + yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True, width=10_000
    ), known


def _literals(source: bytes) -> Iterator[str]:
    """Yield every string literal that is not a docstring, outside spaces stripped."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        message = f"is no Python file: {error}"
        raise BadSettings(message) from error
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value.strip()


def _is_direct(text: str) -> bool:
    named = any(label in text for label in _LABELS) or any(heading in text for heading in _HEADINGS)
    return len(text) >= _MIN_CHARS and "exposure list" in text.lower() and not named


def _one(what: str, found: list[str]) -> str:
    if len(found) != 1:
        message = f"holds {len(found)} texts that could be the {what}, want one; nothing is written"
        raise BadSettings(message)
    return found[0]


def _shape(layout: str) -> str:
    """Return a layout with its places unnamed and outer spaces off, so that only the fixed text counts."""
    return _PLACE.sub("{}", re.sub(r"\?\}", "}", layout)).strip()
