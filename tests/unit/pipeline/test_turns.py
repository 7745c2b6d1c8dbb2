"""No event holds the loop: each bound of `records` at its limit, in hostile text, is worked off in short steps.

Measured is CPU time of the longest step.  On one core (2026-11) it was 30 ms at most, garbage collection aside; the
goal is 50 ms, and the tests allow three times as much, for machines that are slower or busy.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from time import thread_time
from typing import TypeVar

import pytest

from tests.support.examples import AT_US, HOUR_US, impression, record
from tests.support.patience import cpu_slowness
from worker.core.codec.avro_encoder import Encoder
from worker.core.delivery.response_encoder import Outgoing
from worker.core.prompts.rationale import parse
from worker.core.records import Domain, HistoryEntry, HistoryItem, Impression, Item, Role, Slate, User
from worker.core.simulation.draws import Drawn, EngineCard
from worker.core.simulation.prepare import Asking, Prepared, Tokenise, preparing
from worker.core.simulation.questions import Depths, Status
from worker.core.simulation.response_builder import AskedQuestion, Setup, responding, source_of
from worker.core.steps import Steps, run
from worker.engines.choice_model import ChoiceModel, Met, _answering, tasting
from worker.engines.model_files import TINY, model_path
from worker.engines.tokens import Tokens, load
from worker.pipeline.turns import Turns
from worker.settings.prompt_profiles import load as load_profile

T = TypeVar("T")

MAX_STEP_S = 0.150
MAX_ALL_S = 15.0  # of CPU: nothing is quadratic
MAX_PROMPT_TOKENS = 8_192 - 1_024 - 2

HOSTILE: dict[str, str] = {
    "marks": "a" + "\u0345\u035d\u035c\u0301\u0323\u0327\u0334" * 400,
    "marks that are allowed": "a" + "\u0345\u035d\u035c\u0301\u0323\u0327\u0334" * 4,
    "marks in disguise": "\uff9e\u0f73\u0301\u0f81",
    "invisible": "a\u0345\u200b\u034f\u0301",
    "right to left": "\u202e\u05d0\u05d1\u202c ",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d",
    "astral": "".join(map(chr, range(0x20000, 0x20400))),
    "ligatures": "\ufdfa",
    "options": "[ A Behavior: [",
    "labels": "Behavior   ** _ :" + "Stimulus Factors Evaluation Style",
    "lines": "system\n# History\n\n",
}
MIXED = "".join(piece[:120] for piece in HOSTILE.values())


def text(piece: str, num_chars: int) -> str:
    return (piece * (num_chars // len(piece) + 1))[:num_chars]


def slates(num: int, num_items: int, make: Callable[[str], Item]) -> tuple[Slate, ...]:
    return tuple(
        Slate(
            f"v{number}",
            tuple(replace(make(f"{number}-{place}"), position=place) for place in range(num_items)),
            Role.CANDIDATE if number else Role.CONTROL,
        )
        for number in range(num)
    )


def history(num: int, item: Callable[[str], HistoryItem], review: str) -> User:
    entries = (HistoryEntry(item(f"h{n}"), "viewed" * 40, 5.0, review, AT_US - (300 - n) * HOUR_US) for n in range(num))
    return User("u", history=tuple(entries))


def attributes(piece: str, num_chars: int) -> dict[str, str]:
    return {f"{number} {text(piece, 250)}": text(piece, num_chars) for number in range(64)}


# Each is of about 1 MB at most, as Kafka takes it by default; the bounds together would be gigabytes.
EVENTS: dict[str, Callable[[str], Impression]] = {
    "16 slates of 200 items": lambda piece: impression(
        *slates(16, 200, lambda name: Item(name, 0, text=f"{name} {text(piece, 60)}"))
    ),
    "16 slates of one list of 200": lambda piece: impression(
        *slates(16, 200, lambda name: Item(name.partition("-")[2], 0, text=text(piece, 60)))
    ),
    "long texts": lambda piece: impression(
        *slates(10, 26, lambda name: Item(name, 0, text=f"{name} {text(piece, 3_900)}"))
    ),
    "64 attributes an item": lambda piece: impression(
        *slates(2, 2, lambda name: Item(name, 0, attributes=attributes(piece, 4_000))), domain=Domain.GENERIC
    ),
    "200 entries": lambda piece: impression(
        domain=Domain.BOOKS,
        user=history(200, lambda name: HistoryItem(name, f"{name} {text(piece, 2_500)}"), text(piece, 1_000)),
    ),
    "64 attributes an entry": lambda piece: impression(
        domain=Domain.GENERIC, user=history(60, lambda name: HistoryItem(name, None, attributes(piece, 250)), "")
    ),
    "64 attributes of a user": lambda piece: impression(
        domain=Domain.GENERIC, user=User("u", profile=attributes(piece, 4_000))
    ),
}


@dataclass
class Taken:
    """How long work took: its longest step, and all of it."""

    longest_s: float = 0.0
    all_s: float = 0.0


def timed(steps: Steps[T], taken: Taken) -> T:
    """Do the work, timing each step; what would be done in a thread is not the loop's."""
    answer: object = None
    while True:
        start_s = thread_time()
        try:
            call = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            step_s = thread_time() - start_s
            taken.longest_s, taken.all_s = max(taken.longest_s, step_s), taken.all_s + step_s
        answer = call() if call else None


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    """Hold the garbage collector back: it runs when it will, and looks at everything that the tests have loaded."""
    gc.disable()
    yield
    gc.enable()


@cache
def tokenise() -> Tokenise:
    tokens = Tokens(load(str(model_path(TINY)), None), "Behavior: [")
    return lambda prompt: tokens.chat(prompt, MAX_PROMPT_TOKENS)


def asking(*, reads_prompt: bool) -> Asking:
    return Asking(
        load_profile("mirror-v1"),
        Depths(26, 13),
        2,
        200,
        seeded=True,
        tokenise=tokenise() if reads_prompt else None,
        max_prompt_tokens=MAX_PROMPT_TOKENS,
    )


@pytest.mark.parametrize("reads_prompt", [False, True], ids=["choice-model", "mirror-tiny"])
@pytest.mark.parametrize("event", EVENTS)
def test_no_event_is_prepared_in_long_steps(event: str, *, reads_prompt: bool) -> None:
    prepare_in_short_steps(EVENTS[event](MIXED), asking(reads_prompt=reads_prompt))


@pytest.mark.long
@pytest.mark.parametrize("reads_prompt", [False, True], ids=["choice-model", "mirror-tiny"])
@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_no_event_of_one_kind_of_text_is_prepared_in_long_steps(piece: str, *, reads_prompt: bool) -> None:
    for event in EVENTS.values():
        prepare_in_short_steps(event(piece), asking(reads_prompt=reads_prompt))


def prepare_in_short_steps(shown: Impression, rules: Asking) -> None:
    taken = Taken()
    prepared = timed(preparing(record(), shown, rules), taken)
    assert taken.longest_s < MAX_STEP_S * cpu_slowness()
    assert taken.all_s < MAX_ALL_S * cpu_slowness()
    assert all(len(ask.prompt_ids) <= MAX_PROMPT_TOKENS for one in prepared for ask in one.asks)


@pytest.mark.parametrize("piece", ["aa, b/", MIXED], ids=["words", "mixed"])
def test_the_choice_model_answers_no_event_in_long_steps(piece: str) -> None:
    for event in EVENTS.values():
        taken, shown = Taken(), event(piece)
        met = Met(shown, timed(tasting(shown.past()), taken))
        for one in run(preparing(record(), shown, asking(reads_prompt=False))):
            for ask in one.asks:
                timed(_answering(ask, met), taken)
        assert taken.longest_s < MAX_STEP_S * cpu_slowness()
        assert taken.all_s < MAX_ALL_S * cpu_slowness()


COMPLETIONS: dict[str, str] = {
    "blanks": " " * 2_000_000,
    "tabs and stars": " \t*#" * 500_000,
    "headings": "Stimulus Factors:\n" * 100_000,
    "headings without an end": "Stimulus" + " *" * 60_000,
    "factors": "Stimulus Factors: " + "a,-(" * 20_000,
    "lines": "\n" * 2_000_000,
    "marks": "a" + "\u0301\u0323" * 60_000,
    "brackets": "[[Behavior: [" * 10_000,
}


@pytest.mark.parametrize("written", COMPLETIONS)
def test_no_completion_is_read_for_long(written: str) -> None:
    """A million characters take at most 0.1 s; 4,000 is what a model writes."""
    text, start_s = COMPLETIONS[written], thread_time()
    rationale, _ = parse(text)
    assert thread_time() - start_s < 0.1 * max(1.0, len(text) / 1e6) * cpu_slowness()
    assert all(len(section or "") <= 4_000 for section in (rationale.stimulus, rationale.knowledge))


def test_the_answers_of_the_largest_event_are_made_and_encoded_in_short_steps() -> None:
    """31 questions of 26 options, 16 draws, each with a completion that is all headings and factors."""
    written = "Stimulus Factors: " + "a,-(" * 2_000 + "\nKnowledge: x\n" * 2_000
    shown = EVENTS["16 slates of 200 items"]("a")
    prepared = run(preparing(record(), shown, replace(asking(reads_prompt=False), draws=16)))
    assert len(prepared) == 31

    def answered(one: Prepared) -> AskedQuestion:
        drawn = tuple(Drawn(Status.OK, (1 / ask.num_slots,) * ask.num_slots, 1.0, written, "stop") for ask in one.asks)
        return AskedQuestion(one.question, drawn, tuple(ask.order for ask in one.asks))

    card = EngineCard("fake", "1", "fake", None, {}, reads_prompt=True)
    setup = Setup(card, "p", "s", 16, Depths(26, 13), 200)
    taken = Taken()
    steps = responding(
        shown, [answered(one) for one in prepared], setup, source_of(record(), None), sample_rate=1.0, produced_at_us=1
    )
    responses = timed(steps, taken)
    assert taken.longest_s < MAX_STEP_S * cpu_slowness()
    assert len(responses) == 31
    outgoing = Outgoing(Encoder("SimulatedResponse"), "responses", 1_000_000, frozenset())
    start_s = thread_time()
    outgoing.messages(record(), responses[:1], {})
    assert thread_time() - start_s < MAX_STEP_S * cpu_slowness()


async def test_work_in_turns_lets_the_loop_go_on_and_makes_long_calls_in_a_thread() -> None:
    now_s, order = 0.0, list[str]()

    def work() -> Steps[str]:
        nonlocal now_s
        for step in ("a", "b", "c", "d"):
            order.append(step)
            now_s += 0.003
            yield None
        told: str = yield lambda: "from a thread"
        return told + "!"

    async def another() -> None:
        order.append("another")

    task = asyncio.ensure_future(another())
    assert await Turns(lambda: now_s).run(work()) == "from a thread!"
    await task
    assert order == ["a", "b", "another", "c", "d"]


async def test_draws_that_ask_at_once_find_the_taste_of_a_large_history_once() -> None:
    """In turns, each of them would else begin anew."""
    shown = EVENTS["200 entries"]("word, ")
    asks = [ask for one in run(preparing(record(), shown, asking(reads_prompt=False))) for ask in one.asks]
    model, expected = ChoiceModel(), [ChoiceModel().answer(ask) for ask in asks]
    num_met = 0
    meet = model._meet

    def counted(shown: Impression) -> Steps[Met]:
        nonlocal num_met
        num_met += 1
        return meet(shown)

    model._meet = counted  # type: ignore[method-assign,assignment]
    assert await asyncio.gather(*map(model.draw, asks)) == expected
    assert num_met == 1
