"""Event text never becomes a special token, and the second pass reads the very tokens of the first."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from injections import CORPUS
from transformers import AutoTokenizer

from worker import profiles
from worker.engines.tokens import Tokens
from worker.engines.vllm import TINY, model_path
from worker.prompt import Prompt, build, render_option, scene
from worker.questions import Depths, plan
from worker.records import Domain, HistoryEntry, HistoryItem, Impression, Item, Slate, User

from . import qwen

PROFILE = profiles.load("mirror-v1")


@pytest.fixture(scope="module", params=["mirror-tiny", "qwen2.5"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return qwen.tokenizer() if request.param == "qwen2.5" else AutoTokenizer.from_pretrained(model_path(TINY))


@pytest.fixture(scope="module")
def tokens(tokenizer: Any) -> Tokens:
    return Tokens(tokenizer, PROFILE.stop)


def user_text(title: str) -> str:
    """Return a whole user message with this title as its second option and in its history."""
    slate = Slate("a", tuple(Item(str(place), place, text=text) for place, text in enumerate(("Heat", title, "Ronin"))))
    past = HistoryEntry(HistoryItem("m", attributes={"title": title, "genres": "Crime"}), rating=4.0, occurred_at=1)
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


@pytest.mark.parametrize("title", CORPUS)
def test_a_hostile_title_leaves_the_tokens_of_all_other_segments(tokens: Tokens, title: str) -> None:
    """What stands before, between and after the two places of the title is the same, token for token."""

    def segments(text: str) -> list[tuple[int, ...]]:
        lines = user_text(text).split("\n")
        past = next(at for at, line in enumerate(lines) if line.startswith("A movie viewed")) + 1
        offered = next(at for at, line in enumerate(lines) if line.startswith("[B] "))
        parts = (lines[:past], lines[past + 1 : offered], lines[offered + 1 :])
        return [tokens.encode("\n".join(part)) for part in parts]

    plain, hostile = segments("Fargo"), segments(title)
    assert hostile == plain
    whole = tokens.chat(Prompt("System.", user_text(title), "Thought:\nStimulus:"))
    assert whole[: len(plain[0])] == tokens.chat(Prompt("System.", user_text("Fargo"), ""))[: len(plain[0])]
    assert whole[-8:] == tokens.chat(Prompt("System.", user_text("Fargo"), "Thought:\nStimulus:"))[-8:]


def test_honest_text_has_the_tokens_of_the_joined_string(tokenizer: Any, tokens: Tokens) -> None:
    messages = [{"role": "system", "content": "S."}, {"role": "user", "content": "# User Profile\n\nHeat (1995)\n"}]
    messages.append({"role": "assistant", "content": "Thought:\nStimulus:"})
    joined = tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True)
    expected = tokenizer.encode(joined, add_special_tokens=False)
    found = tokens.chat(Prompt("S.", "# User Profile\n\nHeat (1995)\n", "Thought:\nStimulus:"))
    assert list(found) == expected


def test_each_letter_is_one_token_after_the_stop_string(tokens: Tokens) -> None:
    assert len(set(tokens.letters)) == 26
    assert tokens.encode("Behavior: [Q") == (*tokens.encode("Behavior: ["), tokens.letters[16])


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
