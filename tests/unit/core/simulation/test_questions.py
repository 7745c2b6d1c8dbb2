"""What is asked about one impression: merging, equal lengths, what needs no engine, and the presented order."""

from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from tests.support.examples import impression, slate
from worker.core.records import Impression, Item, ItemKind, Role, Slate
from worker.core.simulation.question_set import WantedQuestions
from worker.core.simulation.questions import (
    TRAINED_OPTIONS,
    Depths,
    Kind,
    Option,
    Question,
    Status,
    plan,
    presented_order,
    presented_orders,
)

CONTROL, CANDIDATE = Role.CONTROL, Role.CANDIDATE
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
slate_ids = st.lists(st.sampled_from(LETTERS[:16]), min_size=1, max_size=14).map("".join)


def read(item: Item) -> str:
    """Render an item by its text alone."""
    return f"{item.text}\n"


def pair(control: str, candidate: str, depths: Depths | None = None) -> tuple[Question, Question, Question]:
    """Return the three questions of a control and a candidate."""
    found = plan(
        impression(slate("control", control, CONTROL), slate("candidate", candidate, CANDIDATE)),
        read,
        depths or Depths(),
    )
    assert [(q.kind, q.variant) for q in found] == [
        (Kind.SLATE, "control"),
        (Kind.SLATE, "candidate"),
        (Kind.DUEL, "candidate"),
    ]
    return found[0], found[1], found[2]


def ids(question: Question) -> str:
    return "".join(option.item_id for option in question.options)


def side(question: Question, variant: str) -> str:
    return "".join(option.item_id for option in question.options if variant in option.variants)


def option(item_id: str, text: str) -> Option:
    return Option(item_id, text, 0, ("a",), ItemKind.ORGANIC, Item(item_id, 0))


# -- which questions


def test_every_variant_is_asked_alone_and_every_candidate_against_control() -> None:
    found = plan(
        impression(slate("c", "AB", CONTROL), slate("x", "BC", CANDIDATE), slate("y", "CD", CANDIDATE)), read, Depths()
    )
    assert [q.name for q in found] == ["SLATE:c", "SLATE:x", "SLATE:y", "DUEL:x", "DUEL:y"]
    assert [q.control.variant if q.control else None for q in found] == [None, None, None, "c", "c"]


@pytest.mark.parametrize("roles", [(CANDIDATE, CANDIDATE), (CONTROL, Role.UNKNOWN), (Role.UNKNOWN, CANDIDATE)])
def test_there_is_no_duel_without_a_control_and_a_candidate(roles: tuple[Role, Role]) -> None:
    found = plan(impression(slate("x", "AB", roles[0]), slate("y", "BC", roles[1])), read, Depths())
    assert {q.kind for q in found} == {Kind.SLATE}


def test_a_slate_is_read_by_position_whatever_the_order_of_its_items() -> None:
    items = tuple(reversed(slate("c", "ABC").items))
    (question,) = plan(impression(Slate("c", items)), read, Depths())
    assert ids(question) == "ABC"


def test_an_item_that_stands_twice_counts_once_at_its_first_place() -> None:
    question = pair("ABAC", "AD")[0]
    assert [(o.item_id, o.position) for o in question.options] == [("A", 0), ("B", 1), ("C", 3)]


# -- merging


def test_the_given_order_keeps_the_letters_of_items_that_stand_twice_and_is_the_same_in_every_draw() -> None:
    shown = impression(slate("control", "ABAC", Role.CONTROL), given_order=True)
    (question,) = plan(shown, read, Depths())
    assert ids(question) == "ABAC"
    assert presented_orders(shown.event_id, 3, question.options, given=True) == [(0, 1, 2, 3)] * 3
    assert presented_order(shown.event_id, 1, question.options, given=True) == (0, 1, 2, 3)


def test_a_duel_merges_shared_items_and_names_both_variants() -> None:
    duel = pair("ABC", "BDE")[2]
    assert [(o.item_id, o.variants) for o in duel.options] == [
        ("A", ("control",)),
        ("B", ("control", "candidate")),
        ("C", ("control",)),
        ("D", ("candidate",)),
        ("E", ("candidate",)),
    ]


def headline_test() -> Impression:
    control = Slate("control", (Item("A", 0, text="Old headline"), Item("B", 1, text="same")), CONTROL)
    candidate = Slate("candidate", (Item("A", 0, text="New headline"), Item("B", 1, text="same")), CANDIDATE)
    return impression(control, candidate)


def test_one_item_under_two_texts_is_two_options_so_a_headline_test_is_a_test() -> None:
    duel = plan(headline_test(), read, Depths())[2]
    assert [(o.item_id, o.text, len(o.variants)) for o in duel.options] == [
        ("A", "Old headline\n", 1),
        ("B", "same\n", 2),
        ("A", "New headline\n", 1),
    ]
    assert duel.status is None


# -- lengths


@pytest.mark.parametrize(
    ("control", "candidate", "asked", "total"),
    [
        (LETTERS[:10], "XYZUV", 10, 15),  # the shorter list sets the length of both
        (LETTERS[:12], LETTERS[12:24], 12, 24),  # nothing shared: 6 of each
        (LETTERS[:12], LETTERS[11::-1], 12, 12),  # all shared: grown to 12 of each
        (LETTERS[:12], "ABCDEFGH" + "WXYZ", 12, 16),  # grown while the union stays within 12
    ],
)
def test_both_sides_of_a_duel_are_cut_to_one_length_and_grow_to_twelve_options(
    control: str, candidate: str, asked: int, total: int
) -> None:
    duel = pair(control, candidate)[2]
    assert len(side(duel, "control")) == len(side(duel, "candidate"))
    assert (len(duel.options), duel.options_total) == (asked, total)


def test_a_longer_slate_is_cut_and_its_full_length_told() -> None:
    question = pair(LETTERS[:15], "AB")[0]
    assert (ids(question), question.options_total) == (LETTERS[:12], 15)


@given(slate_ids, slate_ids, st.integers(1, 13))
@settings(max_examples=30, deadline=None)
def test_a_duel_is_always_even_and_within_its_bounds(control: str, candidate: str, depth: int) -> None:
    duel = pair(control, candidate, Depths(duel=depth))[2]
    mine, theirs = side(duel, "control"), side(duel, "candidate")
    distinct = [len(set(control)), len(set(candidate))]
    assert len(mine) == len(theirs) >= min(depth, *distinct)
    assert len(duel.options) <= max(TRAINED_OPTIONS, 2 * depth)
    assert len(duel.options) <= duel.options_total == len(set(control) | set(candidate))
    assert "".join(dict.fromkeys(control)).startswith(mine)
    assert set(theirs) == set(list(dict.fromkeys(candidate))[: len(theirs)])


# -- what needs no engine


@pytest.mark.parametrize(
    ("control", "candidate", "statuses"),
    [
        ("ABC", "BDE", (None, None, None)),
        ("ABC", "ABC", (None, Status.IDENTICAL, Status.IDENTICAL)),
        ("ABC", "CBA", (None, None, Status.SAME_SET)),
        ("A", "B", (Status.TRIVIAL, Status.TRIVIAL, None)),
        ("A", "A", (Status.TRIVIAL, Status.TRIVIAL, Status.IDENTICAL)),
        ("A", "AB", (Status.TRIVIAL, None, Status.IDENTICAL)),
        (LETTERS[:12] + "X", LETTERS[:12] + "Y", (None, Status.IDENTICAL, Status.IDENTICAL)),  # equal as far as asked
    ],
)
def test_what_needs_no_engine_is_not_asked(control: str, candidate: str, statuses: tuple[Status | None, ...]) -> None:
    assert tuple(question.status for question in pair(control, candidate)) == statuses


@pytest.mark.parametrize(
    ("slates", "status"),
    [
        ("ABC ABC", Status.NOT_SAMPLED),
        ("ABC ABC ABC", Status.NOT_SAMPLED),
        ("ABC ABC ABD", None),  # one candidate differs: control is asked
        ("ABC", None),  # nothing to compare with
        ("A A", Status.TRIVIAL),
    ],
)
def test_control_is_asked_of_a_share_where_no_slate_differs(slates: str, status: Status | None) -> None:
    """The whole event goes without an engine where nothing can be compared, if the user is not of the share."""
    roles = [CONTROL, CANDIDATE, CANDIDATE]
    shown = impression(*(slate(f"v{n}", letters, roles[n]) for n, letters in enumerate(slates.split())))
    found = plan(shown, read, Depths(), user=WantedQuestions(calibration_share=0).of("u"))
    assert found[0].status is status
    if status is Status.NOT_SAMPLED:
        assert all(question.status and question.copy_of is None for question in found)
    assert plan(shown, read, Depths())[0].status is (Status.TRIVIAL if status is Status.TRIVIAL else None)


def test_a_copy_names_the_variant_that_is_asked() -> None:
    found = plan(impression(slate("x", "AB"), slate("y", "BA"), slate("z", "AB")), read, Depths())
    assert [q.copy_of for q in found] == [None, None, "x"]


# -- presented order


def shown(question: Question, draw: int, event_id: str = "event") -> str:
    return "".join(question.options[i].item_id for i in presented_order(event_id, draw, question.options))


@given(slate_ids, slate_ids, st.sampled_from(("e1", "e2", "e3")), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_items_that_two_questions_share_keep_their_relative_order(
    control: str, candidate: str, event_id: str, draw: int
) -> None:
    found = [shown(question, draw, event_id) for question in pair(control, candidate)]
    for one in found:
        for other in found:
            assert [i for i in one if i in other] == [i for i in other if i in one]


def test_draws_come_in_pairs_of_one_order_turned_round() -> None:
    question = pair(LETTERS[:8], "AB")[0]
    orders = [shown(question, draw) for draw in range(4)]
    assert orders[1] == orders[0][::-1]
    assert orders[3] == orders[2][::-1]
    assert orders[2] not in orders[:2]
    assert all(sorted(order) == list(LETTERS[:8]) for order in orders)


def test_every_item_comes_first_about_equally_often() -> None:
    question = pair("ABCD", "AB")[0]
    first = Counter(shown(question, 0, f"event-{number}")[0] for number in range(800))
    assert all(140 < first[item] < 260 for item in "ABCD"), first


def test_neither_headline_of_one_item_always_comes_first() -> None:
    options = (option("A", "New headline"), option("A", "Old headline"))
    first = Counter(presented_order(f"event-{number}", 0, options)[0] for number in range(200))
    assert all(70 < first[index] < 130 for index in (0, 1)), first


def test_the_order_is_the_same_in_every_process() -> None:
    assert shown(pair("ABCDEF", "AB")[0], 0) == "DBAEFC"
