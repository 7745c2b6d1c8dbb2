"""What stands beside a committed offset: it always fits, comes back as it was, and foreign text says nothing."""

import pytest
from hypothesis import given, settings, strategies as st

from worker.core.delivery.offset_metadata import MAX_BREAKER_CHARS, MAX_OFFSET, Note

BROKER_BYTES = 4_096  # offset.metadata.max.bytes, Kafka's default
SUSPECTS = st.dictionaries(st.integers(0, MAX_OFFSET), st.integers(1, 2), max_size=60)


@given(SUSPECTS, st.text(st.characters(codec="ascii"), max_size=MAX_BREAKER_CHARS))
def test_a_note_comes_back_as_it_was(suspects: dict[int, int], breaker: str) -> None:
    note = Note(suspects, breaker)
    assert Note.decode(note.encode()) == note


@given(st.text())
def test_foreign_text_says_nothing(text: str) -> None:
    assert Note.decode(text) == Note()


@pytest.mark.parametrize(
    "text",
    [
        "null", "[]", "1", '{"mirrorstream":2,"suspects":{"1":[3]}}', '{"mirrorstream":1,"suspects":[1]}',
        '{"mirrorstream":1,"suspects":{"x":[1]}}', '{"mirrorstream":1,"suspects":{"1":["a"]}}', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_note_says_nothing(text: str) -> None:
    assert Note.decode(text) == Note()


@settings(deadline=None)
@given(st.integers(0, 2_000), st.integers(1, 10**15), st.text())
def test_a_note_always_fits_beside_an_offset(num_suspects: int, gap: int, breaker: str) -> None:
    suspects = {gap * number: 1 + number % 2 for number in range(num_suspects)}
    text = Note(suspects, breaker * 500).encode()
    assert len(text.encode()) <= BROKER_BYTES
    assert Note.decode(text).suspects.items() <= suspects.items()


def test_what_does_not_fit_is_what_died_least() -> None:
    note = Note({n * 1_000: 2 if n == 9_999 else 1 for n in range(10_000)})
    assert Note.decode(note.encode()).suspects[9_999_000] == 2
