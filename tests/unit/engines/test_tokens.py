"""How much of what was written is kept as its own tokens: the same as trying every length, in few tries."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer

from worker.core.prompts.prompt import Prompt
from worker.engines.model_files import TINY, model_path
from worker.engines.tokens import Tokens, load

PLAIN = Tokenizer.from_file(str(Path(model_path(TINY), "tokenizer.json")))
NUM_BYTES = 256 + 16  # the first ids are single bytes: parts of characters among them


class Counting(Tokens):
    def __init__(self) -> None:
        self._plain: Any = PLAIN
        self.num_decoded = 0

    def decode(self, ids: Any) -> str:
        self.num_decoded += 1
        return super().decode(ids)


def agreed_one_by_one(tokens: Tokens, ids: list[int], text: str) -> int:
    num = len(ids)
    while num and not text.startswith(tokens.decode(ids[:num])):
        num -= 1
    return num


texts = st.text(st.sampled_from(" abcé日\U0001f600\ufffd[\n"), max_size=12)
some_ids = st.lists(st.integers(0, NUM_BYTES), max_size=12) | texts.map(lambda text: PLAIN.encode(text).ids)


@settings(deadline=None)  # a busy machine is no counterexample
@given(some_ids, some_ids, st.integers(0, 12), texts)
def test_as_many_ids_are_kept_as_are_a_start_of_the_text(start: list[int], rest: list[int], cut: int, end: str) -> None:
    tokens = Counting()
    for text in (tokens.decode(start) + end, tokens.decode(start + rest)[:cut] + end, end):
        assert tokens._num_agreed(start + rest, text) == agreed_one_by_one(tokens, start + rest, text)


def test_a_character_in_several_tokens_is_kept_or_dropped_as_a_whole() -> None:
    tokens = Counting()
    face = PLAIN.encode("\U0001f600").ids
    assert len(face) > 1
    assert tokens._num_agreed(face, "\U0001f600!") == len(face)
    assert tokens._num_agreed([*face, *face[:1]], "\U0001f600!") == len(face)


@pytest.mark.parametrize("num", [160, 5_000])
def test_ids_that_have_nothing_of_the_text_are_found_out_in_few_tries(num: int) -> None:
    """One try each took a second for each 1,000 ids, on the event loop."""
    tokens = Counting()
    (other,) = PLAIN.encode("a").ids
    assert tokens._num_agreed([other] * num, "xyz") == 0
    assert tokens.num_decoded < 20


def test_bytes_that_never_become_a_character_are_given_up_after_some() -> None:
    """As many tries as there are ids took seconds; fewer ids are kept than could be, and never wrong ones."""
    tokens = Counting()
    start = list(PLAIN.encode("abc").ids)
    byte = next(number for number in range(NUM_BYTES) if PLAIN.decode([number]) == "\ufffd")
    num = tokens._num_agreed(start + [byte] * 5_000, "abcd")
    assert tokens.decode((start + [byte] * 5_000)[:num]) in {"", "a", "ab", "abc"}
    assert tokens.num_decoded < 100


def test_a_prompt_that_does_not_fit_is_encoded_only_until_that_shows() -> None:
    tokens = Tokens(load(str(model_path(TINY)), None), "Behavior: [")
    for has_blocks in (True, False):
        tokens._has_blocks = has_blocks
        for num in (1, 100, 2_000):
            prompt = Prompt("System.", "\n\n".join(f"# Entry {n}\nsome words" for n in range(num)), "Thought:")
            whole, some = tokens.chat(prompt), tokens.chat(prompt, 1_000)
            assert some == whole if len(whole) <= 1_000 else 1_000 < len(some) <= min(len(whole), 6_000)


def test_the_end_of_a_turn_is_as_long_as_in_the_whole_chat() -> None:
    tokenizer = load(str(model_path(TINY)), None)
    tokens, prompt = Tokens(tokenizer, "Behavior: ["), Prompt("System.", "# Entry", "Thought:")
    messages = [
        {"role": role, "content": content}
        for role, content in (("system", prompt.system), ("user", prompt.user), ("assistant", prompt.prefix))
    ]
    whole = tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)
    assert len(whole) == len(tokens.chat(prompt)) + tokens.turn_end()
    assert tokens.turn_end() > 0


def test_kept_blocks_take_their_limit_in_memory() -> None:
    tokens = Tokens(load(str(model_path(TINY)), None), "Behavior: [")
    tokens._blocks._max_bytes = 1 << 20
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for n in range(6_000):
            tokens._encode_kept(f"[A] film {n} " + "and so on " * (n % 40))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tokens._blocks.num_bytes > 0.95 * (1 << 20)
    assert after - before < 1.1 * (1 << 20)
