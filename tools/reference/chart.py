"""The chart's values, from the comments of `values.yaml` (`# -- text` before the key, as helm-docs reads them)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from tools.reference.markdown import code, entries

VALUES = Path(__file__).parents[2] / "helm" / "mirrorstream" / "values.yaml"
MAX_DEFAULT = 60  # characters of a list or a map
_KEY = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z][\w.-]*):")


def values() -> str:
    """Return one entry for each value that has a comment."""
    return entries((name, f"default {default}" if default else "", text) for name, default, text in _rows())


def _rows() -> Iterator[tuple[str, str, str]]:
    parsed = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
    path: list[str] = []
    text: list[str] = []
    for line in VALUES.read_text(encoding="utf-8").splitlines():
        if comment := re.match(r" *# ?(?P<text>.*)", line):
            words = comment["text"]
            if words.startswith("-- "):
                text = [words.removeprefix("-- ")]
            elif text and not words.startswith("@default"):
                text.append(words)
        elif key := _KEY.match(line):
            path[len(key["indent"]) // 2 :] = [key["key"]]
            if text:
                yield code(".".join(path)), _default(parsed, path), " ".join(text)
            text = []


def _default(parsed: object, path: list[str]) -> str:
    for key in path:
        assert isinstance(parsed, dict)
        parsed = parsed[key]
    if parsed in ("", None, [], {}):
        return ""
    if isinstance(parsed, dict | list):
        shown = json.dumps(parsed)
        return f"`{shown}`" if len(shown) <= MAX_DEFAULT else "see `values.yaml`"
    return code(parsed)
