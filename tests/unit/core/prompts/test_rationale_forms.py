"""Completions without colons after labels, in tags and tables, and factors within phrases: as a person reads them."""

import re

import pytest

from worker.core.prompts.rationale import ParseStatus, Rationale, parse, stated_choice

WHOLE = (
    " I am tired.\nStimulus Factors: Boredom, Hunger\nKnowledge: Two films - both long.\nKnowledge Factors: Price\n"
    "Evaluation: B > A\nEvaluation Style: Logical\nBehavior: [B]"
)
READ = Rationale("I am tired.", ("Boredom", "Hunger"), "Two films - both long.", ("Price",), "B > A", "Logical")
LINES = re.compile(
    r"^(Stimulus Factors|Knowledge Factors|Evaluation Style|Knowledge|Evaluation|Behavior): (.*)$", re.MULTILINE
)
HARMONY = (
    "<|channel|>analysis<|message|>We go.\nBehavior: [A]<|end|><|start|>assistant<|channel|>final<|message|>Stimulus:"
)


@pytest.mark.parametrize(
    "form",
    ["{0} - {1}", "**{0}** — {1}", "- {0} – {1}", "{0} = {1}", "{0} => {1}", "{0} -> {1}", "{0} → {1}", "| {0} | {1} |",
     "|**{0}**|{1}|", "<{0}>{1}</{0}>", "<{0}>\n{1}\n</{0}>", "## {0} | {1}"],
)  # fmt: skip
def test_what_stands_after_a_label_may_be_no_colon(form: str) -> None:
    text = LINES.sub(lambda found: form.format(found[1], found[2]), WHOLE)
    assert parse(text) == (READ, ParseStatus.COMPLETE)
    assert stated_choice(text) == "B"


@pytest.mark.parametrize(
    ("written", "as_label"),
    [("Evaluating Style", "Evaluation Style"), ("Evaluative Style", "Evaluation Style"), ("Evaluating", "Evaluation")],
)
def test_an_evaluation_may_be_called_evaluating(written: str, as_label: str) -> None:
    for form in ("{0}: {1}", "**{0}:** {1}", "{0} - {1}"):
        text = LINES.sub(lambda found: form.format(written if found[1] == as_label else found[1], found[2]), WHOLE)  # noqa: B023 - used at once
        assert parse(text) == (READ, ParseStatus.COMPLETE)


def test_evaluating_within_a_sentence_is_no_label() -> None:
    found, _ = parse(" x\nEvaluation: I kept evaluating\nit: so Evaluating all, I take B.\nEvaluation Style: Logical")
    assert (found.evaluation, found.evaluation_style) == (
        "I kept evaluating\nit: so Evaluating all, I take B.", "Logical"
    )  # fmt: skip


def test_tags_may_be_named_as_keys_are() -> None:
    text = LINES.sub(
        lambda found: f"<{found[1].lower().replace(' ', '_')}>{found[2]}</{found[1].lower().replace(' ', '_')}>", WHOLE
    )
    assert (parse(text), stated_choice(text)) == ((READ, ParseStatus.COMPLETE), "B")


def test_two_labels_without_colons_are_words() -> None:
    text = " I sat down.\nKnowledge - that is power.\nEvaluation - I hate it.\nStimulus Factors: Boredom"
    found, _ = parse(text)
    assert found.stimulus == "I sat down.\nKnowledge - that is power.\nEvaluation - I hate it."
    assert (found.stimulus_factors, found.knowledge) == (("Boredom",), None)


def test_what_a_harmony_model_thought_aloud_is_no_part_of_its_answer() -> None:
    assert parse(HARMONY + WHOLE) == (READ, ParseStatus.COMPLETE)
    assert stated_choice(HARMONY + WHOLE) == "B"


@pytest.mark.parametrize(
    ("written", "known", "other"),
    [
        ("Boredom as well as Hunger, and also Time of Day", ("Boredom", "Hunger", "Time of Day"), ()),
        ("mainly Boredom, then Hunger; finally a bit of Curiosity", ("Boredom", "Hunger", "Curiosity"), ()),
        ("Boredom (60%), Weather: 0.4", ("Boredom", "Weather"), ()),
        ("I felt Boredom because it was raining (Weather).", ("Boredom", "Weather"), ()),
        ("a strong Need for Achievement after work", ("Need for Achievement",), ()),
        ("no Boredom at all", (), ("no Boredom at all",)),
        ("I wasn't driven by Hunger", (), ("I wasn't driven by Hunger",)),
        ("Boredom Avoidance, also a new mood", (), ("Boredom Avoidance", "also a new mood")),
        ("boredom-driven scrolling of feeds", (), ("boredom-driven scrolling of feeds",)),
    ],
)
def test_factors_within_phrases_are_known_or_kept_as_written(
    written: str, known: tuple[str, ...], other: tuple[str, ...]
) -> None:
    found, _ = parse(f" x\nStimulus Factors: {written}\nKnowledge: k")
    assert (found.stimulus_factors, found.other) == (known, other)
