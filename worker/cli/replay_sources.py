"""Impressions and outcomes from a file to their topics: JSON Lines, or a MovieLens folder.

    {"event_id": "e1", "user": {...}, "slates": [...], ...}                      an impression
    {"outcome_id": "o1", "event_id": "e1", "variant": "control", "actions": [...], ...}     an outcome

A line is what its fields say: both kinds may stand in one file in any order, or in a file each.  A MovieLens replay
exercises the pipeline: its users were never shown these slates, so it is no evidence about any ranker.
"""

import codecs
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from worker.cli import movielens
from worker.core.codec import impression as codec, json_reader
from worker.core.codec.avro_encoder import Encoder, JsonEncoder
from worker.core.codec.json_reader import FILE_RULES, JsonRules
from worker.core.codec.mapping import EventMapping
from worker.core.errors import BadSettings, Poison
from worker.core.outcomes import Outcome
from worker.core.records import Impression, Message

OF_OUTCOMES = frozenset({"outcome_id", "observed_at"})  # an impression has neither
WANT = "want one JSON object per line, each an impression or an outcome"
NO_EVIDENCE = "exercises the pipeline; no evidence about any ranker"
_NOT_UTF8 = "is not UTF-8 text; iconv -f LATIN1 -t UTF-8 makes it so, with the encoding that the file has"
LOOK_BYTES = 64 << 10  # of a file that are looked at before anything is sent
MAX_BAD_TOLD = 10  # wrong lines
MAX_LINE_BYTES = 16 << 20  # far above the largest message of any topic
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip", b"BZh": "bzip2"}

Moment = tuple[Impression | None, Outcome | None]  # one of both at least


class Impressions:
    """Impressions, with their outcomes if there are any, and how far they are: `share` of all, None if not known."""

    about = ""  # what the summary says of all that this source gives

    def __init__(self, moments: Iterable[Moment], *, limit: int) -> None:
        """Return at most `limit` of them (0: all)."""
        self._moments, self._limit = moments, limit
        self._num, self.num_outcomes = 0, 0
        self.num_bad = 0  # lines that are wrong and were passed over
        self.bad: list[str] = []  # what is wrong with the first of them

    def __iter__(self) -> Iterator[Moment]:
        """Yield them once."""
        for one in self._moments:
            self._num += 1
            self.num_outcomes += one[1] is not None
            yield one

    def note(self, outcomes_topic: str | None) -> str:
        """Return what the summary shall say beside the counts; a flag or a line without effect is never silent."""
        told = [self.about]
        if self.num_outcomes and outcomes_topic is None and not self.about:
            told.append(f"outcomes not sent: {self.num_outcomes:,}; --outcomes-topic TOPIC sends them")
        if outcomes_topic is not None and not self.num_outcomes:
            told.append(f"there was no outcome to send to {outcomes_topic}")
        return "; ".join(filter(None, told))

    @property
    def share(self) -> float | None:
        """The share that was given so far."""
        return self._num / self._limit if self._limit else None


class JsonLines(Impressions):
    """The impressions and outcomes of a file of JSON Lines."""

    def __init__(
        self,
        path: Path,
        *,
        limit: int,
        rules: JsonRules = FILE_RULES,
        mapping: EventMapping | None = None,
        strict: bool = True,
    ) -> None:
        """Read the file's start.  Raises `BadSettings` if that is no JSON Lines, before anything is sent.

        A wrong line raises it too, unless the reading is not `strict`: then it is counted and passed over.
        """
        check(path)
        self._rules, self._mapping, self._strict = rules, mapping, strict
        super().__init__(self._read(path), limit=limit)
        self._size = path.stat().st_size if path.is_file() else 0  # a pipe has none
        self._num_bytes = 0

    @property
    def share(self) -> float | None:
        """The share that was read: of the limit, or of the file, whichever ends first."""
        shares = [self._num_bytes / self._size] if self._size else []
        return max([*shares, *filter(None, [super().share])], default=None)

    def _read(self, path: Path) -> Iterator[Moment]:
        for number, line in lines(path, self._tell, limit=self._limit, on_bad=self._on_bad):
            try:
                moment = self._moment(f"{path}, line {number}", line)
            except BadSettings as error:
                self._on_bad(error)
            else:
                if moment is not None:
                    yield moment

    def _moment(self, place: str, line: str) -> Moment | None:
        if self._mapping is None:
            return _moment(place, line, self._rules)
        mapped = _mapped(place, line, self._mapping)
        return None if mapped is None else (mapped, None)

    def _on_bad(self, error: BadSettings) -> None:
        if self._strict:
            raise error
        self.num_bad += 1
        if len(self.bad) < MAX_BAD_TOLD:
            self.bad.append(str(error).removesuffix("; nothing more was replayed"))

    def _tell(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes


class MovieLens(Impressions):
    """The events of a MovieLens folder, each with its outcome."""

    about = NO_EVIDENCE


def from_movielens(folder: Path, *, limit: int) -> Impressions:
    """Return impressions and outcomes by event time.  Raises `Fatal` if the folder is not MovieLens'."""
    return MovieLens(movielens.moments(movielens.read(folder), limit=limit or None), limit=limit)


def _raise(error: BadSettings) -> None:
    raise error


def lines(
    path: Path,
    tell: Callable[[int], object] = lambda _: None,
    *,
    limit: int = 0,
    on_bad: Callable[[BadSettings], None] = _raise,
) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not blank, with their numbers; `tell` gets the bytes of each line.

    At most `limit` lines are read; 0 is all.  `on_bad` gets what is wrong with a line that is no text.  Raises
    `BadSettings`.
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
                    text = _text(path, number, line).strip()
                except BadSettings as error:
                    on_bad(error)
                    continue
                if text:
                    yield number, text
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}; nothing more was replayed") from error


def check(path: Path, want: str = WANT) -> None:
    """See that a file can be JSON Lines by its start.  Raises `BadSettings` with what it is instead."""
    try:
        if not path.is_file() and path.exists() and not path.is_dir():
            return  # a pipe can be read once
        with path.open("rb") as file:
            start = file.read(LOOK_BYTES)
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}; want a file with one JSON object per line") from error
    if what := _other_form(start, path, want):
        raise BadSettings(f"{path}: {what}; nothing was replayed")


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


def messages(
    moments: Iterable[Moment],
    *,
    topic: str,
    outcomes_topic: str | None,
    impressions: Encoder | JsonEncoder,
    outcomes: Encoder,
) -> Iterator[Message]:
    """Encode each impression and, with a topic for them, each outcome; the key is the user's id."""
    for impression, outcome in moments:
        if impression is not None:
            yield Message(topic, impression.user.user_id.encode(), impressions.encode(impression))
        if outcomes_topic is not None and outcome is not None:
            yield Message(outcomes_topic, outcome.user_id.encode(), outcomes.encode(outcome))


def paced(items: Iterable[Message], rate: float) -> Iterator[Message]:
    """Yield items no faster than `rate` a second; 0 is as fast as they are taken."""
    start_s = time.monotonic()
    for number, item in enumerate(items):
        if rate:
            time.sleep(max(0.0, start_s + number / rate - time.monotonic()))
        yield item


def _text(path: Path, number: int, line: bytes) -> str:
    if len(line) >= MAX_LINE_BYTES:
        raise BadSettings(f"{path}, line {number}: is longer than {MAX_LINE_BYTES >> 20} MiB; {WANT}")
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise BadSettings(f"{path}, line {number}: {_NOT_UTF8}; nothing more was replayed") from error


def _moment(place: str, line: str, rules: JsonRules) -> Moment:
    """Read one line.  Raises `BadSettings` with its place."""
    content = json_object(place, line)
    try:
        if OF_OUTCOMES & content.keys() and "slates" not in content:
            return None, codec.outcome(json_reader.fields(content, "Outcome", rules))
        plain = json_reader.fields(content, "RecommendationImpression", rules)
        return codec.impression(plain, show_names=True), None
    except Poison as poison:
        raise BadSettings(f"{place}: {poison}; nothing more was replayed") from poison


def _mapped(place: str, line: str, mapping: EventMapping) -> Impression | None:
    """Return the impression of an event, None for one that is passed over.  Raises `BadSettings` with its place."""
    try:
        return mapping.impression(json_object(place, line), show_names=True)
    except Poison as poison:
        raise BadSettings(f"{place}: {poison}; nothing more was replayed") from poison


def json_object(place: str, line: str) -> Mapping[str, object]:
    """Return the JSON object of a line.  Raises `BadSettings` with its place."""
    try:
        return json_reader.parse(line)
    except Poison as poison:
        raise BadSettings(f"{place}: {poison}; nothing more was replayed") from poison
