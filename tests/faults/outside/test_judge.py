"""The judge can say no: each way to lose, repeat, invent, garble or keep silent is found, and a clean run is clean."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from .judge import Answer, Evidence, Findings, Letter, judge, missing
from .ledger import Entry, Fate, Metric, Notice, Place

AT_US = 1_767_225_600_000_000
QUESTIONS = (("SLATE", "control"), ("SLATE", "shadow"), ("DUEL", "shadow"))


def entry(number: str, fate: Fate = Fate.ANSWERED, event_id: str = "", **more: str) -> Entry:
    event_id = event_id or f"event {number}"
    keys = frozenset((event_id, question, variant) for question, variant in QUESTIONS)
    return Entry(number, Place("t", 0, int(number)), fate, event_id, keys, AT_US, **more)


def answers(*entries: Entry) -> list[Answer]:
    return [Answer(key, AT_US) for one in entries for key in sorted(one.keys)]


def letter(number: str, reason: str = "magic", detail: str = "no framing", place: str = "") -> Letter:
    return Letter(number, place or f"t[0]@{number}", reason, detail)


def counts(found: Findings) -> dict[str, int]:
    every = ("lost", "duplicated", "unasked", "wrong", "unsaid")
    return {name: len(getattr(found, name)) for name in every if getattr(found, name)}


GOOD, BAD, BOTH = entry("0"), entry("1", Fate.DEAD, detail="magic"), entry("2", Fate.EITHER)
GONE, PAST = entry("3", Fate.MAYBE), entry("4", Fate.NEITHER)
LEDGER = [GOOD, BAD, BOTH, GONE, PAST]


@pytest.mark.parametrize(
    ("given", "letters"),
    [
        (answers(GOOD, BOTH), [letter("1")]),
        (answers(GOOD, BOTH, GONE), [letter("1")]),
        (answers(GOOD), [letter("1"), letter("2")]),
        (answers(GOOD), [letter("1"), letter("2"), letter("3")]),
        (answers(GOOD, BOTH), [letter("", place="t[0]@1")]),  # the header is lost with a batch that nobody can read
    ],
)
def test_a_clean_run_is_clean(given: list[Answer], letters: list[Letter]) -> None:
    assert judge(LEDGER, given, letters).clean


# -- mutants: one thing of a clean run is changed, and exactly that is found

CLEAN = (answers(GOOD, BOTH), [letter("1")])
Mutant = Callable[[list[Answer], list[Letter]], tuple[list[Answer], list[Letter]]]
MUTANTS: dict[str, tuple[Mutant, dict[str, int]]] = {
    "a record is lost": (lambda given, letters: (given[3:], letters), {"lost": 1}),
    "one question of a record is lost": (lambda given, letters: (given[1:], letters), {"lost": 1}),
    "what may be either is neither": (lambda given, letters: (given[:3], letters), {"lost": 1}),
    "a dead letter is lost": (lambda given, letters: (given, []), {"lost": 1}),
    "everything is lost": (lambda given, letters: ([], []), {"lost": 3}),
    "a record is dead-lettered that could be answered": (
        lambda given, letters: (given[3:], [*letters, letter("0")]),
        {"lost": 1},
    ),
    "an answer comes twice": (lambda given, letters: ([*given, given[0]], letters), {"duplicated": 1}),
    "a record is answered twice": (lambda given, letters: ([*given, *given[:3]], letters), {"duplicated": 1}),
    "what went away is answered twice": (
        lambda given, letters: ([*given, *answers(GONE, GONE)], letters),
        {"duplicated": 1},
    ),
    "a dead letter comes twice": (lambda given, letters: (given, letters * 2), {"duplicated": 1}),
    "a record is answered and dead-lettered": (
        lambda given, letters: (given, [*letters, letter("0")]),
        {"duplicated": 1},
    ),
    "what may be either is both": (lambda given, letters: (given, [*letters, letter("2")]), {"duplicated": 1}),
    "what must be dead-lettered is answered too": (
        lambda given, letters: ([*given, *answers(BAD)], letters),
        {"duplicated": 1},
    ),
    "the past is answered": (lambda given, letters: ([*given, *answers(PAST)], letters), {"unasked": 1}),
    "the past is dead-lettered": (lambda given, letters: (given, [*letters, letter("4")]), {"unasked": 1}),
    "nobody's event is answered": (
        lambda given, letters: ([*given, *answers(entry("9"))], letters),
        {"unasked": 1},
    ),
    "nobody's record is dead-lettered": (lambda given, letters: (given, [*letters, letter("9")]), {"unasked": 1}),
    "a question is answered that no record asks": (
        lambda given, letters: ([*given, Answer(("event 0", "DUEL", "elsewhere"), AT_US)], letters),
        {"unasked": 1},
    ),
    "an answer is of 1970": (
        lambda given, letters: ([replace(given[0], occurred_at_us=AT_US // 1_000), *given[1:]], letters),
        {"wrong": 1},
    ),
    "a dead letter gives another reason": (
        lambda given, letters: (given, [letter("1", reason="avro", detail="EOF")]),
        {"wrong": 1},
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_a_mutant_did_is_found(mutant: str) -> None:
    change, wanted = MUTANTS[mutant]
    assert counts(judge(LEDGER, *change(*CLEAN))) == wanted


# -- the same event in two records: once from the old topic and once from the one that was made anew


@pytest.mark.parametrize(
    ("fates", "times", "wanted"),
    [
        ((Fate.ANSWERED, Fate.ANSWERED), 2, {}),
        ((Fate.ANSWERED, Fate.ANSWERED), 1, {"lost": 1}),
        ((Fate.ANSWERED, Fate.ANSWERED), 0, {"lost": 2}),
        ((Fate.ANSWERED, Fate.ANSWERED), 3, {"duplicated": 1}),
        ((Fate.MAYBE, Fate.ANSWERED), 1, {}),
        ((Fate.MAYBE, Fate.ANSWERED), 2, {}),
        ((Fate.MAYBE, Fate.ANSWERED), 0, {"lost": 1}),
        ((Fate.MAYBE, Fate.ANSWERED), 3, {"duplicated": 1}),
        ((Fate.NEITHER, Fate.ANSWERED), 2, {"duplicated": 1}),
        ((Fate.NEITHER, Fate.NEITHER), 1, {"unasked": 1}),
    ],
)
def test_records_that_carry_one_event_are_counted_as_records(
    fates: tuple[Fate, Fate], times: int, wanted: dict[str, int]
) -> None:
    ledger = [entry(str(number), fate, "one event") for number, fate in enumerate(fates)]
    assert counts(judge(ledger, answers(ledger[0]) * times, [])) == wanted


# -- what must be said

LOG = "12:00:01 INFO worker: topic t is there\n12:00:02 WARNING worker: topic t was made anew: AAA, now BBB\n"
SAID = Evidence(LOG, {'topic_changes{change="made_anew",topic="t"}': 1.0}, ["topic t was made anew; ..."])
NOTICE = Notice(
    "topic made anew",
    (0,),
    line=("topic t", "AAA", "BBB"),
    metric=Metric("topic_changes", (("topic", "t"), ("change", "made_anew"))),
    unready=("topic t",),
)


def test_what_was_said_in_all_ways_is_said() -> None:
    assert missing(NOTICE, [SAID]) == []
    assert judge([], [], [], [NOTICE], [SAID]).clean


@pytest.mark.parametrize(
    ("silent", "word"),
    [
        (replace(SAID, log="12:00:02 INFO worker: topic t was made anew: AAA, now BBB"), "log line"),
        (replace(SAID, log="12:00:02 WARNING worker: topic t was made anew"), "log line"),
        (replace(SAID, log="WARNING topic t, AAA\nWARNING topic t, BBB"), "log line"),
        (replace(SAID, most={'topic_changes{change="made_anew",topic="t"}': 0.0}), "metric"),
        (replace(SAID, most={'topic_changes{change="made_anew",topic="other"}': 3.0}), "metric"),
        (replace(SAID, most={'topic_changes_rate{change="made_anew",topic="t"}': 3.0}), "metric"),
        (replace(SAID, unready=[]), "/readyz"),
        (replace(SAID, unready=["starting"]), "/readyz"),
    ],
)
def test_each_silence_is_found(silent: Evidence, word: str) -> None:
    [part] = missing(NOTICE, [silent])
    assert word in part
    assert counts(judge([], [], [], [NOTICE], [silent])) == {"unsaid": 1}


def test_one_of_several_workers_is_enough_and_another_one_is_not() -> None:
    silent = Evidence()
    assert missing(replace(NOTICE, workers=(0, 1)), [silent, SAID]) == []
    assert len(missing(NOTICE, [silent, SAID])) == 3
