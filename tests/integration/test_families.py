"""Tokenizers of eleven model families: letters, ids of the whole rendered chat, no control token out of a text."""

from typing import Any

import pytest

from tests.support import tokenizer_packages
from tests.support.injections import CORPUS
from worker.core.prompts.prompt import Prompt
from worker.engines.chat_template import ChatTemplate, SystemRole
from worker.engines.tokens import Tokens, load
from worker.settings import prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")
QUICK = ("mistral-sentencepiece", "mistral-tekken")  # of a package that the environment has anyhow
FAMILIES = [pytest.param(one, marks=() if one in QUICK else pytest.mark.long) for one in tokenizer_packages.TOKENIZERS]
SCENE = """\
# User Profile
## User Profile
Gender: male


## History
A movie viewed 3 days ago
Heat (1995) Crime|Drama
My Behavior:
Rating: 4.0/5.0


# Exposure List
[A] Fargo (1996) - Crime|Drama

[B] Toy  Story

"""
UNICODE = "# Exposure List\n[A] Am\u00e9lie \U0001f600 \u65e5\u672c\u8a9e   three blanks\ttab\n\n[B] 12345 10.99\n"
ODD = "[A] a\n\n\n\n[B] \u2581 b\n"
RATIONALE = " I am bored.\nStimulus Factors: Boredom\nBehavior: ["


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def tokenizer(family: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(str(tokenizer_packages.folder(family, tmp_path_factory.mktemp("tokenizer") / family)), None)


@pytest.fixture(scope="module")
def role(family: str) -> SystemRole:
    return "user" if family == "mistral-0.1" else "system"


@pytest.fixture(scope="module")
def tokens(tokenizer: Any, role: SystemRole) -> Tokens:
    return Tokens(tokenizer, PROFILE.stop, ChatTemplate(tokenizer, system_role=role))


def whole(tokenizer: Any, role: SystemRole, prompt: Prompt) -> list[int]:
    """Return the ids that a server gives to the same chat."""
    messages = [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
    if role == "user":
        messages = [{"role": "user", "content": f"{prompt.system}\n\n{prompt.user}"}]
    messages.append({"role": "assistant", "content": prompt.prefix})
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=False, continue_final_message=True, strftime_now=lambda form: "2026-11-29"
    )
    found: list[int] = tokenizer.encode(rendered, add_special_tokens=False)
    return found


@pytest.mark.parametrize("user", [SCENE, UNICODE, ODD], ids=["scene", "unicode", "odd"])
def test_a_prompt_has_the_tokens_of_the_whole_chat(tokenizer: Any, role: SystemRole, tokens: Tokens, user: str) -> None:
    prompt = Prompt(PROFILE.system["default"], user, PROFILE.prefix["default"], occurred_at=1_795_910_400_000_000)
    assert list(tokens.chat(prompt)) == whole(tokenizer, role, prompt)


def test_a_letter_is_the_token_that_follows_in_the_whole_chat(tokenizer: Any, role: SystemRole, tokens: Tokens) -> None:
    assert len(set(tokens.letters)) == 26
    for slot, token in enumerate(tokens.letters):
        prompt = Prompt("S.", "U.", f"Thought:\nStimulus: x\nBehavior: [{chr(65 + slot)}")
        assert whole(tokenizer, role, prompt)[-1] == token


def test_no_text_becomes_a_control_token(tokens: Tokens) -> None:
    control = tokens._plain.control_ids
    plain = tokens.chat(Prompt("S.", "[A] x\n", "Thought:"))
    for text in CORPUS:
        title = text.encode("utf-8", "replace").decode()
        hostile = tokens.chat(Prompt("S.", f"[A] {title}\n", "Thought:"))
        assert [one for one in hostile if one in control] == [one for one in plain if one in control], title


def test_the_texts_of_its_own_control_tokens_are_characters(tokens: Tokens) -> None:
    control = sorted(tokens._plain.control)[:500]
    ids = tokens.encode(" ".join(control) + "".join(control))
    assert tokens._plain.control_ids.isdisjoint(ids)


def test_the_second_pass_keeps_what_was_generated(tokens: Tokens) -> None:
    prompt = tokens.chat(Prompt("S.", "U.", "Thought:\nStimulus:"))
    generated = tokens.encode(RATIONALE)
    assert tokens.continued(prompt, generated, RATIONALE) == prompt + generated
    assert tokens.continued(prompt, generated[:-3], RATIONALE) == prompt + generated
    assert tokens.continued(prompt, (*generated, *tokens.letters[:1]), RATIONALE) == prompt + generated


def test_a_prompt_begins_once(tokenizer: Any, tokens: Tokens) -> None:
    ids = tokens.chat(Prompt("S.", "U.", "Thought:"))
    if tokenizer.bos_token_id is not None:
        assert ids.count(tokenizer.bos_token_id) <= 1
