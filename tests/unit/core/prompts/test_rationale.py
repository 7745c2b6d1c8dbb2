"""Any text parses; and a table of completions as models write them."""

import json
import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from tests.support.examples import wild_texts
from worker.core.prompts.factors import MAX_FACTORS
from worker.core.prompts.rationale import MAX_SECTION_CHARS, ParseStatus, Rationale, parse, stated_choice
from worker.core.prompts.vocabulary import REFERENCE, Words

COMPLETE, PARTIAL, NONE = ParseStatus.COMPLETE, ParseStatus.PARTIAL, ParseStatus.NONE

WHOLE = """ I have an evening to myself and feel like something dark.
Stimulus Factors: Boredom, Time of Day
Knowledge: A and C are crime films.
I loved Heat.
Knowledge Factors: Past Experience, Personal Relevance
Evaluation: C is closest to what I rated 5.
Evaluation Style: Logical
Behavior: ["""

READ = Rationale(
    stimulus="I have an evening to myself and feel like something dark.",
    stimulus_factors=("Boredom", "Time of Day"),
    knowledge="A and C are crime films.\nI loved Heat.",
    knowledge_factors=("Past Experience", "Personal Relevance"),
    evaluation="C is closest to what I rated 5.",
    evaluation_style="Logical",
)


OBJECT = {
    "stimulus": READ.stimulus,
    "stimulus_factors": READ.stimulus_factors,
    "knowledge": READ.knowledge,
    "knowledge_factors": READ.knowledge_factors,
    "evaluation": READ.evaluation,
    "evaluation_style": "Logical",
}


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        WHOLE + "C]",
        WHOLE.replace("\nBehavior: [", ""),  # the stop string taken off
        "\nStimulus:" + WHOLE,  # the prefix said again
        "\nThought:\nStimulus:" + WHOLE,
        WHOLE.replace("\n", "\r\n").replace("films.\r\n", "films.\n"),
        WHOLE.replace("\n", "\n\n").replace("films.\n\n", "films.\n"),
        WHOLE.replace("Stimulus Factors:", "**Stimulus Factors:**").replace("Knowledge:", "## Knowledge:"),
        WHOLE.replace("Factors", "FACTORS").replace("Evaluation:", "evaluation :"),
        WHOLE + "\nStimulus: another\nEvaluation Style: Impulsive\n",  # it goes on; the first answer stands
        WHOLE.replace("Boredom, Time of Day", "Internal States (Boredom), External Cues (Time of Day)"),
        WHOLE.replace("Boredom, Time of Day", "Internal States: Boredom; External Cues: Time of Day."),
        WHOLE.replace("Boredom, Time of Day", "Internal States - Boredom, External Cues - time of day"),
        WHOLE.replace("Boredom, Time of Day", "\n- Boredom\n- Time of Day"),
        WHOLE.replace("Boredom, Time of Day", "Boredom, Boredom, [Time of Day]"),
        WHOLE.replace("Logical", "Logical."),
        WHOLE.replace("Logical", '"Logical"'),
        WHOLE.replace("Logical", "[Logical]"),
        WHOLE.replace("Factors:", "Factor:"),
        WHOLE.replace("Factors:", "Factors："),
        WHOLE.replace("Stimulus Factors:", "- **Stimulus_Factors:**").replace(
            "Knowledge Factors:", "__Knowledge Factors__:"
        ),
        WHOLE.replace("\nStimulus F", "\n2. Stimulus F").replace("\nKnowledge:", "\n> 3) Knowledge:"),
        WHOLE.replace("\nEvaluation:", "\n• Evaluation:").replace("\nEvaluation S", "\n6. *Evaluation S"),
        "<think>\nStimulus: none of this\n</think>\n```text\n" + WHOLE + "\n```",
        json.dumps(
            {
                "Stimulus": READ.stimulus,
                "Stimulus Factors": READ.stimulus_factors,
                "Knowledge": READ.knowledge,
                "knowledge_factors": READ.knowledge_factors,
                "Evaluation": READ.evaluation,
                "Evaluation Style": "Logical",
                "Behavior": "B",
            },
            indent=1,
        ),
        WHOLE.replace("Logical", "**logical**, by comparison"),
        WHOLE.replace("Logical", "Mostly logical."),
        WHOLE.replace("\n", "\n> ").replace(" I have", "> I have", 1),
        WHOLE.replace("Boredom, Time of Day", "1. Boredom 2. Time of Day"),
        WHOLE.replace("Boredom, Time of Day", "Boredom -> <b>Time of Day</b>"),
        WHOLE.replace("films.\n", "films.\x00")
        .replace("\n", ". ")
        .replace("\x00", "\n")
        .replace("5..", "5.")
        .replace("dark..", "dark.")
        .replace("Heat..", "Heat."),
        "Here it is:\n```json\n" + json.dumps({"Thought": OBJECT, "Behavior": "[B]"}) + "\n```",
        json.dumps({"Thought": "My reasons.", **OBJECT}),
    ],
)
def test_a_whole_rationale_is_read_however_it_is_dressed(text: str) -> None:
    assert parse(text) == (READ, COMPLETE)


@pytest.mark.parametrize(
    ("written", "known", "other"),
    [
        ("Fatigue/Restlessness", ("Fatigue/Restlessness",), ()),
        ("Nostalgia, Boredom", ("Boredom",), ("Nostalgia",)),
        ("Need for Achievement (Growth)", ("Need for Achievement",), ("Growth",)),
        ("Boredom/Curiosity", ("Boredom", "Curiosity"), ()),
        ("Boredom, Curiosity, and Inspiration", ("Boredom", "Curiosity", "Inspiration"), ()),
        ("Boredom & Hunger and calm", ("Boredom", "Hunger"), ("calm",)),
        ("peace and quiet", (), ("peace and quiet",)),  # as written, never dropped
        ("Fatigue / Restlessness", ("Fatigue/Restlessness",), ()),
        ("Restlessness", ("Fatigue/Restlessness",), ()),
        ("Emotional States, Locations", ("Emotional State", "Location"), ()),
        ("Internal States [Boredom], External Cues [Time of Day]", ("Boredom", "Time of Day"), ()),
        ("Internal States, External Cues", (), ("Internal States", "External Cues")),
        ("External Cues (Past Experience, Weather)", ("Weather",), ("Past Experience",)),
        ("Boredom - idle, Time of Day – evening", ("Boredom", "Time of Day"), ("idle", "evening")),
        ("Boredom，Time of Day（evening）、无聊", ("Boredom", "Time of Day"), ("evening", "无聊")),
        ("\n• Boredom\n• Time of Day", ("Boredom", "Time of Day"), ()),
        ("\n1. Boredom\n2) Hunger\n> Thirst", ("Boredom", "Hunger", "Thirst"), ()),
        ("Price", (), ("Price",)),  # a knowledge factor moves nobody
        (", ,;()", (), ()),
    ],
)
def test_factors_are_known_or_kept_as_written(written: str, known: tuple[str, ...], other: tuple[str, ...]) -> None:
    rationale, _ = parse(f"x\nStimulus Factors: {written}\n")
    assert (rationale.stimulus_factors, rationale.other) == (known, other)


@pytest.mark.parametrize(
    "factor",
    ["Review Content/Sentiment", "Rating Score/Distribution", "User Preferences/History", "Identity-Based", "Thematic"],
)
def test_a_factor_with_a_slash_or_a_hyphen_is_one_factor(factor: str) -> None:
    assert parse(f"\nKnowledge Factors: Product/Service Attributes ({factor})")[0].knowledge_factors == (factor,)


@pytest.mark.parametrize(
    ("text", "status", "stimulus"),
    [
        ("", NONE, None),
        (" \n\n", NONE, None),
        ("Behavior: [A]", NONE, None),
        ("Thought:", NONE, None),
        ("I just like it", PARTIAL, "I just like it"),
        ("I was bored and the\nKnow", PARTIAL, "I was bored and the\nKnow"),  # ended within a word
        ("because Stimulus: is a word here", PARTIAL, "because Stimulus: is a word here"),
        ('{"choice": "A"}', PARTIAL, '{"choice": "A"}'),
        ("\nStimulus:\nKnowledge: k", PARTIAL, None),
    ],
)
def test_what_is_missing_stays_missing(text: str, status: ParseStatus, stimulus: str | None) -> None:
    rationale, found = parse(text)
    assert (found, rationale.stimulus) == (status, stimulus)
    assert rationale.evaluation_style is None


def test_nothing_after_behavior_is_read() -> None:
    rationale, status = parse("x\nBehavior: [A]\nKnowledge: leaked")
    assert (rationale, status) == (Rationale(stimulus="x"), PARTIAL)


@pytest.mark.parametrize("style", ["A mix of Logical and Intuitive", "not logical", "less logical than usual"])
def test_a_style_that_names_none_or_two_is_kept_as_written(style: str) -> None:
    assert parse(f"\nEvaluation Style: {style}")[0].evaluation_style == style


def test_an_object_in_braces_below_words_is_the_answer_only_if_it_is_one() -> None:
    text = 'I saw {"price": 3} there.\nKnowledge: k'
    assert parse(text)[0] == Rationale(stimulus='I saw {"price": 3} there.', knowledge="k")


def test_two_labels_after_sentences_are_words() -> None:
    text = "I was bored. Knowledge: none. Evaluation: none."
    assert parse(text)[0] == Rationale(stimulus=text)


def test_a_style_of_its_own_is_kept_as_written() -> None:
    assert parse("\nEvaluation Style: Emotional")[0].evaluation_style == "Emotional"


def test_every_word_of_the_vocabularies_is_found_in_its_own_spelling() -> None:
    stimulus, knowledge = (", ".join(words) for words in (REFERENCE.stimulus_factors, REFERENCE.knowledge_factors))
    text = f"x\nStimulus Factors: {stimulus}\nKnowledge Factors: {knowledge}"
    rationale, _ = parse(text.lower())
    assert rationale.stimulus_factors == REFERENCE.stimulus_factors
    assert rationale.knowledge_factors == REFERENCE.knowledge_factors
    assert rationale.other == ()
    assert all(
        parse(f"\nEvaluation Style: {style.lower()}")[0].evaluation_style == style
        for style in REFERENCE.evaluation_styles
    )


def test_a_profile_of_other_words_is_read_by_them() -> None:
    german = Words(
        ("Gedanke", "Reiz", "Reizfaktoren", "Wissen", "Wissensfaktoren", "Urteil", "Stil", "Wahl"),
        ("Hunger",), ("Preis",), ("Logisch",), ("Innen",),
    )  # fmt: skip
    text = " Ich bin wach.\nReizfaktoren: Innen (Hunger)\nWissen: w\nWissensfaktoren: preis\n"
    text += "Urteil: u\nStil: logisch\nWahl: ["
    rationale, status = parse(text, german)
    assert status is COMPLETE
    assert (rationale.stimulus_factors, rationale.knowledge_factors) == (("Hunger",), ("Preis",))
    assert (rationale.stimulus, rationale.evaluation_style, rationale.other) == ("Ich bin wach.", "Logisch", ())


labels = st.sampled_from(
    (
        "Stimulus Factors:",
        "Knowledge :",
        "\nEvaluation Style:",
        "Behavior: [",
        "\n",
        "Thought:",
        "\u017ftimulus:",
        "St\u0130mulus:",
    )
)


@given(st.lists(labels | wild_texts, max_size=8).map("\n".join))
@settings(max_examples=50, deadline=None)
def test_any_text_gives_a_bounded_rationale(text: str) -> None:
    rationale, status = parse(text)
    assert status in ParseStatus
    sections = (rationale.stimulus, rationale.knowledge, rationale.evaluation, rationale.evaluation_style)
    assert all(section is None or 0 < len(section) <= MAX_SECTION_CHARS for section in sections)
    assert set(rationale.stimulus_factors) <= set(REFERENCE.stimulus_factors)
    assert set(rationale.knowledge_factors) <= set(REFERENCE.knowledge_factors)
    assert parse(text) == (rationale, status)


def test_a_text_without_end_is_bounded_and_quick() -> None:
    rationale, _ = parse(
        "x" * 200_000 + "\nStimulus Factors: " + ", ".join(f"f{n}" for n in range(20_000)) + " \t*#" * 50_000
    )
    assert len(rationale.stimulus or "") == MAX_SECTION_CHARS
    assert len(rationale.other) == MAX_FACTORS
    assert rationale.other[-1].startswith("and ")


def test_others_beyond_the_limit_are_counted() -> None:
    rationale, _ = parse("x\nStimulus Factors: Boredom, " + ", ".join(f"f{n}" for n in range(30)))
    assert rationale.stimulus_factors == ("Boredom",)
    assert rationale.other == (*(f"f{n}" for n in range(19)), "and 11 more")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Behavior: [B]", "B"),
        ("Behavior: [B", "B"),
        ("**Behavior:** **[B]**", "B"),
        ("Behaviour： 【B】", "B"),
        ("Behavior: B", "B"),
        ("Behavior: (b) Heat", "B"),
        ("Behavior: I choose [B] Heat", "B"),
        ("Behavior: Option B.", "B"),
        ('{"Behavior": "B"}', "B"),
        ("Behavior: I do not know", None),
        ("Behavior: a quiet one", None),
        ("my behaviour is B", None),
        ("Behavior：［B］", "B"),
        ("### Behavior\n[B] Heat", "B"),
        ("### Behavior\n\n**[B]**", "B"),
    ],
)
def test_the_letter_that_a_text_names(text: str, letter: str | None) -> None:
    assert stated_choice(text) == letter


@pytest.mark.parametrize(
    "unit",
    [
        "x",
        " ",
        "{",
        "**",
        "(\n",
        "\n```",
        "</think>",
        "[{",
        "1. ",
        "Behavior: ",
        "a and ",
        '{"Stimulus":',
        "\nKnowledge",
        "\nKnowledge - ",
        "</Knowledge>",
        "| ",
        "a bit of ",
        "<|channel|>final",
    ],
)
def test_time_grows_with_the_length_and_not_with_its_square(unit: str) -> None:
    """Four times the text takes about four times as long; a square would take sixteen."""

    def seconds(length: int) -> float:
        text = "\nStimulus Factors: " + unit * (length // len(unit))
        found = []
        for _ in range(3):
            began = time.process_time()
            parse(text), stated_choice(text)
            found.append(time.process_time() - began)
        return min(found)

    assert seconds(200_000) < 9 * seconds(50_000) + 0.01


@pytest.mark.parametrize("depth", [10, 500, 900, 990, 5_000])
def test_a_nested_object_is_read_or_kept_as_text(depth: int) -> None:
    assert parse('{"Stimulus": ' + "[" * depth + "1" + "]" * depth + "}")[0].stimulus


def test_the_groups_of_an_object_keep_their_factors() -> None:
    text = json.dumps({"Stimulus Factors": {"Internal States": ["Boredom"], "External Cues": ["Weather"]}})
    assert parse(text)[0].stimulus_factors == ("Boredom", "Weather")


def test_the_text_after_a_thought_counts_and_a_thought_alone_is_kept() -> None:
    assert parse("Stimulus: no\n</think>\nStimulus: yes")[0].stimulus == "yes"
    assert parse("<think>\nStimulus: cut short")[0].stimulus == "cut short"
    assert parse("<think>Stimulus: alone</think>")[0].stimulus == "alone"


@given(st.text("Stimulus Factors:[]{}()\"'*_-\n1.`</>thinkBehavior", max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_dress_of_a_label_is_read_without_an_error(text: str) -> None:
    rationale, _ = parse(text)
    choice = stated_choice(text)
    assert len(rationale.other) <= MAX_FACTORS
    assert choice is None or "A" <= choice <= "Z"


WITHOUT_PREFIX = json.dumps(OBJECT)
LABELS = re.compile(
    r"^(Stimulus Factors|Knowledge Factors|Evaluation Style|Knowledge|Evaluation|Behavior):(.*)$", re.MULTILINE
)


@pytest.mark.parametrize(
    "sign",
    ["+ ", "\u25aa ", "\u25a0 ", "\u25cb ", "\u2192 ", "\u27a4 ", "\u2023 ", "\u2460 ", "1\uff0e", "Step 1: ",
     "\U0001f3ac ", "I. ", "a) ", "(1) "],
)  # fmt: skip
def test_any_sign_or_number_may_stand_before_a_label(sign: str) -> None:
    assert parse(LABELS.sub(lambda found: sign + found[0], WHOLE)) == (READ, COMPLETE)


@pytest.mark.parametrize(
    "form",
    ["<b>{}:</b>{}", "[{}]:{}", "\u3010{}\u3011:{}", "\u3010{}\u3011{}", "~~{}~~:{}", "**{}**{}", "{} (1-3):{}",
     "{} [2-4]:{}", "**{}:{}**", '"{}":{}'],
)  # fmt: skip
def test_a_label_may_be_dressed(form: str) -> None:
    text = LABELS.sub(lambda found: form.format(found[1], found[2]), WHOLE.replace("films.\n", "films. "))
    assert parse(text) == (replace(READ, knowledge="A and C are crime films. I loved Heat."), COMPLETE)


@pytest.mark.parametrize("end", [".", ""])
def test_an_answer_may_stand_on_one_line_or_on_two(end: str) -> None:
    """Also where no sentence ends before a label."""
    text = WHOLE.replace("films.\n", "films ").replace(".", end)
    stimulus, knowledge, evaluation = (
        said and said.replace("films.\n", "films ").replace(".", end)
        for said in (READ.stimulus, READ.knowledge, READ.evaluation)
    )
    wanted = replace(READ, stimulus=stimulus, knowledge=knowledge, evaluation=evaluation)
    for one in (text.replace("\n", " "), text.replace("\n", " ", 3)):
        assert parse(one) == (wanted, COMPLETE)


@pytest.mark.parametrize(
    "content",
    [
        {"stimulus": READ.stimulus, "stimulusFactors": READ.stimulus_factors, "knowledge": READ.knowledge,
         "knowledgeFactors": READ.knowledge_factors, "evaluation": READ.evaluation, "evaluationStyle": "Logical"},
        {"answer": OBJECT},
        {"Stimulus": {"text": READ.stimulus, "factors": READ.stimulus_factors},
         "Knowledge": {"text": READ.knowledge, "factors": READ.knowledge_factors},
         "Evaluation": {"text": READ.evaluation, "style": "Logical"}},
        OBJECT | {"stimulus_factors": [{"factor": one, "reason": "so"} for one in READ.stimulus_factors]},
        OBJECT | {"stimulus_factors": {"Boredom": True, "Time of Day": True, "Hunger": False}},
        {f"{number}. {name}": value for number, (name, value) in enumerate(OBJECT.items(), 1)},
    ],
)  # fmt: skip
def test_an_object_of_another_shape_is_read(content: object) -> None:
    assert parse(json.dumps(content)) == (READ, COMPLETE)


@pytest.mark.parametrize(
    "text",
    [
        WITHOUT_PREFIX[:-1] + ",}",
        WITHOUT_PREFIX.replace('"', "'"),
        json.dumps(OBJECT | {"stimulus_factors": ", ".join(READ.stimulus_factors),
                             "knowledge_factors": ", ".join(READ.knowledge_factors)}, indent=1)
        .replace("films.\\n", "films.\x00").replace("}", '"Beh').replace("\x00", "\\n"),
    ],
)  # fmt: skip
def test_an_object_that_is_no_json_is_read(text: str) -> None:
    """A comma too many, Python's quotes, cut off."""
    read, status = parse(text)
    assert status is COMPLETE
    assert (read.stimulus_factors, read.knowledge_factors) == (READ.stimulus_factors, READ.knowledge_factors)
    assert (read.stimulus, read.evaluation, read.evaluation_style) == (READ.stimulus, READ.evaluation, "Logical")


@pytest.mark.parametrize(
    "text",
    [
        "<THINK>no\nBehavior: [A]</THINK>" + WHOLE,
        "<thinking>no</thinking>" + WHOLE,
        "[THINK]no[/THINK]" + WHOLE,
        "~~~\n" + WHOLE + "\n~~~",
        "<answer>" + WHOLE,
        "<think>" + WHOLE + "B]</think>\nDone.",
        "x " * 200_000 + "</think>" + WHOLE,
    ],
)
def test_what_a_model_thought_aloud_is_no_part_of_its_answer(text: str) -> None:
    assert parse(text) == (READ, COMPLETE)


@pytest.mark.parametrize(
    ("written", "known", "other"),
    [
        ("<Boredom>, <Time of Day>", ("Boredom", "Time of Day"), ()),
        ("Boredom<br/>Time of Day", ("Boredom", "Time of Day"), ()),
        ("(1) Boredom, (2) Time of Day", ("Boredom", "Time of Day"), ()),
        ("a) Boredom b) Time of Day", ("Boredom", "Time of Day"), ()),
        ("Boredom \u00b7 Time of Day", ("Boredom", "Time of Day"), ()),
        ("Boredom\u2014nothing to do", ("Boredom",), ("nothing to do",)),
        ("Internal States > Boredom", ("Boredom",), ()),
        ("Internal States/Boredom", ("Boredom",), ()),
        ("Internal States and External Cues", (), ("Internal States", "External Cues")),
        ("Boredom as well as Hunger", ("Boredom", "Hunger"), ()),
        ("Boredom plus Hunger", ("Boredom", "Hunger"), ()),
        ("Boredom and/or Hunger", ("Boredom", "Hunger"), ()),
        ("Boredom. Time of Day.", ("Boredom", "Time of Day"), ()),
        ("The Boredom", ("Boredom",), ()),
        ("\uff22\uff4f\uff52\uff45\uff44\uff4f\uff4d", ("Boredom",), ()),
    ],
)
def test_factors_are_told_apart_however_they_are_joined(
    written: str, known: tuple[str, ...], other: tuple[str, ...]
) -> None:
    rationale, _ = parse(f"x\nStimulus Factors: {written}\n")
    assert (rationale.stimulus_factors, rationale.other) == (known, other)


def test_a_thousand_factors_are_counted_and_a_known_one_among_them_is_found() -> None:
    many = ", ".join(f"factor {number}" for number in range(1_000))
    rationale, _ = parse(f"x\nStimulus Factors: {many}, Boredom")
    assert (rationale.stimulus_factors, rationale.other[-1]) == (("Boredom",), "and 981 more")


@pytest.mark.parametrize(
    ("written", "style"),
    [
        ("\u00abLogical\u00bb", "Logical"),
        ("(Logical)", "Logical"),
        ("<Logical>", "Logical"),
        ("\uff2c\uff4f\uff47\uff49\uff43\uff41\uff4c", "Logical"),
        ("I evaluated logically", "Logical"),
        ("Logical and Intuitive", "Logical and Intuitive"),
    ],
)
def test_a_style_is_read_however_it_is_written(written: str, style: str) -> None:
    assert parse(f"\nEvaluation Style: {written}")[0].evaluation_style == style


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        *((f"Behavior: {said}", "B") for said in (
            "I choose B", "I would choose B", "B because it is funny", "B, the comedy", "B (the comedy)", "B) Fargo",
            "B!", "\uff22", "\uff3b\uff22\uff3d", "[Option B]", "<B>", "{B}", "\nB", "\n\n[B]", "\n- [B]",
            "not [A] but [B]", "Instead of [A], I choose [B]", "I prefer B over A",
        )),
        ("Behavior - [B]", "B"),
        ("Behavior is [B]", "B"),
        ("It is late.\nI would choose [B].", "B"),
        ("It is late.\n**B**", "B"),
        ("Option B", "B"),
        ("<think>Behavior: [A]?</think>\nIt is late.\nBehavior: [B]", "B"),
        ("My behavior: I always choose (A) comedies.\nBehavior: [B]", "B"),
        ("Behavior: [B] and [C]", None),
        ("Behavior: B or C", None),
        ("Behavior: [A-E]", None),
        ("Behavior: A comedy is nice", None),
        ("Behavior: I, who like comedies", None),
        ("A comedy is nice", None),
        ("I like (A) most of all the films that I know", None),
    ],
)  # fmt: skip
def test_a_letter_is_read_as_a_person_would_and_a_doubtful_one_is_none(text: str, letter: str | None) -> None:
    assert stated_choice(text) == letter
