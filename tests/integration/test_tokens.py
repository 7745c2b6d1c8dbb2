"""Event text never becomes a special token, and the second pass reads the very tokens of the first."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from tests.support import qwen
from tests.support.injections import CORPUS
from worker.core.errors import Fatal
from worker.core.prompts.prompt import Prompt, build, render_option, scene
from worker.core.records import Domain, HistoryEntry, HistoryItem, Impression, Item, Slate, User
from worker.core.simulation.questions import Depths, plan
from worker.engines.model_files import TINY, model_path
from worker.engines.tokens import Tokens, _has_blocks, load
from worker.settings import prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")


@pytest.fixture(scope="module", params=["mirror-tiny", "qwen2.5"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return qwen.tokenizer() if request.param == "qwen2.5" else load(str(model_path(TINY)), None)


@pytest.fixture(scope="module")
def tokens(tokenizer: Any) -> Tokens:
    return Tokens(tokenizer, PROFILE.stop)


def user_text(title: str) -> str:
    """Return a whole user message with this title as one of its options."""
    slate = Slate("a", tuple(Item(str(place), place, text=text) for place, text in enumerate(("Heat", title, "Ronin"))))
    past = HistoryEntry(HistoryItem("m", attributes={"title": "Antz", "genres": "Crime"}), rating=4.0, occurred_at=1)
    shown = Impression("e", 10**15, User("u", history=(past,)), (slate,), domain=Domain.MOVIES)
    question = plan(shown, lambda item: render_option(PROFILE, shown, item), Depths())[0]
    return build(PROFILE, scene(PROFILE, shown, 10), question.options).user


def test_the_vocabulary_is_the_real_one() -> None:
    """Ids as they are published; the bracket of an option is fused with its letter, that of an answer is not."""
    encode = qwen.tokenizer().encode
    assert [encode(text) for text in (" [", "A", "Z", "[A", "[O", "Behavior:[")] == [
        [508], [32], [57], [22519], [58, 46], [22753, 7259],
    ]  # fmt: skip
    assert [encode(text) for text in ("<|endoftext|>", "<|im_end|>", "<think>")] == [[151643], [151645], [151667]]


@pytest.mark.parametrize("text", [*CORPUS, *qwen.ADDED, *(f"a{text}b" for text in qwen.ADDED)])
def test_event_text_holds_no_added_token(tokenizer: Any, tokens: Tokens, text: str) -> None:
    added = set(tokenizer.get_added_vocab().values())
    assert added
    assert added.isdisjoint(tokens.encode(text.encode("utf-8", "replace").decode()))


_pieces = st.sampled_from([*qwen.ADDED, *CORPUS, "<|", "im_end", "|>", "<", "think", ">"]) | st.text(max_size=5)


@given(st.lists(_pieces, max_size=6).map("".join))
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_at_all_becomes_an_added_token(tokenizer: Any, tokens: Tokens, text: str) -> None:
    ids = tokens.encode(text.encode("utf-8", "replace").decode())
    assert set(tokenizer.get_added_vocab().values()).isdisjoint(ids)
    assert all(0 <= token < len(tokenizer) for token in ids)


_lines = st.sampled_from(["\n", "\n\n", "[", "#", "[A] ", " ", "a", ".", "1", "\r", "\u0301"]) | _pieces


def test_a_tokenizer_that_joins_line_breaks_only_at_an_end_is_not_cut_into_blocks() -> None:
    """GPT-2's: the second of two line breaks before a bracket is a word of its own, but not at the end of a text."""
    assert _has_blocks(Tokenizer.from_str(qwen.tokenizer().backend_tokenizer.to_str()))
    plain = Tokenizer(BPE())
    plain.pre_tokenizer = ByteLevel(add_prefix_space=False)
    assert not _has_blocks(plain)


@given(st.lists(_lines, max_size=12).map("".join))
@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_that_is_encoded_block_by_block_has_the_tokens_of_the_whole(tokens: Tokens, text: str) -> None:
    prompt = Prompt("System.", text.encode("utf-8", "replace").decode(), "Thought:")
    by_blocks, as_a_whole = copy.copy(tokens), copy.copy(tokens)
    by_blocks._has_blocks, as_a_whole._has_blocks = True, False
    assert by_blocks.chat(prompt) == as_a_whole.chat(prompt)


@pytest.mark.parametrize("title", CORPUS)
def test_a_hostile_title_changes_no_token_beyond_those_that_touch_it(tokens: Tokens, title: str) -> None:
    """The whole prompt, token for token, from both ends: only what stands between differs."""

    def prompt(text: str) -> tuple[str, tuple[int, ...]]:
        user = user_text(text)
        return user, tokens.chat(Prompt("System.", user, "Thought:\nStimulus:"))

    (plain_text, plain), (_, hostile) = prompt("Fargo"), prompt(title)
    before, after = plain_text.split("Fargo")
    start = next((n for n, pair in enumerate(zip(plain, hostile, strict=False)) if pair[0] != pair[1]), len(plain))
    back = zip(reversed(plain), reversed(hostile), strict=False)
    end = next((n for n, pair in enumerate(back) if pair[0] != pair[1]), len(plain))
    head = tokens.chat(Prompt("System.", before, ""))
    assert start >= len(tokens.encode(before)) - 1  # the space before a title can join it
    assert plain[:start] == head[:start] or start > len(head)
    assert end >= len(tokens.encode(after.lstrip("\n"))) + len(tokens.encode("Thought:\nStimulus:"))


def test_honest_text_has_the_tokens_of_the_joined_string(tokenizer: Any, tokens: Tokens) -> None:
    messages = [{"role": "system", "content": "S."}, {"role": "user", "content": "# User Profile\n\nHeat (1995)\n"}]
    messages.append({"role": "assistant", "content": "Thought:\nStimulus:"})
    joined = tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True)
    expected = tokenizer.encode(joined, add_special_tokens=False)
    found = tokens.chat(Prompt("S.", "# User Profile\n\nHeat (1995)\n", "Thought:\nStimulus:"))
    assert list(found) == expected


def test_the_models_own_file_says_how_text_is_split() -> None:
    """Also where transformers has a class that would split it otherwise."""
    plain = Tokenizer.from_file(str(Path(model_path(TINY), "tokenizer.json")))
    text = "The Wild Valley (1971) Adventure|Drama|Western \nRating: 3.5/5.0"
    assert Tokens(load(str(model_path(TINY)), None), PROFILE.stop).encode(text) == tuple(plain.encode(text).ids)


def test_each_letter_is_one_token_after_the_stop_string(tokens: Tokens) -> None:
    assert len(set(tokens.letters)) == 26
    assert tokens.encode("Behavior: [Q") == (*tokens.encode("Behavior: ["), tokens.letters[16])


def test_letters_that_join_what_stands_before_them_are_refused() -> None:
    """A bracket alone and its letter are one token of Qwen's: nobody could tell the letter's probability."""
    with pytest.raises(Fatal, match=r"'\[A' ends in the tokens .*'\[A'"):
        Tokens(qwen.tokenizer(), "[")


@pytest.mark.parametrize("overrun", ["", "B", "B]\n"])
def test_the_second_pass_ends_where_the_text_ends(tokens: Tokens, overrun: str) -> None:
    """Generated ids may run past the stop string; what runs past it is dropped."""
    text = " I am bored.\nBehavior: ["
    generated = tokens.encode(text + overrun)
    prompt = tokens.encode("Thought:\nStimulus:")
    assert tokens.decode(tokens.continued(prompt, generated, text)[len(prompt) :]) == text


def test_the_second_pass_keeps_the_generated_tokens(tokens: Tokens) -> None:
    text = " I am bored.\nBehavior: ["
    assert tokens.continued((), tokens.encode(text), text) == tokens.encode(text)
