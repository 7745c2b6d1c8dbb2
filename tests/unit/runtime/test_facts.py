"""How the memory of items and users is shared out."""

import pytest

from worker.core.joining.facts import FactKind
from worker.runtime.facts import memory_of


@pytest.mark.parametrize("kinds", [[FactKind.ITEMS], [FactKind.USERS], [FactKind.ITEMS, FactKind.USERS]])
def test_all_of_it_is_given_and_no_more(kinds: list[FactKind]) -> None:
    found = memory_of(kinds, 1_000_001)
    assert list(found) == kinds
    assert 999_990 < sum(one.reads + one.writes for one in found.values()) <= 1_000_001


def test_items_have_most_of_what_is_read() -> None:
    """An event asks for one user, and for each item of its slates and of the user's history."""
    found = memory_of([FactKind.ITEMS, FactKind.USERS], 1 << 20)
    assert found[FactKind.ITEMS].reads == 3 * found[FactKind.USERS].reads
    assert found[FactKind.ITEMS].writes == found[FactKind.USERS].writes
