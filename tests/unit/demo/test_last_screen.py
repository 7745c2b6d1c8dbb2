"""What the demo tells at its end is what its own reader counted, also when it gave up."""

import time

from worker.demo.independent_count import Count
from worker.demo.run import Demo, _summary

IMPORTED_S = time.monotonic()
QUESTIONS = (("SLATE", "control"), ("SLATE", "candidate"), ("DUEL", "candidate"))


def answer(count: Count, event: str, *, times: int = 1) -> None:
    for question, variant in QUESTIONS * times:
        count.add({"event_id": event, "question": question, "variant": variant})


def test_what_was_never_sent_is_missing_and_not_consumed() -> None:
    demo = Demo(events=10, engine="vllm", seed=1)
    for event in ("a", "b", "c"):
        demo.count.expect(event, ["control", "candidate"])
    answer(demo.count, "a")
    demo.count.add({"event_id": "b", "question": "DUEL", "variant": "candidate"})
    told = _summary(demo, None)
    # Of b two answers, of c all three, and of the seven that were not sent all three.
    assert (told["consumed"], told["responses"], told["missing"], told["duplicates"]) == (2, 4, 26, 0)


def test_a_demo_that_is_through_misses_nothing() -> None:
    demo = Demo(events=2, engine="vllm", seed=1)
    for event in ("a", "b"):
        demo.count.expect(event, ["control", "candidate"])
        answer(demo.count, event)
    told = _summary(demo, None)
    assert (told["consumed"], told["responses"], told["missing"], told["duplicates"]) == (2, 6, 0, 0)


def test_an_answer_that_nobody_asked_for_is_no_event_and_a_dead_letter_is_one() -> None:
    demo = Demo(events=1, engine="vllm", seed=1)
    demo.count.expect("a", ["control", "candidate"])
    answer(demo.count, "stranger")
    demo.dead_letters += 1
    told = _summary(demo, None)
    assert (told["consumed"], told["missing"], told["duplicates"]) == (1, 3, 3)


def test_the_time_to_the_first_answer_counts_from_the_command() -> None:
    assert Demo(events=1, engine="vllm", seed=1).started_s < IMPORTED_S
