"""All randomness of the worker: keyed hashes, never Python's `hash` and never a global generator.

The same words give the same number in every process, on every machine and for ever, so a record that comes
again is asked in the same order, with the same seeds, and sampled to the same choice.

>>> unit("event-1", "choice") == unit("event-1", "choice")
True
>>> 0 <= unit("a") < 1
True
>>> unit("ab", "c") == unit("a", "bc")      # words are kept apart
False
>>> Digests("event-1", "0").digest("item") == digest("event-1", "0", "item")
True
"""

from collections.abc import Iterable
from hashlib import blake2b

_PERSON = b"mirrorstream.v1"  # keeps these hashes apart from those of any other program, at most 16 bytes


class Digests:
    """Hashes words that begin alike: `Digests("a").digest("b")` is `digest("a", "b")`."""

    def __init__(self, *words: str) -> None:
        self._begun = blake2b(_framed(words), digest_size=8, person=_PERSON)

    def digest(self, *words: str) -> bytes:
        """Hash the words that it begins with and these to 8 bytes."""
        state = self._begun.copy()
        state.update(_framed(words))
        return state.digest()


def digest(*words: str) -> bytes:
    """Hash words to 8 bytes; each word is framed by its length, so ("ab", "c") is not ("a", "bc")."""
    return blake2b(_framed(words), digest_size=8, person=_PERSON).digest()


def _framed(words: Iterable[str]) -> bytes:
    return b"".join([len(data).to_bytes(4, "big") + data for data in map(str.encode, words)])


def unit(*words: str) -> float:
    """Hash words to a number in [0, 1): the first 53 bits, what a double holds exactly."""
    return (int.from_bytes(digest(*words), "big") >> 11) / (1 << 53)


def seed(*words: str) -> int:
    """Hash words to a seed in [0, 2**63), what an Avro long and vLLM accept."""
    return int.from_bytes(digest(*words), "big") >> 1
