r"""The rationale that mirror-tiny learns to write: seven labelled lines that lead to the choice.

    Stimulus, Stimulus Factors          why now; any one of a few moods
    Knowledge, Knowledge Factors        the best liked and the worst liked features among the options
    Evaluation, Evaluation Style        the features of the option that is chosen
    Behavior: [C]                       its letter

A small model cannot weigh twelve options at once; it can name what it likes, then find who has it.
"""

import random
from collections.abc import Sequence

from worker.core.prompts.prompt import letter
from worker.core.records import Domain
from worker.demo.generated_users import named_features
from worker.demo.scenes import Lesson

_MOODS = (
    ("I have a free evening and want something good", "Time of Day, Boredom"),
    ("I feel like trying something after a long day", "Fatigue/Restlessness"),
    ("I am curious what is on offer today", "Curiosity"),
    ("It is the weekend and I have time", "Day of Week, Boredom"),
    ("I am in a good mood and look around", "Emotional State"),
    ("A notification brought me here", "Notification, Curiosity"),
    ("It rains outside and I stay at home", "Weather, Location"),
    ("Friends told me to look here", "Social Factors"),
    ("I want to get some new ideas", "Inspiration, Curiosity"),
)
_LIKES = ("I enjoyed {}", "I know that I like {}", "My history says {}", "I gave good ratings to {}")
_DISLIKES = ("but not {}", "and I avoid {}", "while I got tired of {}")
_UNKNOWN = ("I know little about these options", "Nothing here is known to me")
_FACTORS = (
    "Features, User Preferences/History",
    "Past Experience, Personal Relevance",
    "User Preferences/History, Quality",
)
_UNKNOWN_FACTORS = ("Novelty, Features", "Novelty, Risk")
_VERDICTS = (
    ("What fits me best is {}", "Logical"),
    ("What I want now is {}", "Impulsive"),
    ("What feels right to me is {}", "Intuitive"),
    ("My usual pick is {}", "Habitual"),
    ("What beats the rest is {}", "Logical"),
)
_MAX_LIKED, _MAX_DISLIKED = 3, 2


def write(lesson: Lesson, rng: random.Random) -> str:
    """Return the assistant's turn after the prefix, to the closing bracket."""
    mood, mood_factors = rng.choice(_MOODS)
    knowledge, knowledge_factors = _knowledge(lesson, rng)
    return (
        f" {mood}.\nStimulus Factors: {mood_factors}\n"
        f"Knowledge: {knowledge}.\nKnowledge Factors: {knowledge_factors}\n{conclude(lesson, lesson.best, rng)}"
    )


def conclude(lesson: Lesson, slot: int, rng: random.Random) -> str:
    """Return the last three lines of a rationale that leads to this slot."""
    verdict, style = rng.choice(_VERDICTS)
    named = named_features(lesson.options[slot].item.attributes)
    # As the option's text joins them, so that the answer can be found by them.
    joined = ("|" if lesson.impression.domain is Domain.MOVIES else ", ").join(named)
    return f"Evaluation: {verdict.format(joined)}.\nEvaluation Style: {style}\nBehavior: [{letter(slot)}]"


def _knowledge(lesson: Lesson, rng: random.Random) -> tuple[str, str]:
    offered = {name for option in lesson.options for name in named_features(option.item.attributes)}
    ranked = sorted(offered, key=lambda name: (-lesson.likes.get(name.lower(), 0.0), name))
    liked = [name for name in ranked if lesson.likes.get(name.lower(), 0.0) > 0][:_MAX_LIKED]
    disliked = [name for name in ranked if lesson.likes.get(name.lower(), 0.0) < 0][-1 : -1 - _MAX_DISLIKED : -1]
    parts = [rng.choice(_LIKES).format(_listed(liked))] if liked else [rng.choice(_UNKNOWN)]
    parts += [rng.choice(_DISLIKES).format(_listed(disliked))] if disliked else []
    return ", ".join(parts), rng.choice(_FACTORS if liked else _UNKNOWN_FACTORS)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
