"""The nouns: what comes in, what is asked, what goes out.

A `Record` is one Kafka message as read.  Decoded, it is an `Impression`: one moment of one user with the
slate that was shown and the shadow slates beside it.  An impression leads to questions (`simulation.questions`),
and each question to one `SimulatedResponse` (`simulation.response`).  A record that can never be answered leads
to one `DeadLetter` instead.

The field names of `Impression` are those of `schemas/RecommendationImpression.avsc`; the bounds stand in the
annotations, and `codec.impression` holds every decoded record against them.  Times are microseconds since 1970
UTC, as on the wire.
"""

from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import BeforeValidator, FailFast, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticKnownError

from worker.core.attribute_maps import NullAttributes, known

# Bounds on what one impression may hold.  They keep one record within about 1 MB, Kafka's default
# `message.max.bytes`, and a prompt's source text within what the history and depth limits can cut.
MAX_ID = 256  # characters
# Characters of one text that are read; what a longer one has beyond them is not, and the answer is flagged `text_cut`.
# No text loses its event by its length: a review or a ready scene of any length comes in.  16,000 are more than the
# reference's 6,124 tokens mostly hold, and the most that the fence reads at once (14 to 50 ms if hostile).
MAX_TEXT = 16_000
MAX_MAP = 64  # entries of a map
MAX_SLATES = 16
MAX_ITEMS = 200  # items of one slate; the first ones of a longer slate are kept, and it is flagged `depth_cut`
# Entries of the history, the newest ones of a longer one.  More than `history_limit` can be, so the cut is flagged.
MAX_HISTORY = 250
MAX_ENTRIES = 10_000  # entries of all maps of one impression: three for each of 16 x 200 items
# A time outside these years is one in another unit: the wrong one of seconds, milliseconds, microseconds and
# nanoseconds is off by 1,000 or more.  Milliseconds and seconds of any year to 2099 are, as microseconds, before March
# 1970, and nanoseconds of any year from 1971 on are after 2970.
MIN_YEAR, MAX_YEAR = 1971, 2099
MIN_TIME_US = 31_536_000_000_000  # 1971-01-01 UTC
MAX_TIME_US = 4_102_444_799_999_999  # the last of 2099 UTC

# Only valid entries count against a length, so a million bad ones, 1 MB, would be a million problems: 10 s and 1.6 GB.
FIRST_BAD = FailFast()


def at_most(number: int) -> BeforeValidator:
    """Refuse a list or map of more entries before one of them is looked at: of a few, all that are bad are told."""

    def check(value: object) -> object:
        if isinstance(value, Sized) and not isinstance(value, str | bytes) and len(value) > number:
            limits = {"field_type": "List", "max_length": number, "actual_length": len(value)}
            raise PydanticKnownError("too_long", limits)
        return value

    return BeforeValidator(check)


def _without_nulls(entries: object, validated: ValidatorFunctionWrapHandler) -> object:
    """Validate a map without its nulls; one of nulls alone keeps their names."""
    there = known(entries) if isinstance(entries, Mapping) and None in entries.values() else entries
    return there if isinstance(there, NullAttributes) else validated(there)


def beginning(text: object) -> object:
    """Return a text's first `MAX_TEXT` characters and one more, by which the prompt sees that it was longer."""
    return text[: MAX_TEXT + 1] if isinstance(text, str) else text


Id = Annotated[str, MinLen(1), MaxLen(MAX_ID)]
Text = Annotated[str, MaxLen(MAX_TEXT + 1), BeforeValidator(beginning)]
Texts = Annotated[Mapping[Id, Text], MaxLen(MAX_MAP), at_most(MAX_MAP), WrapValidator(_without_nulls)]
TimeUs = Annotated[int, Ge(MIN_TIME_US), Le(MAX_TIME_US)]
Int32 = Annotated[int, Ge(-(2**31)), Le(2**31 - 1)]  # what Avro's int holds
Rating = Annotated[float, Ge(-1e6), Le(1e6)]  # of any scale; no NaN, which pandas writes for a missing one
Probability = Annotated[float, Ge(0), Le(1)]
Propensity = Annotated[float, Gt(0), Le(1)]
Place = Annotated[int, Ge(0), Le(1_000_000)]


class Domain(StrEnum):
    """What is recommended; chooses the layout of the prompt."""

    MOVIES = "movies"
    NEWS = "news"
    BOOKS = "books"
    MUSIC = "music"
    PRODUCTS = "products"
    GAMES = "games"
    VIDEOS = "videos"
    APPS = "apps"
    GENERIC = "generic"
    UNKNOWN = "UNKNOWN"


class IdKind(StrEnum):
    """What a user id stands for."""

    USER = "USER"
    DEVICE = "DEVICE"
    SESSION = "SESSION"
    UNKNOWN = "UNKNOWN"


class Role(StrEnum):
    """The part of a variant in the comparison."""

    CONTROL = "CONTROL"
    CANDIDATE = "CANDIDATE"
    UNKNOWN = "UNKNOWN"


class Layout(StrEnum):
    """How a slate is laid out."""

    LIST = "LIST"
    GRID = "GRID"
    CAROUSEL = "CAROUSEL"
    UNKNOWN = "UNKNOWN"


class PropensityKind(StrEnum):
    """What a slate propensity is a probability of."""

    SLATE = "SLATE"
    MARGINAL = "MARGINAL"
    CONDITIONAL = "CONDITIONAL"
    UNKNOWN = "UNKNOWN"


class ItemKind(StrEnum):
    """How an item came into a slate."""

    ORGANIC = "ORGANIC"
    AD = "AD"
    PINNED = "PINNED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """The item of a past interaction."""

    item_id: Id
    text: Text | None = None
    attributes: Texts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One past interaction; `rating` is on the domain's scale."""

    item: HistoryItem
    action: Id | None = None
    rating: Rating | None = None
    review: Text | None = None
    occurred_at: TimeUs | None = None


@dataclass(frozen=True, slots=True)
class User:
    """Who saw the slate; `history` is oldest first."""

    user_id: Id
    id_kind: IdKind = IdKind.UNKNOWN
    profile: Texts = field(default_factory=dict)
    profile_text: Text | None = None
    segments: Texts = field(default_factory=dict)
    is_bot: bool = False
    history: Annotated[tuple[HistoryEntry, ...], MaxLen(MAX_HISTORY), FIRST_BAD] = ()


@dataclass(frozen=True, slots=True)
class Assignment:
    """How a user came to be in an experiment."""

    unit: Id | None = None
    bucket: Int32 | None = None
    arm: Id | None = None
    probability: Propensity | None = None
    assigned_at: TimeUs | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """The experiment that an impression belongs to."""

    experiment_id: Id
    layer: Id | None = None
    assignment: Assignment | None = None
    holdout: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a slate; `position` is 0-based."""

    item_id: Id
    position: Place
    row: Place | None = None
    column: Place | None = None
    kind: ItemKind = ItemKind.UNKNOWN
    viewed: bool | None = None
    text: Text | None = None
    attributes: Texts = field(default_factory=dict)
    score: float | None = None
    value: float | None = None
    propensity: Propensity | None = None


@dataclass(frozen=True, slots=True)
class Slate:
    """The ordered items that one variant offers."""

    variant: Id
    items: Annotated[tuple[Item, ...], MinLen(1), MaxLen(MAX_ITEMS), FIRST_BAD]
    role: Role = Role.UNKNOWN
    shown: bool = False
    policy_id: Id | None = None
    surface: Id | None = None
    page: Place | None = None
    layout: Layout = Layout.UNKNOWN
    slate_propensity: Propensity | None = None
    propensity_kind: PropensityKind = PropensityKind.UNKNOWN
    target_propensity: Probability | None = None


@dataclass(frozen=True, slots=True)
class Impression:
    """One moment of one user: the slate that was shown, and the shadow slates beside it."""

    event_id: Id
    occurred_at: TimeUs
    user: User
    slates: Annotated[tuple[Slate, ...], MinLen(1), MaxLen(MAX_SLATES), FIRST_BAD]
    request_id: Id | None = None
    domain: Domain = Domain.UNKNOWN
    experiment: Experiment | None = None
    context: Texts = field(default_factory=dict)
    is_test: bool = False
    texts_as_is: bool = False  # profile_text and the texts of items and history are a ready scene's
    given_order: bool = False  # of the options, in every draw

    @property
    def experiment_id(self) -> str:
        """The experiment's id, or "" outside of experiments."""
        return self.experiment.experiment_id if self.experiment else ""

    def past(self, *, offered_too: bool = False) -> tuple[HistoryEntry, ...]:
        """Return the history that cannot hold the answer: what came strictly before the impression.

        An entry without a time is taken to have, unless its item is among those that are offered; with `offered_too`
        (as in the reference) also then.  Such entries stand first.  A ready scene's history has all of them, where
        they stand.
        """
        before = [one for one in self.user.history if one.occurred_at is None or one.occurred_at < self.occurred_at]
        if self.texts_as_is:
            return tuple(before)
        offered = {item.item_id for slate in self.slates for item in slate.items}
        known = [one for one in before if offered_too or one.occurred_at is not None or one.item.item_id not in offered]
        return tuple(sorted(known, key=lambda entry: entry.occurred_at is not None))


Headers = tuple[tuple[str, bytes | None], ...]

# Memory of a record beside its bytes, and of each header: measured with tracemalloc, CPython 3.11, 2026-11.
RECORD_BYTES = 256
HEADER_BYTES = 128
# What a message takes in a batch of its own beside its bytes: 61 for the batch and up to 36 for the record, 10 for each
# header (Kafka's record format, version 2; 74 were found with one header, Kafka 4.3.1, 2026-11).
MESSAGE_FRAME_BYTES = 100
HEADER_FRAME_BYTES = 10


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of one topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        """For people: `impressions[3]`."""
        return f"{self.topic}[{self.number}]"


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka message as read, in one assignment (`epoch`) of its partition."""

    partition: Partition
    epoch: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None  # None if its producer gave none
    problem: str = ""  # why the client could not read it whole
    unreadable_from: int | None = None  # no client can read this offset up to `offset`: they stand in a broken batch
    polled_s: float = 0.0  # when the client gave it to us, monotonic; 0 if that is not known

    @property
    def where(self) -> str:
        """For people: `impressions[3]@1842`."""
        return f"{self.partition}@{self.offset}"

    @property
    def num_bytes(self) -> int:
        """Memory that the record holds, bytes: its key, value and headers, and the objects around them."""
        headers = sum(len(name) + len(value or b"") + HEADER_BYTES for name, value in self.headers)
        return len(self.value or b"") + len(self.key or b"") + headers + RECORD_BYTES


@dataclass(frozen=True, slots=True)
class Message:
    """One message to be produced: a response or a dead letter."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def num_bytes(self) -> int:
        """The most that it takes of its topic's `max.message.bytes`, bytes: uncompressed, in a batch of its own."""
        return len(self.value or b"") + len(self.key or b"") + header_bytes(self.headers) + MESSAGE_FRAME_BYTES

    @property
    def payload_bytes(self) -> int:
        """Its key, value and headers, bytes."""
        return self.num_bytes - HEADER_FRAME_BYTES * len(self.headers) - MESSAGE_FRAME_BYTES


def header_bytes(headers: Headers) -> int:
    """Return what headers take of a message, each with its framing, bytes."""
    return sum(len(name.encode()) + len(value or b"") + HEADER_FRAME_BYTES for name, value in headers)


class Reason(StrEnum):
    """Why a record is dead-lettered, in a word: the header `ms-reason`, and a label of the metrics."""

    MAGIC = "magic"
    """The value starts as none of the framings that are read; another program writes to the topic."""

    SCHEMA = "schema"
    """The writer's schema is unknown to the registry, not Avro, or beyond a limit; register it, then replay."""

    AVRO = "avro"
    """The bytes or the record's type do not fit the schema; `ms-detail` names the field, for the producer."""

    JSON = "json"
    """The value is not JSON, no object, or has one field twice; `ms-detail` says where, for the producer."""

    PROTOBUF = "protobuf"
    """The bytes are no Protobuf message of their type; `ms-detail` says where, for the producer."""

    UTF8 = "utf8"
    """A text is not UTF-8; `ms-detail` names the field, for the producer."""

    LIMIT = "limit"
    """A text is too long, or there are too many or too few entries; `ms-detail` says what was seen and wanted."""

    INVALID = "invalid"
    """A value that no impression may have, such as a time in a wrong unit; `ms-detail` names the field."""

    HEADERS = "headers"
    """A header's name is not UTF-8, so the client could not read the headers; repair the producer."""

    UNREADABLE = "unreadable"
    """No client could read its batch; read it with a larger `receive.message.max.bytes`, or ask the producer."""

    ENGINE_KILLER = "engine_killer"
    """The engine died of it twice; look at it before it is replayed."""

    ITEM_UNKNOWN = "item_unknown"
    """An item came with its id alone and is not in the catalogue; add it to the topic of items, then replay."""

    TOO_LARGE = "too_large"
    """Its responses do not fit their topic, even without their texts; raise `max.message.bytes`, then replay."""

    REFUSED = "refused"
    """Kafka refuses one of its responses, such as one without a key; repair the topic, then replay."""


REFUSALS = (Reason.TOO_LARGE, Reason.REFUSED)  # those that come from Kafka


class LetterForm(StrEnum):
    """How much of a record its dead letter holds; each form is for a topic that refuses the one before."""

    FULL = "full"  # all of it, cut to the topic's limit
    KEYED = "keyed"  # the same with a key, which a compacted topic wants
    BARE = "bare"  # where it stands and why, and nothing of it


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that can never be answered, and why."""

    record: Record
    reason: Reason
    detail: str  # a sentence, for people
    form: LetterForm = LetterForm.FULL
