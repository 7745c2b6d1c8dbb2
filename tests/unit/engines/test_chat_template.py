"""Every chat template works, or one line says what to set; what it renders is part of the fingerprint."""

from pathlib import Path
from typing import Any

import pytest

from worker.core.errors import BadSettings
from worker.core.prompts.prompt import Prompt
from worker.engines.chat_template import ChatTemplate, SystemRole
from worker.engines.model_files import TINY, model_path
from worker.engines.tokens import Tokens, load

DAY_US = 86_400_000_000
PLAIN = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}"
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + PLAIN
)
ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}<{{ m['role'] }}>{{ m['content'] }}"
    "{% endfor %}"
)
EACH = "{% for m in messages %}{% if m['role'] != 'system' %}<{{ m['role'] }}>{{ m['content'] }}"
DROPPING = (
    "{% for m in messages %}{% if m['role'] != 'system' %}<{{ m['role'] }}>{{ m['content'] }}{% endif %}{% endfor %}"
)
PARTS = (
    "{% for m in messages %}{{ m['role'] }}: {% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% endfor %}"
)
SYSTEM_LAST = EACH + (
    "{% if m['role'] == 'user' %}<system>{{ messages[0]['content'] }}{% endif %}{% endif %}{% endfor %}"
)
TRIMMING = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}</>{% endfor %}"
THINKING = PLAIN.replace("{{ m['content'] }}", "{% if loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}")
DATED = "{{ strftime_now('%d %b %Y') }}" + PLAIN
BROKEN = "{% for m in messages %}{{ m['content'].parts.first }}{% endfor %}"
ONLY_USER = "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}"
TURNS = "<system>Be a user.</><user># Exposure List\n[A] a\n\n</><assistant>"
PROMPT = Prompt("Be a user.", "# Exposure List\n[A] a\n\n", "Thought:\nStimulus:", occurred_at=20_000 * DAY_US + 5)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load(str(model_path(TINY)), None)


def shown(tokenizer: Any, source: str, role: SystemRole = "system", prompt: Prompt = PROMPT) -> str:
    """Return the prompt as the model gets it."""
    tokens = Tokens(tokenizer, "Behavior: [", ChatTemplate(tokenizer, source=source, system_role=role))
    return tokens.decode(tokens.chat(prompt))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (PLAIN, f"{TURNS}Thought:\nStimulus:"),
        (PARTS, "system: Be a user.user: # Exposure List\n[A] a\n\nassistant: Thought:\nStimulus:"),
        (SYSTEM_LAST, "<user># Exposure List\n[A] a\n\n<system>Be a user.<assistant>Thought:\nStimulus:"),
        (TRIMMING, "<system>Be a user.</><user># Exposure List\n[A] a</><assistant>Thought:\nStimulus:"),
        (
            THINKING,
            f"{TURNS}<think>\n\n</think>\n\nThought:\nStimulus:",
        ),
        (
            DATED,
            f"04 Oct 2024{TURNS}Thought:\nStimulus:",
        ),
    ],
    ids=["turns that end", "content as parts", "system text last", "trimming", "empty thinking block", "event's date"],
)
def test_a_template_shows_all_texts_up_to_the_start_of_the_answer(tokenizer: Any, source: str, text: str) -> None:
    assert shown(tokenizer, source) == text


@pytest.mark.parametrize("source", [NO_SYSTEM, ALTERNATING, DROPPING])
def test_a_system_text_that_is_refused_goes_into_the_users_turn(tokenizer: Any, source: str) -> None:
    with pytest.raises(BadSettings, match=r"^chat template: .*: set system_role=user, which puts .*$"):
        ChatTemplate(tokenizer, source=source)
    text = shown(tokenizer, source, "user")
    assert text.startswith("<user>Be a user.\n\n# Exposure List\n[A] a\n\n")
    assert text.endswith("<assistant>Thought:\nStimulus:")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            BROKEN,
            r"^chat template: refuses the messages \(.+\): set chat_template=FILE, a Jinja template that takes .*$",
        ),
        ("{% for m in", r"^chat template: refuses the messages \(.+\): set chat_template=FILE"),
        (ONLY_USER, "^chat template: leaves out the text of system and assistant: set chat_template=FILE"),
        (PLAIN + PLAIN, "^chat template: shows a text twice: set chat_template=FILE"),
    ],
)
def test_a_template_of_no_use_is_one_line_that_says_what_to_set(tokenizer: Any, source: str, why: str) -> None:
    with pytest.raises(BadSettings, match=why) as told:
        ChatTemplate(tokenizer, source=source)
    assert "\n" not in str(told.value)


def test_a_tokenizer_without_a_template_says_what_to_set() -> None:
    bare = load(str(model_path(TINY)), None)
    bare.chat_template = None
    with pytest.raises(BadSettings, match=r"^chat template: the tokenizer has none, .*: set chat_template=FILE"):
        ChatTemplate(bare)
    assert ChatTemplate(bare, source=PLAIN).digest()


def test_what_is_rendered_tells_templates_apart(tokenizer: Any) -> None:
    sources = (PLAIN, PARTS, SYSTEM_LAST, TRIMMING, THINKING, DATED)
    digests = {ChatTemplate(tokenizer, source=source).digest() for source in sources}
    digests.add(ChatTemplate(tokenizer, source=PLAIN, system_role="user").digest())
    assert len(digests) == len(sources) + 1
    assert ChatTemplate(tokenizer, source=PLAIN + "{# a remark #}").digest() not in digests


def test_a_text_cannot_change_what_is_rendered(tokenizer: Any) -> None:
    source = "{% for m in messages %}{% if 'MAGIC' in m['content'] %}<odd>{% endif %}{{ m['content'] }}{% endfor %}"
    text = shown(tokenizer, source, prompt=Prompt("S.", "MAGIC MARK-OF-THE-ASSISTANT-TEXT", "Thought:"))
    assert text == "S.MAGIC MARK-OF-THE-ASSISTANT-TEXTThought:"


def test_a_prompt_never_begins_twice(tokenizer: Any) -> None:
    begun = load(str(model_path(TINY)), None)
    begun.add_special_tokens({"bos_token": "<|endoftext|>"})
    tokens = Tokens(begun, "Behavior: [", ChatTemplate(begun, source="<|endoftext|>{{ bos_token }}" + PLAIN))
    ids = tokens.chat(PROMPT)
    assert ids[0] == begun.bos_token_id
    assert ids.count(begun.bos_token_id) == 1


@pytest.mark.parametrize(
    ("start", "named"),
    [("<|endoftext|>" * 3, True), ("<|endoftext|>" * 3, False), ("<|endoftext|>\n<|endoftext|>", True)],
)
def test_a_text_begins_once_whatever_its_template_writes(start: str, *, named: bool) -> None:
    begun = load(str(model_path(TINY)), None)
    begun.add_special_tokens({"bos_token": "<|endoftext|>"})
    begin_id = begun.bos_token_id
    if not named:
        begun.bos_token = None
    ids = Tokens(begun, "Behavior: [", ChatTemplate(begun, source=start + PLAIN)).chat(PROMPT)
    assert ids.count(begin_id) == 1


def test_templates_that_differ_on_other_days_alone_are_told_apart(tokenizer: Any) -> None:
    dated, fixed = "{{ strftime_now('%Y') }}" + PLAIN, "1970" + PLAIN
    assert ChatTemplate(tokenizer, source=dated).digest() != ChatTemplate(tokenizer, source=fixed).digest()


def test_a_template_that_shows_parts_as_python_writes_them_is_refused(tokenizer: Any) -> None:
    source = "{% for m in messages %}{% if m['content'] is string %}{{ raise_exception('parts') }}{% endif %}"
    with pytest.raises(BadSettings, match="chat template: "):
        ChatTemplate(tokenizer, source=source + "<{{ m['role'] }}>{{ m['content'][:3] }}{% endfor %}")


def test_a_token_that_takes_blanks_away_takes_those_of_the_prompt(tokenizer: Any, tmp_path: Path) -> None:
    """Phi-3's `<|user|>` takes the blanks behind it, as the whole tokenizer does."""
    from tokenizers import AddedToken

    stripping = load(str(model_path(TINY)), None)
    stripping.add_special_tokens({"additional_special_tokens": [AddedToken("<|u|>", rstrip=True, lstrip=True)]})
    source = "{% for m in messages %}{{ m['role'] }}\n <|u|>\n {{ m['content'] }}{% endfor %}"
    template = ChatTemplate(stripping, source=source)
    ids = Tokens(stripping, "Behavior: [", template).chat(Prompt("S.", "U.", "T:"))
    assert list(ids) == stripping.encode("system\n <|u|>\n S.user\n <|u|>\n U.assistant\n <|u|>\n T:")
