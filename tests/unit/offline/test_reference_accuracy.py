"""The letters that are sampled, as the reference's own code sampled them (its filter, commit d258eb9, 2026-11-30)."""

import pytest

from worker.offline.evaluate.reference_accuracy import Sampler

LETTERS = {
    2: "BBBABBABBABBBBAAAABBABBBAAABABBABBABABBA",
    3: "CBCABCABCACCBCAAACBCCCCBABACABBCBCACBBCB",
    5: "DDCCBCCEECDDCEAAAEEDEDCEACAEDBCECDACCDEE",
    12: "HIGHEIEKKEJGHJAAAKJKLJGIBHBKGFDJEHAGHGKH",
}


def draws(num_options: int) -> list[tuple[float, ...]]:
    """Return the probabilities of 40 draws; some are 0."""
    weights = [[(7 * draw + 3 * slot) % 11 for slot in range(num_options)] for draw in range(40)]
    return [tuple(one / sum(each) for one in each) for each in weights]


@pytest.mark.parametrize("num_options", LETTERS)
def test_the_letters_are_those_that_the_references_code_sampled(num_options: int) -> None:
    sampler = Sampler()
    slots = [ord(letter) - ord("A") for letter in LETTERS[num_options]]
    assert [sampler.hit([p], (slot,)) for p, slot in zip(draws(num_options), slots, strict=True)] == [1.0] * 40


@pytest.mark.parametrize(("at", "slot"), [(1 - 1e-9, 1), (1 - 2.5e-10, 2), (1 - 1e-12, 4)])
def test_fewer_than_five_options_are_filled_up_as_in_the_reference(
    at: float, slot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler()
    monkeypatch.setattr(sampler, "_drawn", [at])
    assert sampler.hit([(0.5, 0.5)], (slot,)) == 1
