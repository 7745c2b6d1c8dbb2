"""4 prompt: from one impression to everything that an engine shall be asked about it.

The questions of an impression stand side by side, and their prompts share everything up to the options, so an
engine with a prefix cache computes the user once.  A prompt that does not fit the model loses its oldest history
first, then the ends of long texts, never an option; one that does not fit even so is not asked (OUT_OF_BUDGET).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from worker import chance
from worker.draws import Ask, Drawn
from worker.prompt import Profile, Prompt, Scene, build, option_flags, render_option, scene
from worker.questions import Depths, Option, Question, Status, plan, presented_orders
from worker.records import Impression, Record
from worker.sanitise import settle

_SHORTER_CHARS = (300, 150, 80, 40)  # characters of each text, where a prompt does not fit even without history

Tokenise = Callable[[Prompt], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Asking:
    """How every impression is asked; the same for one run of the worker."""

    profile: Profile
    depths: Depths
    draws: int
    history_limit: int
    seeded: bool
    tokenise: Tokenise | None  # None: the engine reads the impression itself
    max_prompt_tokens: int = 0
    mode: str = "default"
    calibration_share: float = 1.0  # of the users: asked even where all slates are one list

    def calibrates(self, user_id: str) -> bool:
        """Decide by a hash, so that every worker decides alike."""
        return chance.unit("calibration", user_id) < self.calibration_share


@dataclass(frozen=True, slots=True)
class Prepared:
    """One question with its draws; `refused` stands for all draws where the prompt does not fit."""

    question: Question
    asks: tuple[Ask, ...]
    flags: frozenset[str]
    refused: Drawn | None = None


def prepare(record: Record, impression: Impression, asking: Asking) -> tuple[Prepared, ...]:
    """Return the questions of an impression, in order, each with its draws ready for the engine."""
    questions = plan(
        impression,
        lambda item: render_option(asking.profile, impression, item),
        asking.depths,
        calibrating=asking.calibrates(impression.user.user_id),
    )
    if asking.tokenise is None:
        return tuple(_prepare_plain(record, impression, question, asking) for question in questions)
    shared = scene(asking.profile, impression, asking.history_limit)
    # An item stands in several questions; its texts are looked at once.
    shown = {id(option.item): option.item for question in questions for option in question.options}
    flags = {key: option_flags(asking.profile, impression, item) for key, item in shown.items()}
    return tuple(
        _prepare_prompts(
            record, impression, question, asking, _flagged(shared, [flags[id(one.item)] for one in question.options])
        )
        for question in questions
    )


def num_bytes(record: Record, impression: Impression, prepared: tuple[Prepared, ...]) -> int:
    """Return the memory that a decoded record with its questions takes beside the record, bytes, from above.

    The factors are measured (least squares over ten shapes of 0.3 to 200 KB, rounded up; tracemalloc, CPython 3.11,
    2026-11): all of them together take 3.5 to 44 times the record's own bytes.
    """
    num_history = len(impression.user.history)
    items = [item for slate in impression.slates for item in slate.items]
    num_attributes = sum(len(one.attributes) for one in items)
    num_attributes += sum(len(one.item.attributes) for one in impression.user.history)
    num_options = sum(len(one.question.options) for one in prepared)
    num_draws = sum(len(one.asks) for one in prepared)
    return (
        2_048
        + 3 * len(record.value or b"")
        + 256 * len(items)
        + 512 * num_history
        + 64 * num_attributes
        + 768 * num_draws
        + 128 * num_options
    )


def _flagged(shared: Scene, flags: list[set[str]]) -> Scene:
    return replace(shared, flags=shared.flags.union(*flags))


def num_tokens(prepared: tuple[Prepared, ...]) -> int:
    """Count the prompt tokens of all draws."""
    return sum(len(ask.prompt_ids) for one in prepared for ask in one.asks)


def _prepare_plain(record: Record, impression: Impression, question: Question, asking: Asking) -> Prepared:
    return Prepared(question, _asks(record, impression, question, asking), frozenset())


def _prepare_prompts(
    record: Record, impression: Impression, question: Question, asking: Asking, shared: Scene
) -> Prepared:
    asks = _asks(record, impression, question, asking)
    flags = shared.flags | ({"untrained_mode"} if asking.mode == "direct" else set())
    for part, options, cut in _ever_shorter(shared, question.options, asking.profile.words.labels):
        tokenised = [replace(ask, prompt_ids=_tokens(ask, asking, part, options)) for ask in asks]
        if all(len(ask.prompt_ids) <= asking.max_prompt_tokens for ask in tokenised):
            return Prepared(question, tuple(tokenised), flags | cut)
    return Prepared(question, asks, flags, refused=Drawn(Status.OUT_OF_BUDGET))


def _ever_shorter(
    shared: Scene, options: tuple[Option, ...], labels: tuple[str, ...]
) -> Iterator[tuple[Scene, tuple[Option, ...], frozenset[str]]]:
    """Yield what may be shown, and the flags of what was cut: oldest history, then long texts, never an option."""
    for dropped in range(len(shared.history) + 1):
        yield replace(shared, history=shared.history[dropped:]), options, _flags(dropped=dropped)
    flags = _flags(dropped=len(shared.history)) | {"text_cut"}
    for max_chars in _SHORTER_CHARS:
        short = tuple(replace(option, text=_shorter(option.text, max_chars, labels)) for option in options)
        yield replace(shared, history=(), profile_text=_shorter(shared.profile_text, max_chars, labels)), short, flags


def _flags(*, dropped: int) -> frozenset[str]:
    return frozenset({"history_cut"} if dropped else ())


def _shorter(text: str, max_chars: int, labels: tuple[str, ...]) -> str:
    """Cut a text that is too long; what it ends in stays, and a cut opens no bracket."""
    body = text.rstrip("\n")
    if len(body) <= max_chars:
        return text
    head, _, last = body[:max_chars].rpartition("\n")
    return (f"{head}\n" if head else "") + settle(last, labels) + text[len(body) :]


def _tokens(ask: Ask, asking: Asking, shared: Scene, options: tuple[Option, ...]) -> tuple[int, ...]:
    assert asking.tokenise is not None
    return asking.tokenise(build(asking.profile, shared, [options[index] for index in ask.order], mode=asking.mode))


def _asks(record: Record, impression: Impression, question: Question, asking: Asking) -> tuple[Ask, ...]:
    """Return one ask a draw; none for a question that needs no engine."""
    if question.status is not None:
        return ()
    return tuple(
        Ask(
            ask_id=f"{record.where}.{record.epoch}/{question.name}/{draw}",
            impression=impression,
            question=question,
            order=order,
            seed=chance.seed(impression.event_id, str(draw)) if asking.seeded else None,
        )
        for draw, order in enumerate(presented_orders(impression.event_id, asking.draws, question.options))
    )
