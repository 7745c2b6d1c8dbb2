"""Where a partition starts: every row of the table in `worker.core.topics.topic_history`, and the memory as text."""

import pytest
from hypothesis import given, strategies as st

from worker.core.topics.topic_history import Commit, KnownTopic, Memory, Place, TopicFacts, merged, pack, place

OFFSET = 7


@pytest.mark.parametrize(
    ("topic", "committed", "first_start", "expected"),
    [
        pytest.param(TopicFacts("A", "A"), Commit(OFFSET, "A"), None, Place.COMMITTED, id="progress"),
        pytest.param(TopicFacts("A"), Commit(OFFSET, "A"), None, Place.COMMITTED, id="memory expired"),
        pytest.param(TopicFacts("A"), Commit(OFFSET), None, Place.COMMITTED, id="older version"),
        pytest.param(TopicFacts("B", "A"), Commit(OFFSET), None, Place.COMMITTED, id="a person reset the offsets"),
        pytest.param(TopicFacts("B", "A"), Commit(OFFSET, "A"), None, Place.MADE_ANEW, id="made anew, commit stayed"),
        pytest.param(TopicFacts("B", "B"), Commit(OFFSET, "A"), 3, Place.MADE_ANEW, id="a peer took the new one"),
        pytest.param(TopicFacts("B", "A"), None, None, Place.MADE_ANEW, id="made anew, commit went with it"),
        pytest.param(TopicFacts("B", "A", was_committed=True), None, None, Place.MADE_ANEW, id="and had commits"),
        pytest.param(TopicFacts("A"), None, None, Place.START_FROM, id="first start"),
        pytest.param(TopicFacts("A", "A"), None, 40, Place.FIRST_START, id="a peer started first"),
        pytest.param(TopicFacts("A", "A", has_commits=True), None, 40, Place.FIRST_START, id="and has committed"),
        pytest.param(TopicFacts("A", "A", has_commits=True), None, None, Place.BEGINNING, id="partition born later"),
        pytest.param(TopicFacts("A", "A"), None, None, Place.BEGINNING, id="topic made anew and skipped by a peer"),
        pytest.param(TopicFacts("A", born_later=True), None, None, Place.BEGINNING, id="topic born later"),
        pytest.param(TopicFacts("A", has_commits=True), None, None, Place.BEGINNING, id="born later, memory expired"),
        pytest.param(TopicFacts("A", born_later=True), None, 40, Place.FIRST_START, id="the memory was full"),
        pytest.param(TopicFacts("A", "A", was_committed=True), None, 40, Place.START_FROM, id="offsets deleted"),
    ],
)
def test_where_a_partition_starts(
    topic: TopicFacts, committed: Commit | None, first_start: int | None, expected: Place
) -> None:
    assert place(topic, committed=committed, first_start=first_start) is expected


names = st.text("abcdefgh.-_", min_size=1, max_size=249)
known = st.builds(KnownTopic, st.text("ABCxyz012+/", min_size=22, max_size=22), st.booleans())


@given(st.dictionaries(names, known, max_size=40), st.integers(1, 16))
def test_a_memory_is_the_same_again_less_what_is_left_out(topics: dict[str, KnownTopic], num_parts: int) -> None:
    parts, left_out = pack(Memory(topics, "inputs"), max_chars=1_000, num_parts=num_parts)
    assert len(parts) == num_parts
    assert all(len(part) <= 1_000 for part in parts)
    kept = {name: one for name, one in topics.items() if name not in left_out}
    assert merged(parts) == Memory(kept, "inputs")


def test_eight_hundred_topics_of_usual_names_are_remembered() -> None:
    topics = {f"events.tenant-{number}.impressions": KnownTopic("x" * 22, True) for number in range(800)}
    _, left_out = pack(Memory(topics, "0" * 18), max_chars=4_000, num_parts=16)
    assert left_out == []


@pytest.mark.parametrize(
    "text", ["", "x", "null", "[]", "{}", '{"mirrorstream":2}', '{"mirrorstream":1,"topics":{"a":"b"}}', "[" * 10_000]
)
def test_what_is_no_memory_of_ours_holds_nothing(text: str) -> None:
    assert Memory.decode(text) == Memory()
