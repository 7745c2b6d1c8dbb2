"""Which topics a subscription reads, found as the client and the broker find them.

A name is a topic.  What starts with `^` is a pattern, and its dialect depends on the group protocol:

    classic     POSIX extended, searched in the name: `^eu|us` also finds `sim-in.us`.  The client calls regcomp and
                regexec of the C library (librdkafka 2.16, rdregex.c), and so do we
    consumer    RE2, against the whole name: `^eu|us` finds `eu` and `us` alone.  The broker matches (RE2/J, KIP-848);
                the client refuses beforehand what is no POSIX pattern

>>> TopicPatterns(["^eu|us"], "classic").read(["eu", "sim-in.us", "us"])
['eu', 'sim-in.us', 'us']
>>> TopicPatterns(["^eu|us"], "consumer").read(["eu", "sim-in.us", "us"])
['eu', 'us']
>>> TopicPatterns(["^eu["], "classic")
Traceback (most recent call last):
worker.core.errors.BadSettings: input_topics: '^eu[' is no POSIX extended regular expression: Invalid regular expression
"""

import ctypes
from collections.abc import Iterable
from weakref import finalize

import re2

from worker.core.errors import BadSettings

_REG_EXTENDED, _REG_NOSUB = 1, 8  # of regex.h; glibc and musl agree
_REGEX_BYTES = 512  # of a regex_t, which has 64 in glibc and musl
_REG_NOMATCH = 1
# Kafka's own; a pattern finds them as any other topic (both protocols, librdkafka 2.16 and Kafka 4.3 [M]).
INTERNAL = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})
MAX_TOLD = 10  # topics shown of a long list


class TopicPatterns:
    """The input topics of one subscription."""

    def __init__(self, input_topics: Iterable[str], group_protocol: str) -> None:
        """Compile the patterns.  Raises `BadSettings` for one that the client or the broker would refuse."""
        every = list(input_topics)
        self.names = frozenset(one for one in every if not is_pattern(one))
        self.patterns = tuple(one for one in every if is_pattern(one))
        posix = [_Posix(one) for one in self.patterns]
        others = [_Re2(one) for one in self.patterns] if group_protocol != "classic" else []
        self._matchers: list[_Posix | _Re2] = [*(others or posix)]

    def entries_for(self, topic: str) -> list[str]:
        """Return the entries of `input_topics` that give a topic."""
        named = [topic] if topic in self.names else []
        found = zip(self.patterns, self._matchers, strict=True)
        return named + [pattern for pattern, matcher in found if matcher.finds(topic)]

    def never(self, output_topics: Iterable[str]) -> list[str]:
        """Return which topics the subscription gives that no worker may read: those it writes, and Kafka's own."""
        return self.read({*output_topics, *INTERNAL})

    def read(self, topics: Iterable[str]) -> list[str]:
        """Return which of these topics the subscription gives, sorted."""
        return sorted(one for one in topics if one in self.names or any(match.finds(one) for match in self._matchers))


def is_pattern(topic: str) -> bool:
    """Return True if an entry of `input_topics` is a pattern."""
    return topic.startswith("^")


def shown(topics: Iterable[str]) -> str:
    """Return topics for people, a long list cut.

    >>> shown("abcdefghijkl")
    'a, b, c, d, e, f, g, h, i, j and 2 more'
    """
    every = list(topics)
    more = f" and {len(every) - MAX_TOLD} more" if len(every) > MAX_TOLD else ""
    return ", ".join(every[:MAX_TOLD]) + more


class _Posix:
    """A pattern compiled by the C library."""

    def __init__(self, pattern: str) -> None:
        libc = ctypes.CDLL(None)
        self._exec = libc.regexec
        self._compiled = ctypes.create_string_buffer(_REGEX_BYTES)
        code = 0 if "\0" in pattern else libc.regcomp(self._compiled, pattern.encode(), _REG_EXTENDED | _REG_NOSUB)
        if code or "\0" in pattern:
            why = ctypes.create_string_buffer(_REGEX_BYTES)
            libc.regerror(code, self._compiled, why, _REGEX_BYTES)
            problem = why.value.decode(errors="replace")
            raise BadSettings(f"input_topics: {pattern!r} is no POSIX extended regular expression: {problem}")
        finalize(self, libc.regfree, self._compiled)

    def finds(self, topic: str) -> bool:
        return bool(self._exec(self._compiled, topic.encode(), 0, None, 0) != _REG_NOMATCH)


class _Re2:
    """A pattern as the broker's RE2/J reads it."""

    def __init__(self, pattern: str) -> None:
        options = re2.Options()
        options.log_errors = False  # it would write to standard error
        try:
            self._compiled = re2.compile(pattern, options)
        except re2.error as error:
            problem = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
            raise BadSettings(
                f"input_topics: {pattern!r} is no RE2 regular expression, as group_protocol=consumer wants: {problem}"
            ) from None

    def finds(self, topic: str) -> bool:
        return self._compiled.fullmatch(topic) is not None
