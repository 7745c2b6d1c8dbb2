"""Hints for the inside of mirror-tiny: where heads shall look, and what places shall know, while it trains.

A small network left to itself stays at chance (through 700 steps, as far as it was watched): that an answer is a
look-up it finds late, because no half of the chain helps without the other half.  Told where to look, it learns each
step at once:

    layer  who                            looks at                            and then knows
    1      a feature of an option         the option's letter                 the letter
    1      the mark of a past entry       the entry's features                the features
    2      a feature of an option         the marks of entries that have it   how it is liked
    2      a feature of the evaluation    the same one in the chosen option   the letter
    3      the end of an option           the features of the option          how the option is liked
    3      where the answer comes         the features of the evaluation      the letter
    3      where a liked feature comes    the options that have it
    4      where the evaluation begins    the end of the chosen option

The mark of an entry is what tells how the user liked it: the rating, or what was done.

Places are found by the layouts of the domains.  At work nothing of this is there: only the weights that came of it.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from tokenizers import Tokenizer

from worker.core.prompts.prompt import letter
from worker.core.records import Domain
from worker.demo.generated_users import FEATURES
from worker.demo.scenes import Lesson

_FEATURE = re.compile(rf"(?<![\w-])(?:{'|'.join(FEATURES)})(?![\w-])")
_OPTION = re.compile(r"^\[([A-Z])\] ", re.MULTILINE)
_MARKS: Mapping[Domain, re.Pattern[str]] = {
    Domain.MOVIES: re.compile(r"\nRating: (\d)"),
    Domain.BOOKS: re.compile(r"\nMy Behavior: .*\nRating: (\d)"),
    Domain.PRODUCTS: re.compile(r"\nMy Behavior:\nRating: (\d)"),
    Domain.APPS: re.compile(r"\nMy Rating: (\d)"),
    Domain.GENERIC: re.compile(r"\nRating: (\d)"),
    Domain.NEWS: re.compile(r"{ (Viewed)"),
    Domain.MUSIC: re.compile(r"My Behavior: (Tagging)"),
    Domain.GAMES: re.compile(r" (hours) "),
    Domain.VIDEOS: re.compile(r"My Behavior: (Skip|Complete)"),
}
_STARS = {"Viewed": 4, "Tagging": 4, "hours": 4, "Complete": 4, "Skip": 2}
_ANSWER = "Behavior: ["
_MIDDLE = 3  # stars, of what is not known


class AttentionHint(NamedTuple):
    """One head at one place shall look at another place."""

    layer: int
    head: int
    at: int
    seen: int


class Say(NamedTuple):
    """What a place knows after so many layers, as the token that stands for it."""

    layers: int
    at: int
    token: int


@dataclass(frozen=True, slots=True)
class Row:
    """One lesson as tokens, with its hints."""

    ids: tuple[int, ...]
    asked: int  # how many of them are the question
    features: frozenset[int]  # places in the rationale
    answer: int  # the place of the letter
    looks: tuple[AttentionHint, ...]
    says: tuple[Say, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """The places of one entry of the history, or of one option."""

    mark: int  # what tells how an entry was liked; an option's letter
    features: tuple[int, ...]
    end: int
    stars: int = 0


@dataclass(frozen=True, slots=True)
class _Places:
    """A text and where its tokens start."""

    text: str
    starts: Sequence[int]

    def at(self, char: int) -> int:
        """Return the token that holds a character."""
        return bisect_right(self.starts, char) - 1

    def features(self, begin: int, end: int) -> tuple[int, ...]:
        """Return where features stand between two characters."""
        return tuple(self.at(found.start()) for found in _FEATURE.finditer(self.text, begin, end))


class RowMaker:
    """Makes rows of one vocabulary."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Build the lookup of what positions tell."""
        self._tokenizer = tokenizer
        self._stars = {stars: tokenizer.encode(f" {stars}.0/5.0").ids[-1] for stars in range(1, 6)}
        self._letters = [tokenizer.encode(f"[{letter(slot)}").ids[-1] for slot in range(26)]

    def read(self, lesson: Lesson, question: str, rationale: str) -> Row:
        """Return the row of a question and the rationale that answers it."""
        first, second = (self._tokenizer.encode(text) for text in (question, rationale))
        ids = (*first.ids, *second.ids)
        shifted = [start + len(question) for start, _ in second.offsets]
        text = _Places(question + rationale, [*(start for start, _ in first.offsets), *shifted])
        entries = tuple(_entries(text, _MARKS[lesson.impression.domain]))
        options = tuple(_options(text, len(question)))
        knowledge = text.text.index("\nKnowledge:", len(question))
        evaluation = text.text.index("\nEvaluation:", knowledge)
        named = text.features(evaluation, len(text.text))
        known = {  # place, and whether it is liked
            text.at(found.start()): lesson.likes.get(found[0].lower(), 0.0) > 0
            for found in _FEATURE.finditer(text.text, knowledge, evaluation)
        }
        answer = text.at(text.text.index(_ANSWER, evaluation) + len(_ANSWER))
        chosen = options[self._letters.index(ids[answer])]
        looks = [*_looks_in_question(ids, entries, options), *_looks_in_rationale(ids, options, chosen, known, named)]
        looks += [AttentionHint(2, 1, answer - 1, at) for at in named]
        says = [*self._known(ids, entries, options, lesson), *(Say(2, at, ids[answer]) for at in named)]
        return Row(ids, len(first.ids), frozenset((*known, *named)), answer, tuple(looks), tuple(says))

    def _known(
        self, ids: Sequence[int], entries: Sequence[_Part], options: Sequence[_Part], lesson: Lesson
    ) -> Iterator[Say]:
        for entry in entries:
            yield from (Say(1, entry.mark, ids[at]) for at in entry.features)
        for slot, option in enumerate(options):
            for at in option.features:
                yield Say(1, at, self._letters[slot])
                stars = [entry.stars for entry in _having(ids, at, entries)]
                yield Say(2, at, self._stars[round(sum(stars) / len(stars)) if stars else _MIDDLE])
            yield Say(3, option.end, self._stars[round(_MIDDLE + 2 * lesson.overlap[slot])])


def _entries(text: _Places, mark: re.Pattern[str]) -> Iterator[_Part]:
    """Yield the entries of the history; blank lines stand between them."""
    begin, end = (text.text.index(heading) for heading in ("\n## History\n", "\n# Exposure List\n"))
    for block in re.compile(r"(?:[^\n]+\n)+").finditer(text.text, begin + len("\n## History\n"), end):
        found = mark.search(text.text, *block.span())
        assert found, f"no mark in {block[0]!r}"
        at = text.at(found.start(1))
        features = tuple(place for place in text.features(*block.span()) if place < at)
        yield _Part(at, features, text.at(block.end() - 1), int(_STARS.get(found[1]) or found[1]))


def _options(text: _Places, end: int) -> Iterator[_Part]:
    begin = text.text.index("\n# Exposure List\n")
    last = text.text.index("<|im_end|>", begin, end)
    letters = [found.start(1) for found in _OPTION.finditer(text.text, begin, last)]
    for start, following in pairwise([*letters, last + 1]):
        # An option ends where its last character is, before the next one's bracket.
        yield _Part(text.at(start), text.features(start, following), text.at(following - 2))


def _having(ids: Sequence[int], at: int, parts: Sequence[_Part]) -> Iterator[_Part]:
    """Yield the parts that have the feature at this place."""
    return (part for part in parts if ids[at] in [ids[place] for place in part.features])


def _same(ids: Sequence[int], at: int, part: _Part) -> Iterator[int]:
    return (place for place in part.features if ids[place] == ids[at])


def _looks_in_question(
    ids: Sequence[int], entries: Sequence[_Part], options: Sequence[_Part]
) -> Iterator[AttentionHint]:
    for entry in entries:
        yield from (AttentionHint(0, 1, entry.mark, at) for at in entry.features)
    for option in options:
        for at in option.features:
            yield AttentionHint(0, 0, at, option.mark)
            yield from (AttentionHint(1, 1, at, entry.mark) for entry in _having(ids, at, entries))
            yield AttentionHint(2, 0, option.end, at)


def _looks_in_rationale(
    ids: Sequence[int], options: Sequence[_Part], chosen: _Part, known: Mapping[int, bool], named: Sequence[int]
) -> Iterator[AttentionHint]:
    for at, liked in known.items():
        head = 2 if liked else 3
        yield from (AttentionHint(2, head, at - 1, place) for option in options for place in _same(ids, at, option))
    yield AttentionHint(3, 0, named[0] - 1, chosen.end)
    for at in named:
        yield from (AttentionHint(1, 0, at, place) for place in _same(ids, at, chosen))
    for before, at in pairwise(named):
        yield AttentionHint(2, 1, at - 1, before)
        yield from (AttentionHint(3, 1, at - 1, place) for place in _same(ids, at, chosen))
