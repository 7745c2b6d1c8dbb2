"""Ten thousand of each: no text stops the parser, and no impression the prompt."""

from random import Random

from worker.core.prompts.prompt import build, letter, render_option, scene
from worker.core.prompts.rationale import MAX_SECTION_CHARS, ParseStatus, parse
from worker.core.simulation.questions import Depths, plan
from worker.settings import prompt_profiles

NUM = 10_000
WHOLE = (
    " a\nStimulus Factors: Hunger\nKnowledge: b\nKnowledge Factors: Price\nEvaluation: c\nEvaluation Style: Logical\n"
)
PIECES = (
    "Stimulus:", "Stimulus Factors:", "Knowledge:", "Knowledge Factors: ", "Evaluation:", "Evaluation Style: ",
    "Behavior: [", "Thought:", "Boredom", "Internal States (", ")", ", ", "/", "Logical", "**", "##", "\n", "\r\n", " ",
    "\t", "\x00", "\u2028", "\n\u017ftimulus: ",
    "\nEvaluat\u0131on: ", "\nSt\u0130mulus: ", WHOLE, "é", "千", "\U0001f3ac", "[A]", "[", "]", "Price; Risk",
    "x" * 5_000,
)  # fmt: skip


def random_text(chance: Random) -> str:
    def piece() -> str:
        return chance.choice(PIECES) if chance.random() < 0.7 else chr(chance.randrange(0xD800))

    return "".join(piece() for _ in range(chance.randrange(40)))


def test_ten_thousand_random_texts_parse() -> None:
    """Every one gives a bounded rationale, and every status occurs."""
    seen = set()
    for seed in range(NUM):
        rationale, status = parse(random_text(Random(seed)))
        seen.add(status)
        texts = (rationale.stimulus, rationale.knowledge, rationale.evaluation, rationale.evaluation_style)
        assert all(text is None or len(text) <= MAX_SECTION_CHARS for text in texts), seed
    assert seen == set(ParseStatus)


def test_ten_thousand_random_impressions_render() -> None:
    """Every question has one line a letter, in order, whatever the texts are."""
    from tests.support.examples import HOSTILE, wild_impression

    profile = prompt_profiles.load("mirror-v1")
    for seed in range(NUM):
        chance = Random(seed)
        shown = wild_impression([*chance.sample(HOSTILE, 2), random_text(chance)[:500] or "x"], chance)
        shared = scene(profile, shown, 10)
        for question in plan(shown, lambda item, shown=shown: render_option(profile, shown, item), Depths()):  # type: ignore[misc]
            text = build(profile, shared, question.options).user.split("\n# Exposure List\n")
            found = [line[:4] for line in text[1].split("\n") if line[:1] == "[" and line[2:4] == "] "]
            assert found == [f"[{letter(slot)}] " for slot in range(len(question.options))], seed
            assert len(text) == 2, seed
