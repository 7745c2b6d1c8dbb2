"""The chart's values, from the comments of `values.yaml` (`# -- text` before the key, as helm-docs reads them).

And the other way round: what `config` may hold, in the chart's schema, from the worker's settings.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from tools.reference.markdown import code, entries
from worker.settings import Settings

CHART = Path(__file__).parents[2] / "helm" / "mirrorstream"
VALUES, SCHEMA = CHART / "values.yaml", CHART / "values.schema.json"
# The generated definition is the last member of the file: JSON has no comments that could mark its place.
_DEFINITIONS = re.compile(r'^  "definitions": .*\Z', re.DOTALL | re.MULTILINE)
MAX_DEFAULT = 60  # characters of a list or a map
_KEY = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z][\w.-]*):")


def values() -> str:
    """Return one entry for each value that has a comment."""
    return entries((name, f"default {default}" if default else "", text) for name, default, text in _rows())


def schema(text: str) -> str:
    """Return the chart's schema with the definition of `config` made anew."""
    definition = json.dumps({"config": _config()}, indent=2).replace("\n", "\n  ")
    return _DEFINITIONS.sub(lambda _: f'  "definitions": {definition}\n}}\n', text)


def _config() -> dict[str, object]:
    """Return what the worker takes as settings; a list may be a text with commas, as the worker reads it."""
    found = {name: _plain(dict(one)) for name, one in Settings.model_json_schema()["properties"].items()}
    return {"type": "object", "additionalProperties": False, "properties": found}


def _plain(one: dict[str, object]) -> dict[str, object]:
    for key in ("title", "default", "format"):
        one.pop(key, None)
    if isinstance(either := one.get("anyOf"), list):
        one["anyOf"] = [_plain(dict(each)) for each in either]
    if one.get("type") == "array":
        one["type"] = ["array", "string"]
    return one


def table() -> str:
    """Return the values as the table of the chart's own README, which package pages show."""
    rows = (f"| {name} | {default or code('')} | {text} |" for name, default, text in _rows())
    return "\n".join(["| value | default | meaning |", "| --- | --- | --- |", *rows])


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
