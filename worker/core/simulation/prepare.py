"""4 prompt: from one impression to everything that an engine shall be asked about it.

The questions of an impression stand side by side, and their prompts share everything up to the options, so an
engine with a prefix cache computes the user once.  A prompt that does not fit the model loses its oldest history
first, then the ends of long texts, never an option; one that does not fit even so is not asked (OUT_OF_BUDGET).

How much history fits is found by bisection, from where the question before ended: 200 entries are built into a prompt
nine times, not 200 times.  More entries never make a shorter prompt, so that is the same cut.

`preparing` does all of this in steps (`worker.core.steps`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from worker.core import seeding
from worker.core.attribute_maps import nulls
from worker.core.bounded_cache import BytesLru
from worker.core.flags import Flag
from worker.core.prompts.prompt import Profile, Prompt, Scene, build, flagging, rendering, setting
from worker.core.prompts.sanitise import settle
from worker.core.records import Impression, Item, Record
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.question_set import ALL_QUESTIONS, WantedQuestions
from worker.core.simulation.questions import Depths, Option, Question, Status, planning, presented_orders
from worker.core.steps import Steps, run

_SHORTER_CHARS = (300, 150, 80, 40)  # characters of each text, where a prompt does not fit even without history
REFERENCE_PROMPT_TOKENS = 6_124  # the reference's default of max_context_length (generator/run_eval.py)
# Of a prompt: to tokenise a longer one may take 10 ms and more (0.4 to 1.4 us a character with Qwen2.5's tokenizer on
# one core, 2026-11), so that is done in a thread.
MAX_CHARS_AT_ONCE = 16_000
# Items come again in other slates and events; an entry takes about 1 KB.
MAX_TEXTS_BYTES = 16 << 20
DAY_US = 86_400_000_000
_KEY_BYTES, _PAIR_BYTES = 300, 64  # of a key's tuples, and of each attribute's

# The tokens of a prompt; of one with more than `max_prompt_tokens` the first of them, more than that many.
Tokenise = Callable[[Prompt], tuple[int, ...]]


# All that an option's text depends on: the profile and whether it reads HTML, whether the event brings ready texts, its
# domain and day, and the item's id, text and attributes, or the names of its nulls.
TextKey = tuple[str, bool, bool, str, int, str, str | None, tuple[tuple[str, str], ...], frozenset[str]]
Texts = BytesLru[TextKey, str]


def _no_texts() -> Texts:
    return BytesLru(MAX_TEXTS_BYTES)


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
    turn_end_tokens: int = 0  # what the chat template puts after an assistant's text; the reference's limit counts it
    mode: str = "default"
    wanted: WantedQuestions = ALL_QUESTIONS
    reference: bool = False  # ask as the reference's evaluation does: order, seeds, limit
    texts: Texts = field(default_factory=_no_texts, repr=False, compare=False)  # options', of all that `replace` makes


@dataclass(frozen=True, slots=True)
class Prepared:
    """One question with its draws; `refused` stands for all draws where the prompt does not fit."""

    question: Question
    asks: tuple[Ask, ...]
    flags: frozenset[str]
    refused: Drawn | None = None


def prepare(record: Record, impression: Impression, asking: Asking) -> tuple[Prepared, ...]:
    """Return the questions of an impression, in order, each with its draws ready for the engine."""
    return run(preparing(record, impression, asking))


def preparing(record: Record, impression: Impression, asking: Asking) -> Steps[tuple[Prepared, ...]]:
    """Do the same in steps."""
    if asking.reference:
        impression = replace(impression, given_order=True)
    texts: dict[int, str] = {}
    for slate in impression.slates:
        for item in slate.items:
            yield None
            texts[id(item)] = yield from _rendered(asking, impression, item)
    user = asking.wanted.of(impression.user.user_id)
    questions = yield from planning(impression, lambda item: texts[id(item)], asking.depths, user=user)
    if asking.tokenise is None:
        return (yield from _prepare_plain(record, impression, questions, asking))
    shared = yield from setting(asking.profile, impression, asking.history_limit)
    # An item stands in several questions; its texts are looked at once.
    shown = {id(option.item): option.item for question in questions for option in question.options}
    flags = {}
    for key, item in shown.items():
        yield None
        flags[key] = yield from flagging(asking.profile, impression, item)
    prepared: list[Prepared] = []
    kept = len(shared.history)
    for question in questions:
        flagged = _flagged(shared, [flags[id(one.item)] for one in question.options])
        kept, one = yield from _prepare_prompts(record, impression, question, asking, flagged, guess=kept)
        prepared.append(one)
    return tuple(prepared)


def _rendered(asking: Asking, impression: Impression, item: Item) -> Steps[str]:
    """Return an item as an option's text, from an event before this one if it showed the same."""
    attributes = tuple(item.attributes.items())
    day = impression.occurred_at // DAY_US  # a release is new by days
    profile, reads_html = asking.profile.sha256, asking.profile.reads_html
    of_item = (item.item_id, item.text, attributes, nulls(item.attributes))
    key = (profile, reads_html, impression.texts_as_is, impression.domain, day, *of_item)
    found = asking.texts.get(key)
    if found is None:
        found = yield from rendering(asking.profile, impression, item)
        texts = [found, item.item_id, item.text or "", *item.attributes, *item.attributes.values()]
        size = sum(one.__sizeof__() for one in texts) + _PAIR_BYTES * len(attributes) + _KEY_BYTES
        asking.texts.put(key, found, num_bytes=size)
    return found


def _flagged(shared: Scene, flags: list[set[str]]) -> Scene:
    return replace(shared, flags=shared.flags.union(*flags))


def num_tokens(prepared: tuple[Prepared, ...]) -> int:
    """Count the prompt tokens of all draws."""
    return sum(len(ask.prompt_ids) for one in prepared for ask in one.asks)


def _prepare_plain(
    record: Record, impression: Impression, questions: tuple[Question, ...], asking: Asking
) -> Steps[tuple[Prepared, ...]]:
    prepared = []
    for question in questions:
        yield None
        prepared.append(Prepared(question, _asks(record, impression, question, asking), frozenset()))
    return tuple(prepared)


def _prepare_prompts(
    record: Record, impression: Impression, question: Question, asking: Asking, shared: Scene, *, guess: int
) -> Steps[tuple[int, Prepared]]:
    """Return a question with its prompts, and how many entries of the history they show; `guess` is tried first."""
    yield None
    asks = _asks(record, impression, question, asking)
    flags = shared.flags | ({Flag.UNTRAINED_MODE} if asking.mode == "direct" else set())
    if not asks:
        return guess, Prepared(question, asks, flags)
    if asking.reference:
        return guess, (yield from _prepare_as_reference(question, asks, asking, shared, flags | {Flag.GIVEN_ORDER}))
    whole = len(shared.history)
    kept, tokenised = yield from _longest(
        whole, guess, lambda kept: _tokenised(asks, asking, _with_newest(shared, kept), question.options)
    )
    if tokenised is not None:
        cut = {Flag.HISTORY_CUT} if kept < whole else set()
        return kept, Prepared(question, tokenised, flags | cut)
    cut = {Flag.TEXT_CUT, Flag.HISTORY_CUT} if whole else {Flag.TEXT_CUT}
    for part, options in _ever_shorter(shared, question.options, asking.profile.words.labels):
        tokenised = yield from _tokenised(asks, asking, part, options)
        if tokenised is not None:
            return 0, Prepared(question, tokenised, flags | cut)
    return 0, Prepared(question, asks, flags, refused=Drawn(Status.OUT_OF_BUDGET))


def _prepare_as_reference(
    question: Question, asks: tuple[Ask, ...], asking: Asking, shared: Scene, flags: frozenset[str]
) -> Steps[Prepared]:
    """Return a question with its whole prompt; beyond the reference's limit with its answer, which is uniform.

    An engine with less room than that limit cannot tell the two apart: nothing is answered for what it cannot take.
    """
    limit = REFERENCE_PROMPT_TOKENS - asking.turn_end_tokens
    limited = replace(asking, max_prompt_tokens=min(asking.max_prompt_tokens, limit))
    tokenised = yield from _tokenised(asks, limited, shared, question.options)
    if tokenised is not None:
        return Prepared(question, tokenised, flags)
    if asking.max_prompt_tokens < limit:
        return Prepared(question, asks, flags, refused=Drawn(Status.OUT_OF_BUDGET))
    share = 1 / len(question.options)
    uniform = Drawn(Status.OK, (share,) * len(question.options))
    return Prepared(question, asks, flags | {Flag.UNIFORM}, refused=uniform)


def _longest(
    whole: int, guess: int, fit: Callable[[int], Steps[tuple[Ask, ...] | None]]
) -> Steps[tuple[int, tuple[Ask, ...] | None]]:
    """Return the largest number up to `whole` that fits, with what it gave; 0 and None if not even 0 does."""
    fits, too_many, found = -1, whole + 1, None
    tries = iter((guess, guess + 1, guess - 1))
    while too_many - fits > 1:
        kept = next((one for one in tries if fits < one < too_many), (fits + too_many) // 2)
        given = yield from fit(kept)
        if given is None:
            too_many = kept
        else:
            fits, found = kept, given
    return max(fits, 0), found


def _with_newest(shared: Scene, kept: int) -> Scene:
    return replace(shared, history=shared.history[len(shared.history) - kept :])


def _tokenised(
    asks: tuple[Ask, ...], asking: Asking, shared: Scene, options: tuple[Option, ...]
) -> Steps[tuple[Ask, ...] | None]:
    """Return the draws with their prompts; None if one of them does not fit: all show the same history."""
    assert asking.tokenise is not None
    tokenised = []
    for ask in asks:
        yield None
        prompt = build(asking.profile, shared, [options[index] for index in ask.order], mode=asking.mode)
        prompt = replace(prompt, occurred_at=ask.impression.occurred_at)
        if len(prompt.user) > MAX_CHARS_AT_ONCE:
            ids: tuple[int, ...] = yield partial(asking.tokenise, prompt)
        else:
            ids = asking.tokenise(prompt)
        if len(ids) > asking.max_prompt_tokens:
            return None
        tokenised.append(replace(ask, prompt_ids=ids))
    return tuple(tokenised)


def _ever_shorter(
    shared: Scene, options: tuple[Option, ...], labels: tuple[str, ...]
) -> Iterator[tuple[Scene, tuple[Option, ...]]]:
    """Yield what may be shown without history: ever less of long texts, but every option."""
    for max_chars in _SHORTER_CHARS:
        short = tuple(replace(option, text=_shorter(option.text, max_chars, labels)) for option in options)
        yield replace(shared, history=(), profile_text=_shorter(shared.profile_text, max_chars, labels)), short


def _shorter(text: str, max_chars: int, labels: tuple[str, ...]) -> str:
    """Cut a text that is too long; what it ends in stays, and a cut opens no bracket."""
    body = text.rstrip("\n")
    if len(body) <= max_chars:
        return text
    head, _, last = body[:max_chars].rpartition("\n")
    return (f"{head}\n" if head else "") + settle(last, labels) + text[len(body) :]


def _seed(impression: Impression, draw: int, asking: Asking) -> int | None:
    """Return the seed of a draw.

    The reference asks for n completions with seed 0, and vLLM gives the one with index i seed 0 + i.
    """
    if asking.reference:
        return draw
    return seeding.seed(impression.event_id, str(draw)) if asking.seeded else None


def _asks(record: Record, impression: Impression, question: Question, asking: Asking) -> tuple[Ask, ...]:
    """Return one ask per draw; none for a question that needs no engine."""
    if question.status is not None:
        return ()
    return tuple(
        Ask(
            ask_id=f"{record.where}.{record.epoch}/{question.name}/{draw}",
            impression=impression,
            question=question,
            order=order,
            seed=_seed(impression, draw, asking),
        )
        for draw, order in enumerate(
            presented_orders(impression.event_id, asking.draws, question.options, given=impression.given_order)
        )
    )
