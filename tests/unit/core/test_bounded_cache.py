"""Caches are bounded in bytes: filled far beyond their limits, they take what they say and no more."""

import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given, strategies as st

from tests.support.examples import impression
from worker.core.bounded_cache import ENTRY_BYTES, BytesLru
from worker.core.prompts import text_flags
from worker.core.records import Item
from worker.core.simulation import prepare, response_builder
from worker.core.simulation.prepare import Asking
from worker.core.simulation.questions import Depths, Option
from worker.core.simulation.sampling import UserBudget
from worker.core.steps import run
from worker.engines import choice_model
from worker.settings.prompt_profiles import load

LIMIT = 1 << 20  # as small as tells: the real ones are 16 to 64 times as large
AT_US = 10**15
IMPRESSION = impression()
ASKING = Asking(load("mirror-v1"), Depths(), 2, 10, seeded=True, tokenise=None)
CACHES = (choice_model._FEATURES, text_flags._INSPECTED, ASKING.texts, response_builder._DESCRIBED)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 400)), max_size=40))
def test_it_keeps_what_was_used_last_within_its_bytes(calls: list[tuple[bool, int, int]]) -> None:
    kept, order = BytesLru[int, int](4 * ENTRY_BYTES), dict[int, tuple[int, int]]()
    for puts, key, size in calls:
        if puts:
            kept.put(key, -key, num_bytes=size)
            order.pop(key, None)
            if size <= 3 * ENTRY_BYTES:
                order[key] = (-key, size + ENTRY_BYTES)
            while sum(size for _, size in order.values()) > 4 * ENTRY_BYTES:
                del order[next(iter(order))]
        else:
            assert kept.get(key) == order.get(key, (None, 0))[0]
            if key in order:
                order[key] = order.pop(key)
        assert kept.num_bytes == sum(size for _, size in order.values()) <= 4 * ENTRY_BYTES
        assert len(kept) == len(order)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the caches of the process a small limit, and empty them again."""
    caches: tuple[BytesLru, ...] = CACHES  # type: ignore[type-arg]
    for cache in caches:
        cache.clear()
        monkeypatch.setattr(cache, "_max_bytes", LIMIT)
    yield
    for cache in caches:
        cache.clear()


def items(num_features: int, num_attributes: int) -> Callable[[int], object]:
    """Return what fills the features' cache with different items."""
    rng = Random(1)

    def add(_: int) -> object:
        words = [f"a{rng.randrange(10**6):x}" for _ in range(num_features)]
        return choice_model.features(None, {f"tag{n}": "|".join(words) for n in range(num_attributes)})

    return add


def item(number: int, size: int, num: int = 1, char: str = "x") -> Item:
    """Return an item with attributes of its own, `num` of them with so many characters each."""
    return Item(f"item-{number}", 0, attributes={f"category{n or ''}": f"{number} " + char * size for n in range(num)})


def rendered(one: Item) -> str:
    """Put an item's text into the cache of options' texts."""
    return run(prepare._rendered(ASKING, IMPRESSION, one))


def described(one: Item) -> object:
    """Put an item into the cache of what options are called."""
    return response_builder._described(Option(one.item_id, "a text", 0, ("control",), one.kind, one))


FILLS: dict[str, tuple[Callable[[int], object], int]] = {
    "ordinary items": (items(3, 3), 2_000),
    "items with 560 features": (items(560, 1), 60),
    "items of 64 texts": (items(500, 64), 12),
    "items of long texts without features": (lambda n: choice_model.features(f"{n} " + "x " * 1_999, {}), 600),
    "short texts": (lambda n: text_flags.inspect(f"{n}", 600, ("Behavior",)), 6_000),
    "long texts of four bytes a character": (
        lambda n: text_flags.inspect(f"{n}" + "\U00020000" * 2_390, 600, ("Behavior",)), 160,
    ),
    "options of ordinary items": (lambda n: rendered(item(n, 20, 3)), 3_000),
    "options of long texts": (lambda n: rendered(item(n, 3_900, char="\U00020000")), 120),
    "options of 64 attributes": (lambda n: rendered(item(n, 20, 64)), 160),
    "what ordinary items are called": (lambda n: described(item(n, 20, 3)), 3_000),
    "what items of long texts are called": (lambda n: described(item(n, 3_900, char="\U00020000")), 120),
    "what items of 64 attributes are called": (lambda n: described(item(n, 20, 64)), 160),
}  # fmt: skip


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("add", "num"), FILLS.values(), ids=FILLS)
def test_a_cache_that_is_full_takes_its_limit_in_memory(add: Callable[[int], object], num: int) -> None:
    """Measured is what Python allocates; twice and more of the limit is put in."""
    measured = growth(lambda: deque(map(add, range(num)), maxlen=0))
    full = max(cache.num_bytes for cache in CACHES)
    assert full > 0.8 * LIMIT
    assert measured < 1.1 * LIMIT


@pytest.mark.parametrize("num_events", [1, 3, 30])
def test_a_full_count_of_user_days_takes_its_limit_in_memory(num_events: int) -> None:
    budget = UserBudget(num_events, max_bytes=LIMIT)
    num_users = 2 * LIMIT // (270 + 8 * num_events)

    def fill() -> None:
        for user in range(num_users):
            for event in range(num_events):
                budget.takes(f"user-{user}", f"event-{event}", AT_US)

    assert growth(fill) < 1.1 * LIMIT
    assert budget.num_bytes > 0.95 * LIMIT
    assert budget.num_forgotten > 0.3 * num_users


def growth(work: Callable[[], object]) -> int:
    """Return by how many bytes the memory in use is larger after the work than before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        after, _ = tracemalloc.get_traced_memory()
        return after - before
    finally:
        tracemalloc.stop()
