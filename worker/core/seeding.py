"""All randomness of the worker: keyed hashes, never Python's `hash` and never a global generator.

The same words give the same number in every process, on every machine and for ever, so a record that comes
again is asked in the same order, with the same seeds, and sampled to the same choice.

>>> unit("event-1", "choice") == unit("event-1", "choice")
True
>>> 0 <= unit("a") < 1
True
>>> unit("ab", "c") == unit("a", "bc")      # words are kept apart
False
"""

from hashlib import blake2b

_PERSON = b"mirrorstream.v1"  # keeps these hashes apart from those of any other program, at most 16 bytes


def digest(*words: str) -> bytes:
    """Hash words to 8 bytes; each word is framed by its length, so ("ab", "c") is not ("a", "bc")."""
    state = blake2b(digest_size=8, person=_PERSON)
    for word in words:
        data = word.encode()
        state.update(len(data).to_bytes(4, "big") + data)
    return state.digest()


def unit(*words: str) -> float:
    """Hash words to a number in [0, 1): the first 53 bits, what a double holds exactly."""
    return (int.from_bytes(digest(*words), "big") >> 11) / (1 << 53)


def seed(*words: str) -> int:
    """Hash words to a seed in [0, 2**63), what an Avro long and vLLM accept."""
    return int.from_bytes(digest(*words), "big") >> 1
