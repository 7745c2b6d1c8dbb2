"""What vLLM gives back, read: which step's probabilities are the letter's, with outputs as vLLM makes them."""

from dataclasses import dataclass
from math import log
from types import SimpleNamespace
from typing import Any

import pytest

from worker.core.simulation.questions import Status
from worker.engines.passes import Passes
from worker.settings import load, prompt_profiles

PIECES = ("<pad>", " x", "\n", "Behavior", ":", " [", "A", "B", " [B", "]", "C")
LETTERS = (PIECES.index("A"), PIECES.index("B"))


@dataclass
class FakeTokens:
    """A vocabulary of pieces."""

    letters: tuple[int, ...] = LETTERS

    def decode(self, ids: Any) -> str:
        return "".join(PIECES[token] for token in ids)


def passes() -> Passes:
    return Passes(load(), prompt_profiles.load("mirror-v1"), FakeTokens(), None, None)  # type: ignore[arg-type]


def output(*pieces: str, finish_reason: str = "stop") -> Any:
    """Make an output in which step n gives A the probability 1/(n + 2), and B half of that."""
    ids = [PIECES.index(piece) for piece in pieces]
    steps = [
        {LETTERS[0]: SimpleNamespace(logprob=log(1 / (n + 2))), LETTERS[1]: SimpleNamespace(logprob=log(0.5 / (n + 2)))}
        for n in range(len(ids))
    ]
    written = SimpleNamespace(text="".join(pieces), token_ids=ids, logprobs=steps, finish_reason=finish_reason)
    return SimpleNamespace(outputs=[written], prompt_token_ids=[1, 2], num_cached_tokens=None)


def test_one_pass_reads_the_step_after_the_stop_string() -> None:
    drawn = passes().read_both(output(" x", "\n", "Behavior", ":", " [", "B"), 2)
    assert drawn is not None
    assert (drawn.status, drawn.text, drawn.finish_reason) == (Status.OK, " x\n", "stop")
    assert drawn.slot_probabilities == pytest.approx((2 / 3, 1 / 3))
    assert drawn.letter_mass == pytest.approx(1.5 / 7)  # of step 5


def test_one_pass_reads_the_first_answer_of_two_and_that_of_a_letter_not_offered() -> None:
    twice = passes().read_both(output("Behavior", ":", " [", "C", "]", "Behavior", ":", " [", "A"), 2)
    assert twice is not None
    assert twice.letter_mass == pytest.approx(1.5 / 5)  # of step 3
    cut = passes().read_both(output("Behavior", ":", " [", "C", "]", finish_reason="length"), 2)
    assert cut is not None
    assert cut.status is Status.OK


@pytest.mark.parametrize(
    "pieces",
    [(" x", "\n"), ("Behavior", ":", " [B"), ("Behavior", ":", " [")],
    ids=["no answer", "bracket and letter in one token", "ended at the bracket"],
)
def test_where_no_step_stands_after_the_stop_string_one_pass_has_nothing(pieces: tuple[str, ...]) -> None:
    assert passes().read_both(output(*pieces), 2) is None


@pytest.mark.parametrize("wrong", [float("inf"), float("nan"), 1.0, 0.0])
def test_letters_that_have_no_probabilities_at_all_are_an_error_and_no_guess(wrong: float) -> None:
    found = output("A")
    found.outputs[0].logprobs = [{token: SimpleNamespace(logprob=wrong) for token in LETTERS}]
    with pytest.raises(ValueError, match=r"log-probability|sum to 2"):
        passes().read_letters(found, 2)


def test_letters_of_no_probability_are_an_error_and_no_guess() -> None:
    found = output("A")
    found.outputs[0].logprobs = [{token: SimpleNamespace(logprob=float("-inf")) for token in LETTERS}]
    with pytest.raises(ValueError, match="probability 0"):
        passes().read_letters(found, 2)


@pytest.mark.parametrize("logprobs", [None, [], [{}]])
def test_letters_that_did_not_come_back_are_an_error_that_says_so(logprobs: Any) -> None:
    """As with speculative decoding: its engine gives none."""
    found = SimpleNamespace(outputs=[SimpleNamespace(logprobs=logprobs)])
    with pytest.raises(ValueError, match=r"no log-probabilit.* of (the|2 of 2) letters came back"):
        passes().read_letters(found, 2)


def test_the_reference_counts_letters_that_did_not_come_back_as_next_to_nothing() -> None:
    own = Passes(load(None, {"protocol": "reference"}), prompt_profiles.load("mirror-v1"), FakeTokens(), dict, None)  # type: ignore[arg-type]
    found = SimpleNamespace(outputs=[SimpleNamespace(logprobs=[{LETTERS[1]: SimpleNamespace(logprob=log(0.25))}])])
    probabilities, mass = own.read_letters(found, 2)
    assert probabilities == pytest.approx((4e-10, 1))
    assert mass == pytest.approx(0.25)
    found.outputs[0].logprobs[0][LETTERS[1]].logprob = log(1e-13)  # lower than what did not come back
    probabilities, mass = own.read_letters(found, 2)
    assert probabilities == pytest.approx((0.5, 0.5))
    assert mass == pytest.approx(1e-13)
    asked = own.letters(2, 7)
    assert (asked["logprobs"], asked["allowed_token_ids"]) == (2, list(LETTERS))
    assert (asked["temperature"], asked["seed"]) == (1, 7)
