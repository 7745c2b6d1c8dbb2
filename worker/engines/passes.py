r"""Converts a draw to requests to vLLM, and their outputs to probabilities.

    two passes   prompt + "Thought:\nStimulus:"   -> rationale, up to and including "Behavior: ["
                 all of that                      -> one position: exact log-probabilities of the offered letters
    one pass     prompt + "Thought:\nStimulus:"   -> rationale and letter; the letters' log-probabilities at every step,
                                                     read where the letter was written
    direct       prompt + "Behavior: ["           -> one position, no rationale

Temperature and top-p apply to the rationale only: log-probabilities are taken before both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.core.prompts.prompt import Profile, letter
from worker.core.simulation.draws import Ask, Drawn, Usage
from worker.core.simulation.questions import Status
from worker.engines.tokens import Tokens
from worker.settings.groups import PromptedEngineSettings

ABSENT = 1e-10  # what the reference counts for a letter whose log-probability did not come back, or is lower
ROUNDING = 1e-3  # tolerance above 0 for a log-probability, and above 1 for a sum of probabilities


@dataclass(frozen=True, slots=True)
class Passes:
    """Builds the requests of one worker; `params` is vLLM's SamplingParams, `final` its FINAL_ONLY."""

    settings: PromptedEngineSettings
    profile: Profile
    tokens: Tokens
    params: Any
    final: Any

    @property
    def stop(self) -> str:
        """The string that ends a rationale."""
        return self.profile.stop

    def rationale(self, ask: Ask) -> Any:
        """Return the parameters for a rationale, up to the stop string."""
        return self._written(ask, stop=[self.stop])

    def rationale_and_letter(self, ask: Ask) -> Any:
        """Return the parameters for rationale and letter, with the log-probabilities of all letters per step."""
        stops = [self.stop + letter(slot) for slot in range(ask.num_slots)]
        return self._written(ask, stop=stops, logprob_token_ids=list(self.tokens.letters[: ask.num_slots]))

    def letters(self, num_slots: int, seed: int | None = None) -> Any:
        """Return the parameters for one position, without decoding: vLLM's front end would decode each letter."""
        ids = list(self.tokens.letters[:num_slots])
        if self.settings.protocol == "reference":
            return self.params(
                max_tokens=1, temperature=1.0, logprobs=num_slots, allowed_token_ids=ids, seed=seed,
                output_kind=self.final,
            )  # fmt: skip
        return self.params(
            max_tokens=1, temperature=0.0, logprob_token_ids=ids, output_kind=self.final, detokenize=False
        )

    def read_letters(self, output: Any, num_slots: int) -> tuple[tuple[float, ...], float]:
        """Return the probability of each letter given that one is chosen, and their total probability."""
        steps = output.outputs[0].logprobs
        if not steps:
            message = "no log-probabilities of the letters came back"
            raise ValueError(message)
        if self.settings.protocol == "reference":
            return self._as_reference(steps[0], num_slots)
        return self._probabilities(steps[0], num_slots)

    def read_both(self, output: Any, num_slots: int) -> Drawn | None:
        """Return the draw of a single pass; None if no step starts right after the stop string.

        Then the model did not reach an answer, or wrote bracket and letter as one token.
        """
        written = output.outputs[0]
        step = self._answer_step(written.token_ids)
        if step is None:
            return None
        usage = usage_of(output)
        probabilities, mass = self._probabilities(written.logprobs[step], num_slots)
        text = self.tokens.decode(written.token_ids[:step]).removesuffix(self.stop)
        return Drawn(Status.OK, probabilities, letter_mass=mass, text=text, finish_reason="stop", usage=usage)

    def _written(self, ask: Ask, **more: Any) -> Any:
        writing = self.settings.writing(self.profile.writing)
        return self.params(
            temperature=writing.temperature,
            top_p=writing.top_p,
            max_tokens=writing.max_tokens,
            seed=ask.seed,
            include_stop_str_in_output=True,
            output_kind=self.final,
            **more,
        )

    def _answer_step(self, ids: Sequence[int]) -> int | None:
        """Return the step before which the text first ended with the stop string."""
        for step in range(len(ids)):
            # The stop string ends in one of its own tokens, so few steps are decoded.
            if self.tokens.decode(ids[max(0, step - len(self.stop)) : step]).endswith(self.stop):
                return step
        return None

    def _as_reference(self, found: Mapping[int, Any], num_slots: int) -> tuple[tuple[float, ...], float]:
        """Return the same of the letters that are among the most probable tokens; the others count `ABSENT`.

        So does one whose probability is lower: where all are, nothing is known, and the answer is uniform.
        """
        letters = self.tokens.letters[:num_slots]
        mass = mass_of([found[token].logprob for token in letters if token in found])
        raw = [max(ABSENT, math.exp(found[token].logprob)) if token in found else ABSENT for token in letters]
        return tuple(one / math.fsum(raw) for one in raw), min(1.0, mass)

    def _probabilities(self, found: Mapping[int, Any], num_slots: int) -> tuple[tuple[float, ...], float]:
        letters = self.tokens.letters[:num_slots]
        if missing := sum(token not in found for token in letters):
            message = f"no log-probability of {missing} of {num_slots} letters came back"
            raise ValueError(message)
        logprobs = [found[token].logprob for token in letters]
        mass = mass_of(logprobs)
        if not mass > 0:
            message = "every offered letter has probability 0"
            raise ValueError(message)
        return tuple(math.exp(logprob) / mass for logprob in logprobs), min(1.0, mass)


def mass_of(logprobs: Sequence[float]) -> float:
    """Return the total probability of some tokens of one step.  Raises `ValueError` for invalid log-probabilities."""
    if not all(logprob <= ROUNDING for logprob in logprobs):  # False for NaN, too
        message = "a log-probability is not a number, or is above 0"
        raise ValueError(message)
    mass = math.fsum(map(math.exp, logprobs))
    if mass > 1 + ROUNDING:
        message = f"probabilities of one step sum to {mass:.4g}"
        raise ValueError(message)
    return mass


def usage_of(output: Any) -> Usage:
    """Return the token counts of one request."""
    return Usage(
        prompt_tokens=len(output.prompt_token_ids),
        cached_tokens=output.num_cached_tokens or 0,
        completion_tokens=len(output.outputs[0].token_ids),
    )
