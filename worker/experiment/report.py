"""From simulated responses to the duel share of each candidate, with the user as unit.

    response  ->  section (experiment, fingerprint)  ->  duel (candidate, control)  ->  user: sum and count

Each response id counts once in its section, the first one read; responses of different config fingerprints are
never pooled.  A DUEL is a pair: OK has a share, IDENTICAL and SAME_SET are 0.5 without asking, any other status
is a missing answer, and so is an OK one whose share is no number in [0, 1].  Such a share, and whatever else
cannot be counted as it should, is counted in `data_health` instead.  SLATE answers are counted and otherwise left
out: their letters sum to 1 whatever the slate is worth.

Memory: about 0.1 KB a response (its id, 16 bytes, in a set) and 0.3 KB a user of a duel (CPython 3.11).  More
than `max_responses` is an error, since forgetting an id would count a record twice.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AliasPath, Field, TypeAdapter, ValidationError
from rich.console import Group
from rich.table import Table
from rich.text import Text

from worker.errors import Fatal
from worker.experiment import statistics as stats
from worker.questions import Kind, Status
from worker.records import MAX_TIME_US, Id, TimeUs

HEALTH = ("read", "malformed", "test", "duplicate", "unknown_question", "unknown_status", "bad_duel_share")
MAX_RESPONSES = 10_000_000  # about 1 GB of ids
_ANSWERED = (Status.OK, Status.IDENTICAL, Status.SAME_SET)
_STATUSES = frozenset(Status) - {Status.TRIVIAL}  # a duel's
_BAD_VALUE = "BAD_VALUE"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One candidate against one control; shares are None until there is something to share out."""

    candidate: str
    control: str
    verdict: stats.Verdict
    reason: str
    events: int  # pairs, missing ones too
    statuses: Mapping[str, int]  # pairs by status; BAD_VALUE is an OK one whose share is no number in [0, 1]
    overall: stats.Estimate  # duel share over all users with an answer, the headline
    triggered: stats.Estimate  # over those whose slates differ: overall - 0.5 = trigger_share * (triggered - 0.5)
    trigger_share: float | None  # users whose slates differ, of all with an answer
    contested_mass: float | None  # mean over the pairs of status OK that have one
    missing: int
    missing_share: float  # of all pairs
    worst_case: stats.Interval | None  # overall, with the missing pairs set to 0 and to 1
    estimand: str = stats.ESTIMAND
    basis: str = stats.BASIS


@dataclass(frozen=True, slots=True)
class Section:
    """What one configuration said about one experiment; times in microseconds since 1970-01-01 UTC."""

    experiment_id: str | None
    config_fingerprint: str
    first_occurred_at: int
    last_occurred_at: int
    responses: int
    slates: int  # SLATE answers, not part of any figure
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The figures at one moment; sections by experiment, the one with the newest event last."""

    alpha: float
    planned_users: int
    sections: tuple[Section, ...]
    data_health: Mapping[str, int]  # over all that was read, of any experiment
    estimand: str = stats.ESTIMAND
    basis: str = stats.BASIS
    cannot_tell: tuple[str, ...] = stats.CANNOT_TELL

    def as_json(self) -> dict[str, object]:
        """Return this as what `json.dumps` takes; no NaN, None where a figure is not to be had."""
        return asdict(self)


class Tally:
    """Counts responses; a report may be asked for at any time."""

    def __init__(self, *, include_test: bool = False, max_responses: int = MAX_RESPONSES) -> None:
        """Start with nothing counted; traffic marked `is_test` is left out unless asked for."""
        self._include_test = include_test
        self._max_responses = max_responses
        self._health = Counter(dict.fromkeys(HEALTH, 0))
        self._sections: dict[tuple[str | None, str], _Section] = defaultdict(_Section)
        self._num_ids = 0

    def add(self, response: Mapping[str, object]) -> None:
        """Count one `SimulatedResponse` as Avro decodes it, logical types taken off.  Raises `Fatal` when full."""
        self._health["read"] += 1
        try:
            row = _ROW.validate_python(dict(response))
        except ValidationError:
            self._health["malformed"] += 1
            return
        trouble = self._refused(row) or self._count(row)
        if trouble:
            self._health[trouble] += 1

    def report(self, *, alpha: float = 0.05, planned_users: int = 5_000, experiment: str | None = None) -> Report:
        """Return the figures so far, of one experiment or of all.  Raises `ValueError` for an alpha outside (0, 1)."""
        stats.check(alpha=alpha, planned_users=planned_users)
        sections = [
            section.report(*key, alpha, planned_users)
            for key, section in self._sections.items()
            if experiment is None or key[0] == experiment
        ]
        sections.sort(key=lambda s: (s.experiment_id or "", s.last_occurred_at, s.config_fingerprint))
        return Report(alpha, planned_users, tuple(sections), dict(self._health))

    def _refused(self, row: "_Row") -> str:
        """Return why a response is not counted, or nothing."""
        if row.is_test and not self._include_test:
            return "test"
        if row.question not in (Kind.SLATE, Kind.DUEL):
            return "unknown_question"
        if row.question == Kind.DUEL and row.control_variant is None:
            return "malformed"
        return "duplicate" if row.response_id.bytes in self._section(row).seen else ""

    def _count(self, row: "_Row") -> str:
        """Count a response that is new; return what is wrong with it, or nothing."""
        if self._num_ids >= self._max_responses:
            message = f"more than {self._max_responses:,} responses: report a shorter time or fewer experiments"
            raise Fatal(message)
        self._num_ids += 1
        return self._section(row).add(row)

    def _section(self, row: "_Row") -> "_Section":
        return self._sections[row.experiment_id, row.config_fingerprint]


@dataclass(frozen=True, slots=True)
class _Row:
    """What is read of a `SimulatedResponse`; the defaults are the schema's."""

    response_id: UUID
    occurred_at: TimeUs
    user_id: Id
    question: str
    variant: Id
    status: str
    config_fingerprint: Annotated[str, Field(validation_alias=AliasPath("provenance", "config_fingerprint"))]
    experiment_id: Id | None = None
    control_variant: Id | None = None
    is_test: bool = False
    duel_share: float | None = None
    contested_mass: float | None = None


_ROW: TypeAdapter[_Row] = TypeAdapter(_Row)


@dataclass(slots=True)
class _Duel:
    """One candidate against one control."""

    means: stats.UserMeans = field(default_factory=stats.UserMeans)
    statuses: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(_ANSWERED, 0)))
    contested_sum: float = 0.0
    num_contested: int = 0

    def add(self, row: _Row) -> str:
        """Count a pair; return what is wrong with it, or nothing."""
        if row.status == Status.OK:
            return self._add_answer(row.user_id, _as_share(row.duel_share), _as_share(row.contested_mass))
        status = row.status if row.status in _STATUSES else "UNKNOWN"
        self.statuses[status] += 1
        self.means.add(row.user_id, stats.EVEN if status in _ANSWERED else None, differs=False)
        return "unknown_status" if status == "UNKNOWN" else ""

    def report(self, candidate: str, control: str, alpha: float, planned_users: int) -> Comparison:
        """Return the figures so far."""
        overall, triggered = self.means.overall(alpha, planned_users), self.means.triggered(alpha, planned_users)
        worst, events = self.means.worst_case(), self.statuses.total()
        missing = events - sum(self.statuses[status] for status in _ANSWERED)
        verdict, reason = stats.judge(overall, worst, pairs=events, missing=missing, planned_users=planned_users)
        return Comparison(
            candidate=candidate,
            control=control,
            verdict=verdict,
            reason=reason,
            events=events,
            statuses={str(status): count for status, count in self.statuses.items()},
            overall=overall,
            triggered=triggered,
            trigger_share=triggered.users / overall.users if overall.users else None,
            contested_mass=self.contested_sum / self.num_contested if self.num_contested else None,
            missing=missing,
            missing_share=missing / events,
            worst_case=worst,
        )

    def _add_answer(self, user_id: str, share: float | None, contested: float | None) -> str:
        self.means.add(user_id, share, differs=True)
        self.statuses[_BAD_VALUE if share is None else Status.OK] += 1
        if share is not None and contested is not None:
            self.contested_sum += contested
            self.num_contested += 1
        return "bad_duel_share" if share is None else ""


@dataclass(slots=True)
class _Section:
    seen: set[bytes] = field(default_factory=set)
    duels: dict[tuple[str, str], _Duel] = field(default_factory=lambda: defaultdict(_Duel))
    slates: int = 0
    first: int = MAX_TIME_US
    last: int = 0

    def add(self, row: _Row) -> str:
        """Count a response; return what is wrong with it, or nothing."""
        self.seen.add(row.response_id.bytes)
        self.first, self.last = min(self.first, row.occurred_at), max(self.last, row.occurred_at)
        if row.question == Kind.SLATE or row.control_variant is None:
            self.slates += 1
            return ""
        return self.duels[row.variant, row.control_variant].add(row)

    def report(self, experiment_id: str | None, fingerprint: str, alpha: float, planned_users: int) -> Section:
        """Return the figures so far, comparisons by candidate."""
        comparisons = tuple(self.duels[pair].report(*pair, alpha, planned_users) for pair in sorted(self.duels))
        return Section(experiment_id, fingerprint, self.first, self.last, len(self.seen), self.slates, comparisons)


def _as_share(value: float | None) -> float | None:
    return value if value is not None and 0 <= value <= 1 else None  # None for NaN too


def render(report: Report) -> Group:
    """Lay the report out for a terminal: a table a section, then the state of the data and what it cannot tell."""
    tables = [_table(section, report) for section in report.sections]
    counts = [f"{count:,} {name.replace('_', ' ')}" for name, count in report.data_health.items()]
    lines = [
        *(() if tables else ("Nothing was counted.",)),
        f"Responses: {', '.join(counts)}.",
        "What this cannot tell:",
        *(f"- {words}" for words in report.cannot_tell),
    ]
    return Group(*tables, Text("\n".join(lines)))


def _table(section: Section, report: Report) -> Table:
    times = (section.first_occurred_at, section.last_occurred_at)
    first, last = (datetime.fromtimestamp(at_us // 10**6, UTC) for at_us in times)
    title = f"Experiment {section.experiment_id or '(none)'}, configuration {section.config_fingerprint}\n"
    title += f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    table = Table(title=_plain(title), title_justify="left")
    table.add_column("")
    columns = [_column(comparison, report) for comparison in section.comparisons]
    for comparison in section.comparisons:
        table.add_column(_plain(f"{comparison.candidate} against {comparison.control}"))
    for name in columns[0] if columns else ():
        table.add_row(name, *(_plain(column[name]) for column in columns))
    table.add_row("SLATE answers, in no figure", *([f"{section.slates:,}"] * max(1, len(columns))))
    return table


def _column(one: Comparison, report: Report) -> dict[str, str]:
    """Return the cells of a comparison by their row's name."""
    statuses = ", ".join(f"{count:,} {status}" for status, count in one.statuses.items())
    return {
        "verdict": f"{one.verdict.words}: {one.reason}",
        "estimand": f"{one.estimand}, {one.basis}",
        "duel share, all users": _figure(one.overall, report),
        "duel share, slates differ": _figure(one.triggered, report),
        "users": f"{one.overall.users:,} of {report.planned_users:,} planned",
        "users whose slates differ": f"{one.triggered.users:,} ({_number(one.trigger_share, '.1%')})",
        "pairs": f"{one.events:,}: {statuses}",
        "mean contested mass": _number(one.contested_mass, ".3f"),
        "missing pairs": f"{one.missing:,} ({one.missing_share:.2%})",
        "with them all lost, all won": str(one.worst_case or "-"),
    }


def _figure(one: stats.Estimate, report: Report) -> str:
    value = _number(one.value, ".3f")
    return f"{value} ({100 * (1 - report.alpha):g}%: {one.interval})" if one.interval else f"{value} (no interval yet)"


def _number(value: float | None, spec: str) -> str:
    return "-" if value is None else format(value, spec)


def _plain(text: str) -> Text:
    """Return text from outside without markup or control characters, which a terminal would obey."""
    return Text("".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text))
