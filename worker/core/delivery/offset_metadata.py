"""What a worker leaves beside a committed offset for the partition's next owner: a short text, Kafka's offset metadata.

Suspects are records that were in an engine when it died, with the number of deaths; the next owner asks them alone, so
that one killer prompt does not end one engine after another.  An open breaker stays open over a restart, and tokens
that were spent stay spent.

>>> Note(suspects={1000: 1, 1001: 1, 1004: 2}).encode()
'{"mirrorstream":1,"suspects":{"1":[1000,1],"2":[1004]}}'
>>> Note.decode(_) == Note(suspects={1000: 1, 1001: 1, 1004: 2})
True
>>> Note().encode(), Note.decode("somebody else's")
('', Note(suspects={}, breaker='', spent={}))

At Kafka the id of the topic stands in the same text, for a topic that is made anew keeps its name (`topic_history`):

>>> text = with_topic_id(Note(suspects={7: 1}).encode(), "TeUE4O3qTsK")
>>> text, topic_id_of(text), Note.decode(text) == Note(suspects={7: 1})
('{"mirrorstream":1,"suspects":{"1":[7]},"topic":"TeUE4O3qTsK"}', 'TeUE4O3qTsK', True)
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

MAX_CHARS = 4_000  # brokers take 4,096 (offset.metadata.max.bytes) and refuse the whole commit if it is longer
MAX_BREAKER_CHARS = 200
MAX_SPENT_CHARS = 2_000
MAX_OFFSET = 2**63 - 1
_VERSION = 1


def text_of(content: Mapping[str, Any]) -> str:
    """Return what is kept beside an offset as ASCII text that `content_of` knows for ours."""
    return json.dumps({"mirrorstream": _VERSION, **content}, separators=(",", ":"))


def content_of(text: str) -> Mapping[str, Any]:
    """Return what a text holds that stands beside an offset; nothing if it is not one of ours."""
    try:
        content = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.get("mirrorstream") == _VERSION else {}


@dataclass(frozen=True, slots=True)
class Note:
    """What stands beside an offset.

    `suspects` is the number of engine deaths by offset; `breaker` why dead letters are held, "" if they are not;
    `spent` what budgets of tokens have paid for, by experiment, the least important first (`steering.budgets`).
    """

    suspects: Mapping[int, int] = field(default_factory=dict)
    breaker: str = ""
    spent: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def encode(self) -> str:
        """Return at most 4,000 characters, all ASCII; "" for an empty note.

        Where that is too short, the suspects with the fewest deaths and the highest offsets are left out.
        """
        most = sorted(self.suspects.items(), key=lambda one: (-one[1], one[0]))
        text = self._text(most)
        while len(text) > MAX_CHARS:
            most = most[: len(most) * 3 // 4]
            text = self._text(most)
        return text

    def _text(self, suspects: Sequence[tuple[int, int]]) -> str:
        every = sorted({deaths for _, deaths in suspects})
        gaps = {str(deaths): list(_gaps(sorted(offset for offset, n in suspects if n == deaths))) for deaths in every}
        breaker = self.breaker.encode("ascii", "replace").decode()[:MAX_BREAKER_CHARS]
        content: dict[str, Any] = {"suspects": gaps, "breaker": breaker, "spent": _short(self.spent)}
        kept = {name: value for name, value in content.items() if value}
        return text_of(kept) if kept else ""

    @classmethod
    def decode(cls, text: str) -> "Note":
        """Read a note; whatever is not one of ours says nothing."""
        content = content_of(text)
        try:
            suspects = {
                int(offset): int(deaths)
                for deaths, gaps in content.get("suspects", {}).items()
                for offset in accumulate(gaps)
                if 0 <= offset <= MAX_OFFSET
            }
            spent = {str(name): list(told) for name, told in content.get("spent", {}).items()}
            return cls(suspects, str(content.get("breaker", "")), spent)
        except (ValueError, TypeError, AttributeError):
            return cls()


def _short(spent: Mapping[str, Sequence[float]]) -> Mapping[str, Sequence[float]]:
    """Return what the text has room for, the last ones first."""
    kept: dict[str, Sequence[float]] = {}
    for name, told in reversed(list(spent.items())):
        kept[name] = told
        if len(json.dumps(kept)) > MAX_SPENT_CHARS:
            del kept[name]  # a shorter name may still have room
    return dict(reversed(list(kept.items())))


def with_topic_id(text: str, topic_id: str) -> str:
    """Return an encoded note with the id of the topic that its offset belongs to; about 35 characters more."""
    if not text:
        return text_of({"topic": topic_id})
    return f'{text[:-1]},"topic":"{topic_id}"}}'


def topic_id_of(text: str) -> str:
    """Return the id of the topic in an encoded note, "" if there is none."""
    return str(content_of(text).get("topic", ""))


def _gaps(offsets: list[int]) -> Iterator[int]:
    """Yield the first offset and then the distances, which are short."""
    return (after - before for before, after in zip([0, *offsets], offsets, strict=False))
