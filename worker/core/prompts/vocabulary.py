"""The labels of a rationale's sections and the closed vocabularies of its factors, as a prompt profile names them.

`REFERENCE` has those of the reference model: they are its interface, whatever the wording around them.
"""

from dataclasses import dataclass

SECTIONS = (
    "thought", "stimulus", "stimulus_factors", "knowledge", "knowledge_factors", "evaluation", "evaluation_style",
    "behavior",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Words:
    """What a prompt profile has the model write: a label for each of `SECTIONS`, and the closed vocabularies."""

    labels: tuple[str, ...]
    stimulus_factors: tuple[str, ...]
    knowledge_factors: tuple[str, ...]
    evaluation_styles: tuple[str, ...]
    groups: tuple[str, ...]  # a factor may come back inside the name of its group


REFERENCE = Words(
    labels=(
        "Thought", "Stimulus", "Stimulus Factors", "Knowledge", "Knowledge Factors", "Evaluation", "Evaluation Style",
        "Behavior",
    ),
    stimulus_factors=(
        "Boredom", "Hunger", "Thirst", "Fatigue/Restlessness", "Emotional State", "Curiosity", "Need for Achievement",
        "Inspiration", "Time of Day", "Day of Week", "Weather", "Location", "Social Factors", "Special Occasion",
        "Notification", "Advertising", "Financial Situation", "Availability",
    ),
    knowledge_factors=(
        "Price", "Quality", "Features", "Convenience", "Novelty", "Brand Reputation", "Personal Relevance",
        "Functional", "Thematic", "Identity-Based", "Emotional Appeal", "Time Commitment", "Risk",
        "Visual Presentation", "Recommendation Source", "Review Content/Sentiment", "Rating Score/Distribution",
        "Social Proof", "Past Experience", "User Preferences/History",
    ),
    evaluation_styles=("Logical", "Intuitive", "Impulsive", "Habitual"),
    groups=(
        "Internal States", "External Cues", "Product/Service Attributes", "Information Source & Presentation",
        "Prior Knowledge", "User's Prior Knowledge",
    ),
)  # fmt: skip
