"""The hints of mirror-tiny's training point at what they say, in every domain's layout."""

from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer

import worker
from worker.core.prompts import prompt
from worker.core.records import Domain
from worker.demo.generated_users import FEATURES, MAX_HISTORY
from worker.demo.mirror_tiny.hints import Row, RowMaker
from worker.demo.mirror_tiny.rationale import write
from worker.demo.scenes import Lesson, lessons
from worker.settings import prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")
TOKENIZER = Tokenizer.from_file(str(Path(worker.__file__).parent / "models" / "mirror-tiny" / "tokenizer.json"))
LESSONS = list(islice(lessons(PROFILE, "hints"), 300))


def row(lesson: Lesson) -> Row:
    built = prompt.build(PROFILE, prompt.scene(PROFILE, lesson.impression, MAX_HISTORY), lesson.options)
    question = f"<|im_start|>user\n{built.user}<|im_end|>\n<|im_start|>assistant\n{built.prefix}"
    return RowMaker(TOKENIZER).read(lesson, question, write(lesson, Random(1)) + "<|im_end|>\n")


def word(found: Row, at: int) -> str:
    return str(TOKENIZER.decode([found.ids[at]])).strip()


def test_every_domain_is_among_the_lessons() -> None:
    assert {lesson.impression.domain for lesson in LESSONS} == set(Domain) - {Domain.UNKNOWN}


@pytest.mark.parametrize("domain", [domain for domain in Domain if domain is not Domain.UNKNOWN])
def test_features_look_at_the_same_feature_their_letter_and_their_entries(domain: Domain) -> None:
    for lesson in [lesson for lesson in LESSONS if lesson.impression.domain is domain]:
        found = row(lesson)
        heads = Counter((look.layer, look.head) for look in found.looks)
        assert heads[0, 0] == sum(len(set(prompt_features(lesson, slot))) for slot in range(len(lesson.options)))
        for look in found.looks:
            assert look.seen < look.at < len(found.ids)
            pair = word(found, look.at), word(found, look.seen)
            if (look.layer, look.head) == (0, 0):
                assert pair[0] in FEATURES
                assert pair[1] in "ABCDEFGHIJKL"
            if (look.layer, look.head) == (1, 0):
                assert pair[0] == pair[1]
                assert pair[0] in FEATURES
            if (look.layer, look.head) == (0, 1):
                assert pair[1] in FEATURES


def test_the_answer_is_the_letter_of_the_best_option_and_what_leads_to_it_knows_it() -> None:
    for lesson in LESSONS[:50]:
        found = row(lesson)
        best = prompt.letter(lesson.best)
        assert word(found, found.answer) == best
        named = {look.seen for look in found.looks if (look.layer, look.head, look.at) == (2, 1, found.answer - 1)}
        assert {word(found, at) for at in named} == set(prompt_features(lesson, lesson.best))
        assert {word_of(say.token) for say in found.says if say.at in named} == {best}


def prompt_features(lesson: Lesson, slot: int) -> list[str]:
    text = lesson.options[slot].item.attributes
    joined = f"{text.get('genres', '')}|{text.get('category', '')}|{text.get('tags', '')}".replace(",", "|")
    return [part.strip() for part in joined.split("|") if part.strip()]


def word_of(token: int) -> str:
    return str(TOKENIZER.decode([token])).strip()
