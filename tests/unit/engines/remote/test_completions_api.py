"""What a server says is believed only where vLLM could have said it to what was asked."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from worker.engines.remote.completions_api import MAX_CHARS, CompletionBody, check, output, params

BODY = params(max_tokens=1, temperature=0.0, logprob_token_ids=[32, 33], output_kind=None)
RATIONALE = params(max_tokens=3, temperature=0.7, output_kind=None)
GOOD = {"token_id:32": -0.1, "token_id:33": -3.0}


def letters(step: dict[str, float] | None, **more: Any) -> CompletionBody:
    return answer(text="A", token_ids=[32], logprobs={"top_logprobs": [step]}, **more)


def answer(cached: int | None = None, **choice: Any) -> CompletionBody:
    usage = {"prompt_tokens_details": {"cached_tokens": cached}}
    return CompletionBody.model_validate({"choices": [choice], "usage": usage})


def test_letters_that_vllm_would_tell_are_read() -> None:
    check(letters(GOOD), BODY)
    check(letters({"token_id:32": 2e-7, "token_id:33": -math.inf, "token_id:7": -9999.0}), BODY)


@pytest.mark.parametrize("wrong", [math.inf, math.nan, 2.0, 0.01])
def test_what_is_no_log_probability_is_no_answer(wrong: float) -> None:
    with pytest.raises(ValueError, match="not a number, or is above 0"):
        check(letters({**GOOD, "token_id:33": wrong}), BODY)


def test_letters_of_more_than_all_tokens_together_are_no_answer() -> None:
    with pytest.raises(ValueError, match="sum to 2"):
        check(letters({"token_id:32": 0.0, "token_id:33": 0.0}), BODY)


@pytest.mark.parametrize(
    "name", ["token_id: 33", "token_id:+33", "token_id:033", "token_id:3_3", "33", "B", "token_id:"]
)
def test_a_token_is_read_by_its_very_name(name: str) -> None:
    """`int` takes blanks, signs and underscores; then one name overwrites another's value."""
    with pytest.raises(ValueError, match="not told by its id"):
        check(letters({**GOOD, name: -1.0}), BODY)


@pytest.mark.parametrize(
    "told", [None, {"top_logprobs": []}, {"top_logprobs": [None]}, {"top_logprobs": [{"token_id:32": -0.1}]}]
)
def test_letters_that_are_missing_make_it_no_answer(told: Any) -> None:
    with pytest.raises(ValueError, match="no log-probability of"):
        check(answer(text="A", token_ids=[32], logprobs=told), BODY)


def test_more_tokens_or_text_than_asked_for_is_no_answer() -> None:
    check(answer(text="x" * 3 * MAX_CHARS, token_ids=[1, 2, 3]), RATIONALE)
    for wrong in (answer(text="x", token_ids=[1] * 4), answer(text="x" * (3 * MAX_CHARS + 1), token_ids=[1])):
        with pytest.raises(ValueError, match="want at most 3 tokens"):
            check(wrong, RATIONALE)


@pytest.mark.parametrize(
    "wrong", [{"cached": -7}, {"token_ids": [-1]}, {"token_ids": [10**12]}, {"finish_reason": "x" * 1000}]
)
def test_counts_and_ids_are_in_their_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        answer(**{"text": "x", "token_ids": [1], **wrong})


def test_no_more_tokens_were_cached_than_the_prompt_has() -> None:
    """A count goes into metrics and into every response, as a number of bounded size."""
    assert output([1, 2, 3], letters(GOOD, cached=10**30)).num_cached_tokens == 3
    assert output([1, 2, 3], letters(GOOD, cached=2)).num_cached_tokens == 2
    without = CompletionBody.model_validate({"choices": [{"text": "", "token_ids": []}], "usage": None})
    assert output([1, 2, 3], without).num_cached_tokens is None
