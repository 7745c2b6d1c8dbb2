"""From an impression to asks: the same every time, and a prompt that does not fit loses history, never an option."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings, strategies as st

from tests.support.examples import DAY_US, impression, record, seen, slate
from worker.core.attribute_maps import known
from worker.core.prompts.prompt import DomainLayout, Prompt, build, render_option, scene
from worker.core.records import Domain, HistoryEntry, HistoryItem, Impression, Item, Role, Slate, User
from worker.core.simulation.prepare import Asking, Prepared, Tokenise, num_tokens, prepare
from worker.core.simulation.question_set import WantedQuestions
from worker.core.simulation.questions import Depths, Status, plan, presented_orders
from worker.engines.model_files import TINY, model_path
from worker.engines.tokens import Tokens, load as load_tokenizer
from worker.settings.prompt_profiles import load

HISTORY = tuple(seen(title, (9 - n) * DAY_US) for n, title in enumerate(("One", "Two", "Three")))
SHOWN = impression(history=HISTORY)
REWORDED = DomainLayout(profile="", item="{title}", exposure="Called {title}\n", history="{item}")
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


def test_an_event_may_keep_its_order_in_every_draw() -> None:
    shown = impression(slate("control", "CABD", Role.CONTROL), given_order=True)
    (one,) = prepare(record(), shown, asking())
    assert [ask.order for ask in one.asks] == [(0, 1, 2, 3)] * len(one.asks)


def test_what_needs_no_engine_has_no_asks() -> None:
    shown = impression(slate("control", "ABC", Role.CONTROL), slate("candidate", "ABC", Role.CANDIDATE))
    found = prepared(shown)
    assert [len(one.asks) for one in found] == [2, 0, 0]
    assert num_tokens(found) == sum(len(ask.prompt_ids) for ask in found[0].asks) > 0


def test_whole_users_are_asked_about_slates_that_are_all_alike() -> None:
    """Where no slate differs a fifth of the users is asked, each always or never."""
    rules, alike = (
        asking(wanted=WantedQuestions(calibration_share=0.2)),
        (slate("a", "XY", Role.CONTROL), slate("b", "XY")),
    )
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
    asked = next(prompt for prompt in prompts if count_words(prompt) == one.asks[0].prompt_ids)
    assert [title for title in ("One", "Two", "Three") if title in asked.user] == ["One", "Two", "Three"][dropped:]
    assert all(f"] film {name}\n" in asked.user for name in "ABC")
    assert ("history_cut" in one.flags) is (dropped > 0)


def test_all_draws_of_a_question_see_the_same_history() -> None:
    """One draw that fits with more history than its twin would make the order matter."""
    kept: list[int] = []

    def longer_in_one_order(prompt: Prompt) -> tuple[int, ...]:
        kept.append(prompt.user.count("A movie viewed"))
        return (1,) * (kept[-1] + (prompt.user.index("film A") < prompt.user.index("film B")))

    shown = impression(slate("a", "AB"), history=HISTORY)
    (one,) = prepared(shown, tokenise=longer_in_one_order, max_prompt_tokens=2)
    assert kept[-2:] == [1, 1]
    assert kept[:-2].count(1) == 0
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


# -- the cut is that of trying one entry less each time


def cut_one_by_one(shown: Impression, rules: Asking) -> list[tuple[tuple[tuple[int, ...], ...], bool]]:
    """Return the prompts of each question as the obvious loop cuts them, and whether history is cut."""
    assert rules.tokenise is not None
    whole, found = scene(rules.profile, shown, rules.history_limit), []
    for question in plan(shown, lambda item: render_option(rules.profile, shown, item), rules.depths):
        orders = presented_orders(shown.event_id, rules.draws, question.options) if question.status is None else []
        for dropped in range(len(whole.history) + 1):
            part = replace(whole, history=whole.history[dropped:])
            ids = tuple(
                rules.tokenise(build(rules.profile, part, [question.options[at] for at in order])) for order in orders
            )
            if all(len(one) <= rules.max_prompt_tokens for one in ids):
                found.append((ids, dropped > 0))
                break
        else:
            found.append(((), True))
    return found


@cache
def mirror_tiny() -> Tokens:
    return Tokens(load_tokenizer(str(model_path(TINY)), None), "Behavior: [")


def in_pieces(prompt: Prompt) -> tuple[int, ...]:
    """Tokenise as an engine does: too long a prompt only as far as it shows."""
    return mirror_tiny().chat(prompt, LIMIT)


LIMIT = 1_200
titles = st.text(st.sampled_from("ab \u00e9\u65e5[]\n1"), max_size=60) | st.sampled_from(
    ["", "Heat (1995)", "w " * 250]
)
histories = st.lists(st.tuples(titles, st.sampled_from([None, "", "fine", "so " * 40])), max_size=30)


@given(histories, st.sampled_from([Domain.MOVIES, Domain.BOOKS, Domain.GENERIC]), st.integers(0, 30))
@settings(max_examples=30, deadline=None)
def test_history_is_cut_as_by_dropping_one_entry_after_the_other(
    entries: list[tuple[str, str | None]], domain: Domain, limit: int
) -> None:
    past = tuple(
        HistoryEntry(HistoryItem(f"h{n}", attributes={"title": title, "genres": "Drama"}), "read", 4.0, review, n + 1)
        for n, (title, review) in enumerate(entries)
    )
    shown = impression(slate("a", "ABC", Role.CONTROL), slate("b", "BDEFG", Role.CANDIDATE), history=past)
    shown = replace(shown, domain=domain)
    whole = asking(tokenise=mirror_tiny().chat, history_limit=limit, max_prompt_tokens=LIMIT)
    found = prepare(record(), shown, replace(whole, tokenise=in_pieces))
    for one, (ids, is_cut) in zip(found, cut_one_by_one(shown, whole), strict=True):
        if one.refused is None and "text_cut" not in one.flags - flags_of_texts(shown, limit):
            assert tuple(ask.prompt_ids for ask in one.asks) == ids
            assert is_cut <= ("history_cut" in one.flags)
        else:
            assert ids == ()


def flags_of_texts(shown: Impression, limit: int) -> frozenset[str]:
    return scene(load("mirror-v1"), shown, limit).flags


def test_two_hundred_entries_that_do_not_fit_are_tokenised_a_few_times() -> None:
    num = 0

    def count(prompt: Prompt) -> tuple[int, ...]:
        nonlocal num
        num += 1
        return (1,) * (10 * prompt.user.count("A movie viewed"))

    past = tuple(seen(f"{n}", (300 - n) * DAY_US) for n in range(200))
    found = prepared(impression(history=past), tokenise=count, history_limit=200, max_prompt_tokens=777)
    assert [len(ask.prompt_ids) for one in found for ask in one.asks] == [770] * 6
    assert num < 40  # it was 740: six prompts for each of 123 entries that were dropped


def options_of(how: Asking, shown: Impression) -> list[str]:
    return [option.text for one in prepare(record(), shown, how) for option in one.question.options]


def test_an_item_that_comes_again_has_the_text_of_its_own_event() -> None:
    """Texts are kept between events: each still goes by its event's domain and day, its item and its own profile."""
    new = Item("i", 0, attributes={"title": "Heat (2000)", "year": "2000"})
    text, no_title = replace(new, text="A heat wave."), known({"title": None})
    event = impression(Slate("control", (new,), Role.CONTROL), domain=Domain.MOVIES)
    events = [
        event,
        replace(event, occurred_at=event.occurred_at + 800 * DAY_US),
        replace(event, domain=Domain.BOOKS),
        replace(event, slates=(Slate("control", (text,), Role.CONTROL),)),
        replace(event, slates=(Slate("control", (text,), Role.CONTROL),), texts_as_is=True),
        replace(event, slates=(Slate("control", (replace(new, item_id="j", attributes={}),), Role.CONTROL),)),
        replace(event, slates=(Slate("control", (replace(new, item_id="j", attributes=no_title),), Role.CONTROL),)),
    ]
    keeping = asking()
    for shown in events * 2:
        assert options_of(keeping, shown) == options_of(asking(), shown)
    assert len({options_of(keeping, shown)[0] for shown in events}) == 6  # ready or not, a text is a text
    profile = replace(keeping.profile, domains={"generic": REWORDED}, sha256="another")
    reworded = replace(keeping, profile=profile, draws=1)
    assert reworded.texts is keeping.texts  # one bound for all experiments
    assert options_of(reworded, event) != options_of(keeping, event)
    coded = replace(event, slates=(Slate("control", (replace(new, text="R&amp;B"),), Role.CONTROL),))
    as_written = replace(keeping, profile=replace(keeping.profile, reads_html=False))
    assert [options_of(how, coded) for how in (keeping, as_written)] == [["R&B\n"], ["R&amp;B\n"]]
