"""Finished A/B tests as impressions: simulated users choose between the arms, and `backtest` compares with real clicks.

    test,arm,text,shown,clicked,start                    a table, one row per arm
    headline-1,control,Why bees matter,1000,31,2025-03-01
    headline-1,b,Ten facts about bees,1010,52,2025-03-01

                x {"user_id": "p1", "profile": {...}, "history": [...]}        personas, one per line

    ->  one experiment per test, one impression per test and persona with the slates of all arms
    ->  the real lift of each candidate, with its interval (`real_lifts`)

No persona was shown an arm, so no slate is `shown`.  Event ids follow from the test and the user: what is sent twice is
counted once.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from heapq import nsmallest
from itertools import islice
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from worker.cli import replay_sources as sources
from worker.core.codec import impression as codec, json_reader
from worker.core.errors import BadSettings, Poison
from worker.core.records import MAX_SLATES, Experiment, Impression, Role, Slate, User
from worker.core.seeding import digest
from worker.core.validation_text import kind
from worker.experiment.export.table_files import parquet_rows
from worker.experiment.real_clicks.real_lifts import HEADER, RealLift, difference
from worker.experiment.statistics.confidence import MIN_USERS
from worker.offline.events import event_files
from worker.offline.events.moments import Moment
from worker.settings import parse_time

CONTROL = "control"  # the arm that is control; the first one, if no arm has this name
COLUMNS = ("test", "arm", "shown", "clicked", "start")
CONTENT = ("text", "items")  # one of both: what the arm showed
MAX_ROWS = 200_000  # of a table; the Upworthy Research Archive has 150,817 arms (Matias et al., Scientific Data 2021)
MAX_COUNT = 10**12  # people that an arm was shown to
MAX_PERSONAS = 100_000  # all are kept in memory
_WANT = f"want a CSV or Parquet table with the columns {','.join(COLUMNS)} and text or items"
_WANT_PERSONAS = "want one JSON object per line, each a user with user_id, profile and history"
_NAMESPACE = uuid5(NAMESPACE_URL, "mirrorstream finished tests")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANY = {"event_id": "e", "occurred_at": 1_767_225_600_000_000, "user": {"user_id": "u"}}
_ANY_SLATE = {"variant": "a", "items": [{"item_id": "i", "position": 0, "text": "t"}]}
Row = tuple[str, Mapping[str, object]]  # where it stands, for people, and its cells


@dataclass(frozen=True, slots=True)
class FinishedArm:
    """One arm of a finished test: what it showed, and what real users did."""

    slate: Slate
    shown: int
    clicked: int


@dataclass(frozen=True, slots=True)
class FinishedTest:
    """One A/B test that is over; control is the first arm."""

    name: str
    start: int  # microseconds
    domain: str
    arms: tuple[FinishedArm, ...]

    def lifts(self) -> Iterator[RealLift]:
        """Yield the real lift of each candidate."""
        control, *candidates = self.arms
        for one in candidates:
            lift, interval = difference(one.clicked, one.shown, control.clicked, control.shown)
            yield RealLift(self.name, lift, interval, one.slate.variant, control.slate.variant)


class FinishedTests(sources.Impressions):
    """The impressions of finished tests, by test: each asks `users` of the personas, or all of them (0)."""

    def __init__(self, tests: Sequence[FinishedTest], personas: Sequence[User], *, users: int, limit: int) -> None:
        self._users = min(users, len(personas)) or len(personas)
        num = len(tests) * self._users
        total = min(limit, num) if limit else num
        super().__init__(islice(_moments(tests, personas, self._users), total), limit=total)
        if self._users < MIN_USERS:
            self.about = (
                f"{self._users} users per test: no test gets an effect, at least {MIN_USERS} users are needed for one"
            )


def read_tests(path: Path) -> list[FinishedTest]:
    """Read a table of finished tests, CSV, or Parquet by its ending.  Raises `BadSettings` with the row."""
    by_test = defaultdict[str, list[Row]](list)
    rows = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    for number, (place, row) in enumerate(rows):
        if number == MAX_ROWS:
            raise BadSettings(f"{path}: more than {MAX_ROWS:,} rows; want several files; nothing was replayed")
        by_test[_text(place, row, "test")].append((place, row))
    if not by_test:
        raise BadSettings(f"{path}: has no row; {_WANT}")
    return [_test(name, arms) for name, arms in by_test.items()]


def read_personas(path: Path) -> list[User]:
    """Read users, one JSON object per line.  Raises `BadSettings` with the line."""
    found: dict[str, User] = {}
    with event_files.ending(sources.NOTHING):
        event_files.check(path, want=_WANT_PERSONAS)
        for number, line in event_files.lines(path):
            if len(found) == MAX_PERSONAS:
                raise BadSettings(f"{path}: more than {MAX_PERSONAS:,} users; want fewer")
            place = f"{path}, line {number}"
            user = _persona(place, line)
            if user.user_id in found:
                raise BadSettings(f"{place}: user_id {user.user_id} stands twice; want each user once")
            found[user.user_id] = user
    return list(found.values())


def write_lifts(path: Path, tests: Iterable[FinishedTest]) -> int:
    """Write the table for `experiment backtest --real`; return the number of its rows."""
    lifts = [lift for test in tests for lift in test.lifts()]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(HEADER)
        table.writerows(lift.cells for lift in lifts)
    return len(lifts)


def _moments(tests: Sequence[FinishedTest], personas: Sequence[User], users: int) -> Iterator[Moment]:
    for test in tests:
        for user in _asked(test.name, personas, users):
            yield _impression(test, user), None


def _asked(test: str, personas: Sequence[User], users: int) -> Sequence[User]:
    """Return the users of a test: those with the lowest hashes, so that a larger number only adds some."""
    if users == len(personas):
        return personas
    return nsmallest(users, personas, key=lambda user: digest("finished test", test, user.user_id))


def _impression(test: FinishedTest, user: User) -> Impression:
    try:
        return codec.impression(
            {
                "event_id": str(uuid5(_NAMESPACE, json.dumps([test.name, user.user_id]))),
                "occurred_at": test.start,
                "domain": test.domain,
                "user": user,
                "slates": tuple(arm.slate for arm in test.arms),
                "experiment": Experiment(test.name),
            }
        )
    except Poison as poison:  # each is within its bounds, both together are not
        where = f"test {test.name}, user {user.user_id}"
        raise BadSettings(f"{where}: {poison}; nothing more was replayed") from poison


def _test(name: str, rows: Sequence[Row]) -> FinishedTest:
    """Return one test, its control first.  Raises `BadSettings` with the row."""
    place = rows[0][0]
    arms = [_text(where, row, "arm") for where, row in rows]
    if not 1 < len(set(arms)) == len(arms) <= MAX_SLATES:
        raise BadSettings(f"{place}: test {name}: {len(arms)} rows, want one per arm, of 2 to {MAX_SLATES} arms")
    control = CONTROL if CONTROL in arms else arms[0]
    ordered = sorted(zip(arms, rows, strict=True), key=lambda one: one[0] != control)
    domain = str(rows[0][1].get("domain") or "generic")
    arms_plain = [{"variant": arm, "items": _items(*row)} for arm, row in ordered]
    plain = _ANY | {"domain": domain, "experiment": {"experiment_id": name}, "slates": arms_plain}
    try:
        read = json_reader.fields(plain, "RecommendationImpression", json_reader.FILE_RULES)
        slates = codec.impression(read, show_names=True)
    except Poison as poison:
        raise BadSettings(f"{place}: test {name}: {poison}; nothing was replayed") from poison
    return FinishedTest(
        name,
        min(_start(*row) for row in rows),
        domain,
        tuple(
            _arm(*row, slate=Slate(slate.variant, slate.items, Role.CANDIDATE if number else Role.CONTROL))
            for number, (slate, (_, row)) in enumerate(zip(slates.slates, ordered, strict=True))
        ),
    )


def _arm(place: str, row: Mapping[str, object], *, slate: Slate) -> FinishedArm:
    shown, clicked = _count(place, row, "shown"), _count(place, row, "clicked")
    if shown == 0 or clicked > shown:
        raise BadSettings(f"{place}: shown {shown:,}, clicked {clicked:,}; want at least 1, and not more clicks")
    return FinishedArm(slate, shown, clicked)


def _items(place: str, row: Mapping[str, object]) -> list[dict[str, object]]:
    """Return what an arm showed, as plain items; texts that are equal are one item in all arms."""
    found: object = [row["text"]] if row.get("text") else row.get("items")
    if isinstance(found, str) and found:
        try:
            found = json.loads(found)
        except (ValueError, RecursionError) as error:
            raise BadSettings(f"{place}: items: is not JSON: {error}") from error
    if not isinstance(found, list) or not found:
        raise BadSettings(f'{place}: want a text, or items as a JSON list such as ["First", "Second"]')
    return [_item(place, number, one) for number, one in enumerate(found)]


def _item(place: str, position: int, item: object) -> dict[str, object]:
    if isinstance(item, str):
        try:
            return {"item_id": digest("item", item).hex()[:16], "position": position, "text": item}
        except UnicodeEncodeError as error:
            raise BadSettings(f"{place}: items.{position}: holds half of a character ({error}); want text") from error
    if not isinstance(item, Mapping):
        raise BadSettings(f"{place}: items.{position}: holds {kind(item)}, want text or an item")
    return {**item, "position": position}


def _persona(place: str, line: str) -> User:
    content = event_files.json_object(place, line)
    try:
        user = json_reader.fields(content, "User", json_reader.FILE_RULES)
        return codec.impression(_ANY | {"user": user, "slates": [_ANY_SLATE]}, show_names=True).user
    except Poison as poison:
        raise BadSettings(f"{place}: {poison}") from poison


def _text(place: str, row: Mapping[str, object], name: str) -> str:
    if not (found := str(row.get(name) or "").strip()):
        raise BadSettings(f"{place}: {name} is empty; nothing was replayed")
    return found


def _count(place: str, row: Mapping[str, object], name: str) -> int:
    """Return a whole number; programs that know a missing value write 1000 as 1000.0."""
    try:
        found = float(str(row.get(name)))
        if 0 <= found <= MAX_COUNT and found.is_integer():
            return int(found)
    except ValueError:
        pass
    raise BadSettings(f"{place}: {name} {row.get(name)}: want a whole number, 0 to {MAX_COUNT:,}")


def _start(place: str, row: Mapping[str, object]) -> int:
    found = row.get("start")
    try:
        at = parse_time(found.isoformat() if isinstance(found, date) else str(found or "").strip())
    except BadSettings as error:
        raise BadSettings(f"{place}: start {error}") from error
    return (at - _EPOCH) // timedelta(microseconds=1)


def _csv(path: Path) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)  # strict: an open quote would swallow the rest of the file
            _check_columns(path, table.fieldnames or ())
            for row in table:
                if None in row or None in row.values():
                    raise BadSettings(f"{path}, line {table.line_num}: too few or too many values; {_WANT}")
                yield f"{path}, line {table.line_num}", row
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}; {_WANT}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadSettings(f"{path}: is not CSV: {error}; {_WANT}") from error


def _parquet(path: Path) -> Iterator[Row]:
    for number, row in enumerate(parquet_rows(path, _WANT), 1):
        if number == 1:
            _check_columns(path, row)
        yield f"{path}, row {number}", row


def _check_columns(path: Path, names: Iterable[str]) -> None:
    found = set(names)
    missing = [name for name in COLUMNS if name not in found]
    missing += [] if found & set(CONTENT) else [" or ".join(CONTENT)]
    if missing:
        raise BadSettings(f"{path}: has no column {', '.join(missing)}; {_WANT}")
