"""The columns of both exported tables: name, type, unit and meaning; the reference page is made from these."""

from dataclasses import dataclass
from enum import StrEnum

from worker.experiment.metrics import slate_metrics

Cell = str | int | float | None
Row = tuple[Cell, ...]


class ColumnType(StrEnum):
    """How a column is written."""

    TEXT = "text"
    """Never null.  A CSV cell without text is empty; JSON stands in the cell as text."""

    COUNT = "integer"
    """64 bits."""

    NUMBER = "number"
    """A float of 64 bits; in CSV the shortest text that reads back as the same float.  Null is an empty CSV cell."""

    TIME = "time"
    """UTC: in CSV `2026-11-01T12:00:00.000000Z`, in Parquet a timestamp in microseconds.  Null is an empty CSV cell."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an exported table."""

    name: str
    type: ColumnType
    unit: str  # "" where there is none
    meaning: str


_EPOCH = (
    Column("config_fingerprint", ColumnType.TEXT, "", "Configuration of the worker that answered."),
    Column("definition_key", ColumnType.TEXT, "", "Form of the definition that the row counts under; empty without."),
)

USERS = (
    Column("user_id", ColumnType.TEXT, "", "The user's id, which is personal data."),
    *_EPOCH,
    Column("candidate", ColumnType.TEXT, "", "Variant that is compared."),
    Column("control", ColumnType.TEXT, "", "Variant that it is compared with."),
    Column("metric", ColumnType.TEXT, "", "Name of the metric."),
    Column("segment", ColumnType.TEXT, "", "`name=value`: only events of this segment; empty: all events."),
    Column("value", ColumnType.NUMBER, "the metric's", "Mean over the user's answered events; null if there are none."),
    Column("events", ColumnType.COUNT, "events", "Events with an answer, which `value` is the mean of."),
    Column("missing", ColumnType.COUNT, "events", "Events whose answer is missing."),
    Column("differs", ColumnType.COUNT, "events", "Answered events whose two lists differ."),
    Column(
        "first_event_at", ColumnType.TIME, "start of the minute",
        "First event of the user that the primary metric of this comparison counts; null if there is none.",
    ),
)  # fmt: skip

ANSWERS = (
    Column("event_id", ColumnType.TEXT, "", "The impression's id."),
    Column("occurred_at", ColumnType.TIME, "microsecond", "When the event occurred."),
    Column("user_id", ColumnType.TEXT, "", "The user's id, which is personal data."),
    *_EPOCH,
    Column("left_out", ColumnType.TEXT, "", "Why the answer is in no figure; empty if it counts."),
    Column("question", ColumnType.TEXT, "", "`DUEL` or `SLATE`."),
    Column("variant", ColumnType.TEXT, "", "Variant that was asked about; of a duel the candidate."),
    Column("control_variant", ColumnType.TEXT, "", "The duel's other variant; empty for a slate."),
    Column("role", ColumnType.TEXT, "", "Role of the variant: `CONTROL` or `CANDIDATE`."),
    Column("status", ColumnType.TEXT, "", "Status of the response, `BAD_VALUE` or `UNKNOWN`."),
    Column("duel_share", ColumnType.NUMBER, "share", "Of a duel: the candidate's share; null if it is missing."),
    *(
        Column(name, ColumnType.NUMBER, "the metric's", f"Of a slate: `{name}` of this variant alone; null if missing.")
        for name in slate_metrics()
    ),
    Column("contested_mass", ColumnType.NUMBER, "share", "Of a duel: probability of the options of one side alone."),
    Column("overlap", ColumnType.NUMBER, "share", "Of a duel: options that both sides offer."),
    Column("rank_correlation", ColumnType.NUMBER, "Kendall's tau", "Of a duel: places of what both sides offer."),
    Column("segments", ColumnType.TEXT, "JSON object", "Segments of the user, and the surface."),
    Column(
        "options", ColumnType.TEXT, "JSON array",
        "Of an answered duel: each option that one side alone offers, with `item_id`, `variant`, `position` (0-based) "
        "and `probability` (kept in single precision).",
    ),
)  # fmt: skip
