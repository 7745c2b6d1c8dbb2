"""What was measured so far, a JSON document a line, so that a run that was ended goes on where it was.

The first line says what the figures are of, as a digest: a journal of other settings is refused, not mixed in.
A line that was cut off by a crash is dropped.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.core.errors import BadSettings


class Journal:
    """The journal beside the file of settings."""

    def __init__(self, path: Path, digest: str) -> None:
        self._path = path
        self.texts: dict[str, str] | None = None  # the rationales that every engine reads, by draw
        self.pairs: dict[tuple[str, int], dict[str, Any]] = {}  # by candidate and round
        lines, end = _whole_lines(path)
        if lines and lines[0].get("of") != digest:
            raise BadSettings(f"{path}: is of other settings, versions or load; remove it, or name another --tune FILE")
        with path.open("ab") as file:
            file.truncate(end)
        if not lines:
            self._add({"of": digest})
        for one in lines[1:]:
            self._take(one)

    def found_texts(self, texts: Mapping[str, str]) -> None:
        """Keep the rationales that the first engine wrote."""
        self._add({"texts": dict(texts)})

    def found_pair(self, name: str, number: int, pair: Mapping[str, Any]) -> None:
        """Keep what a candidate and its baseline told, or why the candidate failed."""
        self._add({"candidate": name, "round": number, "pair": dict(pair)})

    def _add(self, line: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if "texts" in line:
            self.texts = line["texts"]
        elif "pair" in line:
            self.pairs[line["candidate"], line["round"]] = line["pair"]


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the documents of the whole lines, and how many bytes these take."""
    found: list[dict[str, Any]] = []
    data, end = path.read_bytes() if path.exists() else b"", 0
    for line in data.splitlines(keepends=True):
        one = _document(line)
        if one is None:
            break
        found.append(one)
        end += len(line)
    if data.strip() and not found:
        raise BadSettings(f"{path}: is no journal of bench --tune; name another --tune FILE")
    return found, end


def _document(line: bytes) -> dict[str, Any] | None:
    """Return the document of a line, None if it was cut off or is none."""
    try:
        one = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return one if isinstance(one, dict) else None
