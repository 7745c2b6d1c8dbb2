"""Whether topics are still there and the same: looks in, decisions out."""

from worker.core.topics.topic_guard import ABSENT_S, Look, TopicGuard

NOTHING = Look(frozenset(), frozenset())


def guard(**ids: str) -> TopicGuard:
    made = TopicGuard(ids.keys())
    for topic, topic_id in ids.items():
        made.reads(topic, topic_id)
    return made


def test_the_same_id_says_nothing() -> None:
    one = guard(a="A")
    assert one.look({"a": "A"}, now_s=1.0) == NOTHING
    assert one.why == ""


def test_another_id_is_placed_again() -> None:
    assert guard(a="A", b="B").look({"a": "X", "b": "B"}, now_s=1.0).again == {"a"}


def test_absence_is_believed_after_a_while_and_told_once() -> None:
    one = guard(a="A", b="B")
    assert one.look({"a": None, "b": "B"}, now_s=1.0) == NOTHING
    assert one.look({"a": None, "b": "B"}, now_s=1.0 + ABSENT_S / 2) == NOTHING
    assert one.look({"a": None, "b": "B"}, now_s=1.0 + ABSENT_S).gone == {"a"}
    assert one.why == "topic a does not exist"
    assert one.look({"a": None, "b": "B"}, now_s=2.0 + ABSENT_S) == NOTHING


def test_a_broker_that_has_not_heard_of_a_topic_yet_deletes_nothing() -> None:
    one = guard(a="A")
    for number in range(10):
        assert one.look({"a": None}, now_s=float(number)) == NOTHING
        assert one.look({"a": "A"}, now_s=number + 0.5) == NOTHING
    assert one.why == ""


def test_a_topic_that_comes_back_is_placed_again_even_with_its_old_id() -> None:
    one = guard(a="A")
    one.is_absent("a")
    assert one.look({"a": "A"}, now_s=1.0).again == {"a"}
    assert one.reads("a", "A") is False  # the look has taken the absence back


def test_a_held_topic_keeps_the_worker_from_being_ready_until_it_is_read() -> None:
    one = guard(a="A")
    one.is_held("a", "a was made anew")
    assert one.why == "a was made anew"
    assert one.look({"a": "B"}, now_s=1.0) == NOTHING  # nobody has decided
    assert one.reads("a", "B") is True
    assert one.why == ""


def test_a_topic_that_a_pattern_found_is_forgotten_with_its_last_partition() -> None:
    one = TopicGuard([])
    one.reads("a", "A")
    one.is_given_up("a")
    assert one.look({"a": "A"}, now_s=0.0) == NOTHING
    one.look({"a": None}, now_s=1.0)
    assert one.look({"a": None}, now_s=1.0 + ABSENT_S).gone == {"a"}, "that it is gone is told once"
    assert one.why == ""
    assert one.topics == frozenset()


def test_a_named_topic_is_wanted_even_if_nobody_has_it() -> None:
    one = guard(a="A")
    one.is_absent("a")
    one.is_given_up("a")
    assert one.why == "topic a does not exist"


def test_a_named_topic_that_was_never_there_is_told() -> None:
    one = TopicGuard(["a"])
    one.look({"a": None}, now_s=0.0)
    assert one.look({"a": None}, now_s=ABSENT_S).gone == {"a"}


def test_patterns_without_a_topic_are_told() -> None:
    one = TopicGuard([])
    one.no_match("input_topics: ^x matches no topic")
    assert one.why == "input_topics: ^x matches no topic"
    one.no_match("")
    assert one.why == ""
