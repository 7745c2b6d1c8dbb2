"""The user message of impressions for which the reference's own code was run, byte for byte.

Each file of `golden/` has an impression and the message that the reference (UserMirrorer, b6e628c) makes of the same
facts; the texts are invented.  `DIFFERENT` has those of which ours differs.  A case that becomes equal must leave it.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from worker.core.codec import impression as codec
from worker.core.codec.json_reader import JsonRules, fields
from worker.core.prompts.prompt import build, option_flags, render_option, scene
from worker.core.records import Impression
from worker.core.simulation.questions import Depths, Question, plan
from worker.settings import prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")
GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.json"))
# A title that holds an option: broken, and flagged.  All else is equal.
FENCED = {"mind_bracket_letter"}
# The reference's code shows a price that is missing as NA, and any other with a dollar sign before it.  What it was
# given here is the text NA, since it shows $NA; the impression of this case has no price at all: another fact.
OTHER_FACT = {"amazon_price_missing_NA"}
DIFFERENT = FENCED | OTHER_FACT


def message(shown: Impression) -> str:
    """Return the user message about the first slate, in its own order."""
    question: Question = plan(shown, lambda item: render_option(PROFILE, shown, item), Depths())[0]
    return build(PROFILE, scene(PROFILE, shown, 10), question.options).user


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_message_is_the_references_to_the_byte(path: Path) -> None:
    shown, wanted = read(path)
    if path.stem in DIFFERENT:
        assert message(shown) != wanted, f"{path.stem} is equal now: take it out of DIFFERENT"
    else:
        assert message(shown) == wanted


def read(path: Path) -> tuple[Impression, str]:
    """Return a case's impression and the reference's message."""
    case = json.loads(path.read_text(encoding="utf-8"))
    return codec.impression(fields(case["impression"], "RecommendationImpression", JsonRules())), case["message"]


def flags(shown: Impression) -> set[str]:
    return set(scene(PROFILE, shown, 10).flags.union(*(option_flags(PROFILE, shown, i) for i in shown.slates[0].items)))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_message_is_flagged_if_the_fence_changes_it_and_only_then(path: Path) -> None:
    shown, _ = read(path)
    assert flags(shown) == ({"sanitised"} if path.stem in FENCED else set())


def test_a_fenced_message_differs_by_the_brackets_alone() -> None:
    shown, wanted = read(Path(__file__).with_name("golden") / "mind_bracket_letter.json")
    assert message(shown) == wanted.replace("The [A] Team", "The (A) Team")


def test_a_price_of_the_text_na_is_shown_with_a_dollar_sign_and_a_missing_one_without() -> None:
    shown, wanted = read(Path(__file__).with_name("golden") / "amazon_price_missing_NA.json")
    first, *others = shown.slates[0].items
    assert "price" not in first.attributes
    assert message(shown) == wanted.replace("Price: $NA", "Price: NA")
    given = replace(first, attributes={**first.attributes, "price": "NA"})
    slates = (replace(shown.slates[0], items=(given, *others)),)
    assert message(replace(shown, slates=slates)) == wanted


def test_every_ready_scene_is_the_references_whole_and_unflagged() -> None:
    scenes = [path for path in GOLDEN if path.stem.startswith("scene_as_text")]
    assert len(scenes) == 6
    for path in scenes:
        shown, wanted = read(path)
        assert shown.texts_as_is
        assert (message(shown), flags(shown)) == (wanted, set()), path.stem


def test_every_difference_is_of_a_case() -> None:
    assert not DIFFERENT - {path.stem for path in GOLDEN}
