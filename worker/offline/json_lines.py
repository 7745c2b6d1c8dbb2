"""JSON Lines as people have them: the lines of a file with their places, and what is wrong with one, in words.

A file is read line by line, so its size does not matter.  What a line says is for the caller; what is no text, no
JSON or too long is told with its place: `events.jsonl, line 7`.
"""

import codecs
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from worker.core.codec import impression as codec, json_reader
from worker.core.codec.json_reader import JsonRules
from worker.core.codec.mapping import EventMapping
from worker.core.errors import BadSettings, Poison
from worker.core.outcomes import Outcome
from worker.core.records import Impression

WANT = "want one JSON object per line, each an impression or an outcome"
OF_OUTCOMES = frozenset({"outcome_id", "observed_at"})  # an impression has neither
ENDING = "nothing more was replayed"
_NOT_UTF8 = "is not UTF-8 text; iconv -f LATIN1 -t UTF-8 makes it so, with the encoding that the file has"
LOOK_BYTES = 64 << 10  # of a file that are looked at before anything is done
MAX_LINE_BYTES = 16 << 20  # far above the largest message of any topic
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip", b"BZh": "bzip2"}

Moment = tuple[Impression | None, Outcome | None]  # one of both at least


def _raise(error: BadSettings) -> None:
    raise error


def lines(
    path: Path,
    tell: Callable[[int], object] = lambda _: None,
    *,
    limit: int = 0,
    on_bad: Callable[[BadSettings], None] = _raise,
    ending: str = ENDING,
) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not blank, with their numbers; `tell` gets the bytes of each line.

    At most `limit` lines are read; 0 is all.  `on_bad` gets what is wrong with a line that is no text.  `ending`
    says what happens then.  Raises `BadSettings`.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if limit and number > limit:
                    return
                tell(len(line))
                try:
                    text = _text(path, number, line, ending).strip()
                except BadSettings as error:
                    on_bad(error)
                    continue
                if text:
                    yield number, text
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}; {ending}") from error


def check(path: Path, want: str = WANT, *, ending: str = "nothing was replayed") -> None:
    """See that a file can be JSON Lines by its start.  Raises `BadSettings` with what it is instead."""
    try:
        if not path.is_file() and path.exists() and not path.is_dir():
            return  # a pipe can be read once
        with path.open("rb") as file:
            start = file.read(LOOK_BYTES)
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}; want a file with one JSON object per line") from error
    if what := _other_form(start, path, want):
        raise BadSettings(f"{path}: {what}; {ending}")


def _other_form(start: bytes, path: Path, want: str) -> str:
    """Return what a file is whose start is no text of JSON Lines, and what to do; "" if it may be."""
    packed = next((name for mark, name in _PACKED.items() if start.startswith(mark)), "")
    if packed:
        return f"is packed ({packed}): unpack it first; {want}"
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(start).strip()  # a character may be cut at the end
    except UnicodeDecodeError:
        # A line in another encoding is told with its number, once it is read.
        looks_right = start.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
        return "" if looks_right else f"is not a text file (UTF-8): {want}"
    return f"is not a text file: {want}" if "\0" in text else _other_text(text, path, want)


def _other_text(text: str, path: Path, want: str) -> str:
    """Return what a text is that is not JSON Lines, as `_other_form`."""
    if not text:
        return f"is empty: {want}"
    if text.startswith("["):
        return f"is a JSON array: want one object per line (jq -c '.[]' {shlex.quote(str(path))})"
    first = text.splitlines()[0].strip()
    if first in {"{", "{}"} or (first.startswith("{") and first.endswith((",", "{", "["))):
        return f"has one JSON object over several lines: want one object per line (jq -c . {shlex.quote(str(path))})"
    if not first.startswith("{") and any(sign in first for sign in ",;\t"):
        return f"is CSV: {want}; a folder of MovieLens is read with --movielens, a table of tests with --finished-tests"
    return ""


def moment(place: str, line: str, rules: JsonRules, *, ending: str = ENDING) -> Moment:
    """Read one line.  Raises `BadSettings` with its place."""
    content = json_object(place, line, ending=ending)
    try:
        if OF_OUTCOMES & content.keys() and "slates" not in content:
            return None, codec.outcome(json_reader.fields(content, "Outcome", rules))
        plain = json_reader.fields(content, "RecommendationImpression", rules)
        return codec.impression(plain, show_names=True), None
    except Poison as poison:
        raise BadSettings(f"{place}: {poison}; {ending}") from poison


def mapped(place: str, line: str, mapping: EventMapping, *, ending: str = ENDING) -> Impression | None:
    """Return the impression of an event, None for one that is passed over.  Raises `BadSettings` with its place."""
    try:
        return mapping.impression(json_object(place, line, ending=ending), show_names=True)
    except Poison as poison:
        raise BadSettings(f"{place}: {poison}; {ending}") from poison


def json_object(place: str, line: str, *, ending: str = ENDING) -> Mapping[str, object]:
    """Return the JSON object of a line.  Raises `BadSettings` with its place."""
    try:
        return json_reader.parse(line)
    except Poison as poison:
        raise BadSettings(f"{place}: {poison}; {ending}") from poison


def _text(path: Path, number: int, line: bytes, ending: str) -> str:
    if len(line) >= MAX_LINE_BYTES:
        raise BadSettings(f"{path}, line {number}: is longer than {MAX_LINE_BYTES >> 20} MiB; {WANT}")
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise BadSettings(f"{path}, line {number}: {_NOT_UTF8}; {ending}") from error
