"""A request as the body of `/v1/completions`, and its answer as vLLM's own `RequestOutput` would have it.

Of what a plain `vllm serve` offers only this takes token ids and gives them back (`return_token_ids`), and gives the
exact log-probabilities of listed tokens (`logprob_token_ids`, 0.32); `/inference/v1/generate` has to be switched on.
Only tokens that the server has told are there: one that is missing is an error of whoever reads it, never probability
0.  What is not asked for, a server fills in from the model's `generation_config.json`; so everything is asked for.
An answer that vLLM would not give to what was asked is no answer: `check`.

>>> body = params(max_tokens=1, temperature=0.0, logprob_token_ids=[32, 33], output_kind=None)
>>> body["logprobs"], body["repetition_penalty"], body["top_p"]
(2, 1.0, 1.0)
>>> letters = {"top_logprobs": [{"token_id:32": -0.1, "token_id:33": -9999.0}]}
>>> told = {"choices": [{"text": "A", "token_ids": [32], "finish_reason": "length", "logprobs": letters}]}
>>> written = output([1, 2, 3], CompletionBody.model_validate(told)).outputs[0]
>>> {token: found.logprob for token, found in written.logprobs[0].items()}
{32: -0.1, 33: -9999.0}
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field

from worker.engines.passes import mass_of

MAX_CHARS = 256  # of one token's text: the longest that we know are runs of 128 blanks
_BY_ID = re.compile(r"token_id:(0|[1-9][0-9]{0,9})")  # how vLLM names a token by its id
_PLAIN = {
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
}


class _Logprobs(BaseModel):
    top_logprobs: list[dict[str, float] | None]


class Choice(BaseModel):
    """What was written."""

    text: str
    token_ids: list[Annotated[int, Field(ge=0, lt=1 << 31)]]
    finish_reason: str | None = Field(None, max_length=100)
    logprobs: _Logprobs | None = None


class _Details(BaseModel):
    cached_tokens: int | None = Field(None, ge=0)


class _Usage(BaseModel):
    prompt_tokens_details: _Details | None = None


class CompletionBody(BaseModel):
    """What the worker reads of an answer."""

    choices: list[Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True, slots=True)
class Logprob:
    """Of one token at one step; vLLM writes -9999 where it is minus infinity."""

    logprob: float


@dataclass(frozen=True, slots=True)
class Written:
    """One completion."""

    text: str
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]]  # by step
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Output:
    """One answered request."""

    outputs: tuple[Written]
    prompt_token_ids: Sequence[int]
    num_cached_tokens: int | None  # None unless the server runs with --enable-prompt-tokens-details


def params(
    *,
    output_kind: None,  # noqa: ARG001 - a server's answer is always the final one
    detokenize: bool = True,  # noqa: ARG001 - and always has its text
    logprob_token_ids: Sequence[int] = (),
    **asked: Any,
) -> dict[str, Any]:
    """Return the parameters as vLLM's SamplingParams has them."""
    letters = {"logprob_token_ids": list(logprob_token_ids), "logprobs": len(logprob_token_ids)}
    return {**_PLAIN, **asked, **(letters if logprob_token_ids else {})}


def check(answer: CompletionBody, body: Mapping[str, Any]) -> None:
    """See that an answer is one to this body.  Raises `ValueError` if it is longer than asked, or lacks letters."""
    choice, most = answer.choices[0], body["max_tokens"]
    if len(choice.token_ids) > most or len(choice.text) > MAX_CHARS * most:
        message = f"{len(choice.token_ids)} tokens of {len(choice.text)} characters, want at most {most} tokens"
        raise ValueError(message)
    letters = body.get("logprob_token_ids", ())
    if letters and body["return_tokens_as_token_ids"]:
        told = next(iter(_steps(choice)), {})
        if missing := [token for token in letters if token not in told]:
            message = f"no log-probability of {len(missing)} of {len(letters)} letters"
            raise ValueError(message)
        mass_of([told[token].logprob for token in letters])


def output(ids: Sequence[int], answer: CompletionBody) -> Output:
    """Return the answer to a prompt of these tokens.  Raises `ValueError` if its tokens are not told by id."""
    choice = answer.choices[0]
    details = answer.usage.prompt_tokens_details if answer.usage else None
    cached = details.cached_tokens if details else None
    written = Written(choice.text, choice.token_ids, _steps(choice), choice.finish_reason)
    return Output((written,), ids, None if cached is None else min(cached, len(ids)))


def _steps(choice: Choice) -> list[dict[int, Logprob]]:
    steps = choice.logprobs.top_logprobs if choice.logprobs else []
    return [{_id(name): Logprob(value) for name, value in (step or {}).items()} for step in steps]


def _id(name: str) -> int:
    found = _BY_ID.fullmatch(name)
    if found is None:
        message = "a token is not told by its id"
        raise ValueError(message)
    return int(found[1])
