"""How much of the prompts a prefix cache can save, to hold against what it saved.

A cache works in whole blocks, and the last token of a prompt is always computed.  An ideal one never forgets:

>>> prompts = [(1, 2, 3, 4, 5), (1, 2, 3, 4, 6), (1, 2, 9, 9, 9)]
>>> ideal_computed(prompts, block=2), allowed(num_tokens=5, known=5, block=2)
(9, 4)
"""

from collections.abc import Iterable, Sequence

from worker.bench.model.engine import Noted


def ideal_computed(prompts: Iterable[Sequence[int]], *, block: int) -> int:
    """Count the tokens that a cache without a limit leaves to be computed, one prompt after the other."""
    seen: set[int] = set()
    computed = 0
    for prompt in prompts:
        keys = _keys(prompt, block)
        cached = 0
        while cached < (len(prompt) - 1) // block and keys[cached] in seen:
            cached += 1
        seen.update(keys)
        computed += len(prompt) - cached * block
    return computed


def allowed(*, num_tokens: int, known: int, block: int) -> int:
    """Count the tokens of a prompt that may be cached if the first `known` were computed before."""
    return min(num_tokens - 1, known) // block * block


def second_pass_share(noted: Iterable[Noted], *, block: int) -> float:
    """Return the cached tokens of all second passes over what whole blocks allow."""
    second = [one for one in noted if one.second]
    may = sum(allowed(num_tokens=one.prompt_tokens, known=one.known_tokens, block=block) for one in second)
    return sum(one.cached_tokens for one in second) / may


def first_pass_computed(noted: Iterable[Noted]) -> int:
    """Count the prompt tokens that all first passes left to be computed."""
    return sum(one.prompt_tokens - one.cached_tokens for one in noted if not one.second)


def _keys(prompt: Sequence[int], block: int) -> list[int]:
    """Return a hash of every whole block with all that stands before it."""
    keys, before = [], 0
    for start in range(0, len(prompt) - block + 1, block):
        before = hash((before, tuple(prompt[start : start + block])))
        keys.append(before)
    return keys
