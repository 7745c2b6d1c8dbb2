"""The demo's traffic is generated: repeatable, valid, and with a candidate that really is better."""

from itertools import islice

from worker.core.codec import avro_encoder, impression as codec
from worker.core.prompts.rationale import ParseStatus, parse
from worker.core.records import Impression
from worker.demo import scenes
from worker.engines.choice_model import choice_probabilities, features, taste
from worker.settings import prompt_profiles


def mass(impression: Impression, slate: int) -> float:
    """How much the choice model's user likes the best of a slate."""
    likes = taste(impression.user.history)
    items = impression.slates[slate].items
    return choice_probabilities([features(item.text, item.attributes) for item in items], likes)[1]


def test_the_same_seed_gives_the_same_traffic() -> None:
    assert list(scenes.impressions(3, num_users=5)) == list(scenes.impressions(3, num_users=5))
    assert list(scenes.impressions(3, num_users=5)) != list(scenes.impressions(4, num_users=5))


def test_every_impression_survives_the_wire() -> None:
    for impression in scenes.impressions(1, num_users=20, generic_share=0.5):
        assert codec.impression(avro_encoder.plain(impression)) == impression  # type: ignore[arg-type]


def test_the_candidate_is_liked_more_where_it_has_a_lift_and_not_in_an_a_a_test() -> None:
    def lift(planted: float) -> float:
        found = list(scenes.impressions(1, num_users=200, events_per_user=1, lift=planted))
        return sum(mass(one, 1) - mass(one, 0) for one in found) / len(found)

    assert lift(0.6) > 0.005
    assert lift(0.0) == 0.0  # the same slates


def test_a_lesson_ends_in_the_letter_of_its_best_option() -> None:
    import random

    from worker.demo.mirror_tiny.rationale import write

    for lesson in islice(scenes.lessons(prompt_profiles.load("mirror-v1"), "test"), 30):
        text = write(lesson, random.Random(1))
        assert text.endswith(f"Behavior: [{chr(ord('A') + lesson.best)}]")
        assert parse(text)[1] is ParseStatus.COMPLETE
        assert lesson.appeal[lesson.best] == max(lesson.appeal)
