"""From an impression to asks: the same every time, and a prompt that does not fit loses history, never an option."""

from dataclasses import replace

import pytest
from examples import DAY_US, impression, record, seen, slate

from worker.prepare import Asking, Prepared, Tokenise, num_tokens, prepare
from worker.profiles import load
from worker.prompt import Prompt
from worker.questions import Depths, Status
from worker.records import Impression, Role, User

HISTORY = tuple(seen(title, (9 - n) * DAY_US) for n, title in enumerate(("One", "Two", "Three")))
SHOWN = impression(history=HISTORY)
ENTRY_TOKENS = 9  # what one more entry of HISTORY adds


def count_words(prompt: Prompt) -> tuple[int, ...]:
    """Tokenise by words: the tokens are their lengths."""
    return tuple(len(word) for word in f"{prompt.system} {prompt.user} {prompt.prefix}".split())


def asking(tokenise: Tokenise | None = count_words, **changes: object) -> Asking:
    made = Asking(load("mirror-v1"), Depths(), 2, 10, seeded=True, tokenise=tokenise, max_prompt_tokens=10_000)
    return replace(made, **changes)  # type: ignore[arg-type]


def prepared(shown: Impression = SHOWN, **changes: object) -> tuple[Prepared, ...]:
    return prepare(record(), shown, asking(**changes))  # type: ignore[arg-type]


def longest(found: tuple[Prepared, ...]) -> int:
    return max(len(ask.prompt_ids) for one in found for ask in one.asks)


def test_every_question_has_its_draws_in_pairs_of_turned_orders() -> None:
    for one in prepared(draws=4):
        assert [ask.order for ask in one.asks[1::2]] == [ask.order[::-1] for ask in one.asks[::2]]
        assert all(ask.question is one.question for ask in one.asks)
        assert all(ask.num_slots == len(one.question.options) for ask in one.asks)


def test_asks_are_told_apart_by_their_ids() -> None:
    ids = [ask.ask_id for one in prepared() for ask in one.asks]
    assert len(set(ids)) == len(ids) == 6
    assert ids[0] == "impressions[3]@1842.1/SLATE:control/0"


def test_a_record_that_comes_again_is_asked_the_same() -> None:
    assert prepared() == prepared()


def test_each_draw_has_its_seed_and_all_questions_share_it() -> None:
    seeds = [[ask.seed for ask in one.asks] for one in prepared()]
    assert seeds[0] == seeds[1] == seeds[2]
    assert seeds[0][0] != seeds[0][1]
    assert all(ask.seed is None for one in prepared(seeded=False) for ask in one.asks)


def test_what_needs_no_engine_has_no_asks() -> None:
    shown = impression(slate("control", "ABC", Role.CONTROL), slate("candidate", "ABC", Role.CANDIDATE))
    found = prepared(shown)
    assert [len(one.asks) for one in found] == [2, 0, 0]
    assert num_tokens(found) == sum(len(ask.prompt_ids) for ask in found[0].asks) > 0


def test_whole_users_are_asked_about_slates_that_are_all_alike() -> None:
    """Where no slate differs a fifth of the users is asked, each always or never."""
    rules, alike = asking(calibration_share=0.2), (slate("a", "XY", Role.CONTROL), slate("b", "XY"))
    shown = [[impression(*alike, user=User(f"u{user}"), event_id=f"e{event}") for event in range(3)]
             for user in range(400)]  # fmt: skip
    asked = [{bool(prepare(record(), one, rules)[0].asks) for one in of_user} for of_user in shown]
    assert all(len(ways) == 1 for ways in asked)
    assert 0.14 < sum(True in ways for ways in asked) / len(asked) < 0.26


def test_an_engine_that_reads_the_impression_gets_no_prompt() -> None:
    found = prepared(tokenise=None)
    assert num_tokens(found) == 0
    assert all(not ask.prompt_ids and ask.impression is SHOWN for one in found for ask in one.asks)


def test_the_questions_of_an_impression_share_everything_before_the_options() -> None:
    prompts: list[str] = []

    def keep(prompt: Prompt) -> tuple[int, ...]:
        prompts.append(prompt.user)
        return (1,)

    prepared(tokenise=keep)
    assert len({prompt.split("# Exposure List")[0] for prompt in prompts}) == 1
    assert len(set(prompts)) == len(prompts) == 6


@pytest.mark.parametrize("dropped", [0, 1, 2, 3])
def test_a_prompt_that_does_not_fit_loses_its_oldest_history_first(dropped: int) -> None:
    whole = longest(prepared()[:1])
    prompts: list[Prompt] = []

    def keep(prompt: Prompt) -> tuple[int, ...]:
        prompts.append(prompt)
        return count_words(prompt)

    one = prepared(impression(slate("a", "ABC"), history=HISTORY), tokenise=keep, max_prompt_tokens=whole)[0]
    assert one.flags == frozenset()
    prompts.clear()
    limit = whole - dropped * ENTRY_TOKENS
    one = prepared(impression(slate("a", "ABC"), history=HISTORY), tokenise=keep, max_prompt_tokens=limit)[0]
    assert one.refused is None
    assert all(len(ask.prompt_ids) <= limit for ask in one.asks)
    assert [title for title in ("One", "Two", "Three") if title in prompts[-1].user] == ["One", "Two", "Three"][
        dropped:
    ]
    assert all(f"] film {name}\n" in prompts[-1].user for name in "ABC")
    assert ("history_cut" in one.flags) is (dropped > 0)


def test_all_draws_of_a_question_see_the_same_history() -> None:
    """One draw that fits with more history than its twin would make the order matter."""
    kept: list[int] = []

    def longer_in_one_order(prompt: Prompt) -> tuple[int, ...]:
        kept.append(prompt.user.count("A movie viewed"))
        return (1,) * (kept[-1] + (prompt.user.index("film A") < prompt.user.index("film B")))

    shown = impression(slate("a", "AB"), history=HISTORY)
    (one,) = prepared(shown, tokenise=longer_in_one_order, max_prompt_tokens=2)
    assert kept == [3, 3, 2, 2, 1, 1]
    assert sorted(len(ask.prompt_ids) for ask in one.asks) == [1, 2]


def test_a_prompt_that_fits_in_no_way_is_not_asked_and_says_so() -> None:
    for one in prepared(max_prompt_tokens=5):
        assert one.refused is not None
        assert one.refused.status is Status.OUT_OF_BUDGET
        assert len(one.asks) == 2
    assert num_tokens(prepared(max_prompt_tokens=5)) == 0


def test_flags_of_the_scene_go_to_every_question() -> None:
    assert all("history_cut" in one.flags for one in prepared(history_limit=2))


def test_a_prompt_that_does_not_fit_without_history_loses_the_ends_of_long_texts_and_no_option() -> None:
    """A title of 290 words is cut at ever fewer characters, until the prompt fits."""
    long = slate("a", "ABC")
    long = replace(long, items=tuple(replace(item, text=f"{item.item_id} " + "w " * 290) for item in long.items))
    prompts: list[Prompt] = []

    def keep(prompt: Prompt) -> tuple[int, ...]:
        prompts.append(prompt)
        return count_words(prompt)

    bare = longest(prepared(impression(slate("a", "ABC"), user=User("u"))))
    one = prepared(impression(long, history=HISTORY), tokenise=keep, max_prompt_tokens=bare + 200)[0]
    assert one.refused is None
    assert one.flags == {"text_cut", "history_cut"}
    assert "A movie viewed" not in prompts[-1].user
    assert sorted(line[4] for line in prompts[-1].user.split("\n") if line.startswith("[")) == ["A", "B", "C"]
    assert all(len(ask.prompt_ids) <= bare + 200 for ask in one.asks)


def test_direct_mode_asks_for_the_letter_alone_and_says_that_nobody_trained_for_it() -> None:
    prompts: list[Prompt] = []

    def keep(prompt: Prompt) -> tuple[int, ...]:
        prompts.append(prompt)
        return (1,)

    found = prepared(tokenise=keep, mode="direct")
    assert {prompt.prefix for prompt in prompts} == {"Behavior: ["}
    assert {prompt.system for prompt in prompts} == {load("mirror-v1").system["direct"]}
    assert all("untrained_mode" in one.flags for one in found)
    assert not any("untrained_mode" in one.flags for one in prepared())
