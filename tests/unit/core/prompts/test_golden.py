"""The user message of impressions for which the reference's own code was run, byte for byte.

Each file of `golden/` has an impression and the message that the reference (UserMirrorer, b6e628c) makes of the same
facts; the texts are invented.  `DIFFERENT` says where ours differs, and why.  A case that becomes equal must leave it.
"""

import json
from pathlib import Path

import pytest

from worker.core.codec import impression as codec
from worker.core.codec.json_times import with_times
from worker.core.prompts.prompt import build, option_flags, render_option, scene
from worker.core.records import Impression
from worker.core.simulation.questions import Depths, Question, plan
from worker.settings import prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")
GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.json"))
_FENCE = "the fence against hostile text changes it"
DIFFERENT: dict[str, str] = {
    "amazon_nfkc_tm": _FENCE,
    # Here the reference's data has the text NA.  The impression has no price, which stands as NA without a dollar sign.
    "amazon_price_missing_NA": "another fact",
    "kuairec_emoji_zwj": _FENCE,
    "kuairec_fullwidth_punctuation": _FENCE,
    "mind_bracket_letter": _FENCE,
    "mind_label_in_title": _FENCE,
    "mind_label_inside_word": _FENCE,
}


def message(shown: Impression) -> str:
    """Return the user message about the first slate, in its own order."""
    question: Question = plan(shown, lambda item: render_option(PROFILE, shown, item), Depths())[0]
    return build(PROFILE, scene(PROFILE, shown, 10), question.options).user


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_message_is_the_references_to_the_byte(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    found = message(codec.impression(with_times(case["impression"], "RecommendationImpression")))
    if path.stem in DIFFERENT:
        assert found != case["message"], f"{path.stem} is equal now: take it out of DIFFERENT"
    else:
        assert found == case["message"]


@pytest.mark.parametrize("path", [path for path in GOLDEN if path.stem not in DIFFERENT], ids=lambda path: path.stem)
def test_an_equal_message_is_not_flagged(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    shown = codec.impression(with_times(case["impression"], "RecommendationImpression"))
    flags = scene(PROFILE, shown, 10).flags.union(*(option_flags(PROFILE, shown, i) for i in shown.slates[0].items))
    assert not flags


def test_every_difference_is_of_a_case() -> None:
    assert DIFFERENT.keys() <= {path.stem for path in GOLDEN}
