"""What the window counts for a decoded record is what it takes, from above, whatever its texts are."""

import gc
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.examples import AT_US, record
from worker.core.codec import impression as codec
from worker.core.codec.json_reader import JsonRules
from worker.core.simulation.memory import num_bytes
from worker.core.simulation.prepare import Asking, prepare
from worker.core.simulation.questions import Depths
from worker.settings import prompt_profiles

LETTERS = "a lovely word " * 1_200
ASCII = LETTERS[:16_000]
EMOJI = LETTERS[:15_999] + "\U0001f3ac"  # which makes each letter four bytes
LATIN, CHINESE = LETTERS[:15_999] + "é", "好看" * 8_000
Json = dict[str, Any]


def event(items: Callable[[int], list[Json]], num_slates: int = 1, user: Json | None = None, **more: object) -> bytes:
    slates = [{"variant": f"v{n}", "items": items(n)} for n in range(num_slates)]
    plain = {"event_id": "e", "occurred_at": AT_US, "domain": "movies", "user": {"user_id": "u", **(user or {})}}
    return json.dumps({**plain, "slates": slates, **more}).encode()


def texts(num: int, text: str) -> Callable[[int], list[Json]]:
    return lambda slate: [{"item_id": f"i{slate}-{n}", "text": f"{text}{n}"} for n in range(num)]


def films(num: int, num_attributes: int = 2, value: str = "value") -> Callable[[int], list[Json]]:
    names = ["title", *(f"name{n}" for n in range(num_attributes - 1))]
    return lambda slate: [
        {"item_id": f"i{slate}-{n}", "attributes": {name: f"{value}{slate}{n}{name}" for name in names}}
        for n in range(num)
    ]


def past(num: int, **more: object) -> Json:
    entries = [
        {"item": {"item_id": f"h{n}", "attributes": {"title": f"Film {n}"}}, "occurred_at": AT_US - 10**9, **more}
        for n in range(num)
    ]
    return {"history": entries}


NULLS = {"item": {"item_id": "h", "attributes": {f"name{n}": None for n in range(64)}}}
SHAPES = {
    "three films": event(films(3)),
    "two slates and a history": event(films(10, 8), 2, past(20)),
    "ready, ASCII": event(texts(6, ASCII), texts_as_is=True),
    "ready, an emoji each": event(texts(6, EMOJI), texts_as_is=True),
    "ready, Latin": event(texts(20, LATIN), texts_as_is=True),
    "ready, Chinese": event(texts(20, CHINESE), texts_as_is=True),
    "titles with an emoji, too long": event(texts(20, EMOJI)),
    "reviews": event(films(3), user=past(60, review=EMOJI)),
    "a profile": event(films(3), user={"profile_text": EMOJI, "profile": {"a": EMOJI}, "segments": {"b": EMOJI}}),
    "a context": event(films(3), context={f"c{n}": EMOJI for n in range(20)}),
    "texts beyond the limit": event(texts(10, "a" * 100_000), texts_as_is=True),
    "all slates and items": event(films(200, 3), 16),
    "all attributes": event(films(200, 45)),
    "long ids": event(films(20), user={"history": [{"item": {"item_id": f"{n}" + "好" * 250}} for n in range(100)]}),
    "nulls": event(films(3), user={"history": [NULLS] * 200}),
}


def asking() -> Asking:
    """Return how it is asked, with no texts of events before."""
    profile = prompt_profiles.load("mirror-v1")
    return Asking(profile, Depths(), 2, 10, seeded=True, tokenise=lambda _: (1,), max_prompt_tokens=10**6)


def held(value: bytes) -> tuple[int, int]:
    """Return what a decoded record takes with its questions, and what is counted for it, bytes."""
    shown = replace(record(), value=value)
    prepare(shown, codec.decode_json(value, JsonRules()), asking())  # fills the caches of the process
    as_asked = asking()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        impression = codec.decode_json(value, JsonRules())
        prepared = prepare(shown, impression, as_asked)
        as_asked.texts.clear()  # it has a bound of its own
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before, num_bytes(impression, prepared)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_counted_for_a_record_is_what_it_takes_from_above(shape: str) -> None:
    """Long texts with one emoji each took three times what was counted."""
    taken, counted = held(SHAPES[shape])
    # Of nulls the names are counted for each map, as Avro brings them; JSON's are shared.
    most = 6 if shape == "nulls" else 2.5
    assert taken <= counted <= most * taken, f"{len(SHAPES[shape]):,} bytes take {taken:,}, counted {counted:,}"
