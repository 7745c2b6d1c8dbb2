"""What is published of a response: without texts, or with personal data taken out of them."""

import time
from dataclasses import replace

import pytest

from tests.support.examples import impression, record
from tests.support.patience import patience
from worker.core.prompts.rationale import ParseStatus, Rationale
from worker.core.simulation.draws import EngineCard
from worker.core.simulation.privacy import FAILED, Privacy, Redactor, publishing, redacted
from worker.core.simulation.questions import Depths, plan
from worker.core.simulation.response import Draw, SimulatedResponse
from worker.core.simulation.response_builder import AskedQuestion, Setup, respond, source_of
from worker.core.steps import run

ADDRESS = "ann@example.org"
SETUP = Setup(EngineCard("vllm", "0", "m", None, {}, reads_prompt=True), "mirror-v1", "5f", 2, Depths(), 10)


def response() -> SimulatedResponse:
    """A response whose texts all have an address."""
    shown = impression()
    *_, duel = plan(shown, lambda item: item.text or "", Depths())
    found = respond(shown, [AskedQuestion(duel)], SETUP, source_of(record(), None), sample_rate=1, produced_at_us=1)[0]
    assert found.options[0].text
    said = Rationale(
        stimulus=f"Mail to {ADDRESS}.", stimulus_factors=("Boredom",), knowledge=ADDRESS, evaluation=f"x {ADDRESS}",
        other=(ADDRESS,),
    )  # fmt: skip
    draw = Draw(said, f"Mail to {ADDRESS}.", (0.5, 0.5), (0, 1), "stop", ParseStatus.COMPLETE, 0.9)
    return replace(found, draws=(draw, draw))


def test_without_content_ids_and_figures_stay_and_no_text_does() -> None:
    before = response()
    found = run(publishing(before, Privacy(content=False))).response
    assert {(draw.text, draw.rationale) for draw in found.draws} == {(None, None)}
    assert {(one.text, tuple(one.attributes)) for one in found.options} == {(None, ())}
    assert [draw.probabilities for draw in found.draws] == [draw.probabilities for draw in before.draws]
    assert [one.item_id for one in found.options] == [one.item_id for one in before.options]
    assert found == replace(before, draws=found.draws, options=found.options)
    assert ADDRESS not in repr(found)


def test_a_redactor_sees_every_text_of_a_rationale_and_is_counted() -> None:
    found = run(publishing(response(), Privacy(redactor=redacted)))
    assert ADDRESS not in repr(found.response)
    assert found.response.draws[0].text == "Mail to [email]."
    assert found.response.draws[1].rationale == Rationale(
        stimulus="Mail to [email].", stimulus_factors=("Boredom",), knowledge="[email]", evaluation="x [email]",
        other=("[email]",),
    )  # fmt: skip
    assert (found.num_redacted, found.num_failed) == (10, 0)


def half_a_character(_: str) -> str:
    return "\ud800"


@pytest.mark.parametrize(
    ("redactor", "error"),
    [(lambda text: {}[text], "KeyError"), (lambda _: None, "TypeError"), (half_a_character, "UnicodeEncodeError")],
)
def test_what_a_redactor_fails_on_is_removed_and_its_message_is_not_kept(redactor: Redactor, error: str) -> None:
    found = run(publishing(response(), Privacy(redactor=redactor)))
    assert ADDRESS not in repr(found)
    assert found.response.draws[0].text == FAILED
    assert (found.num_redacted, found.num_failed, found.error) == (0, 10, error)


def test_user_ids_leave_as_pseudonyms_that_only_the_key_makes() -> None:
    before = response()
    one, same, other = (
        run(publishing(before, Privacy(content=False, pseudonym_key=key))).response.user_id
        for key in (b"k" * 16, b"k" * 16, b"l" * 16)
    )
    assert one == same != other
    assert before.user_id not in one


def test_without_any_of_these_nothing_is_touched() -> None:
    before = response()
    assert run(publishing(before, Privacy())).response is before


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("see https://shop.example/u?mail=a%40b and www.example.org/x.", "see [url] and [url]"),
        ("ann.lee+1@mail.example.co.uk, or müller@bücher.example", "[email], or [email]"),
        ("DE89 3704 0044 0532 0130 00 and GB29NWBK60161331926819", "[iban] and [iban]"),
        ("from 192.0.2.7 and 2001:db8:0:0:0:0:0:1", "from [ip] and [ip]"),
        ("card 4111 1111 1111 1111 or 4111111111111111", "card [card] or [card]"),
        (
            "+49 (0)30 1234567, 0049 30 1234567, (555) 010-4477 and 555.010.4477",
            "[phone], [phone], [phone] and [phone]",
        ),
    ],
)
def test_patterns_take_out(text: str, want: str) -> None:
    assert redacted(text) == want


@pytest.mark.parametrize(
    "text",
    [
        "From 1999 to 2011 I rated 4.5 of 5; version 1.2.3 cost 1,299.00 and $49.90",
        "2001: A Space Odyssey (1968), 12 Angry Men, Se7en, M3GAN 2.0, Apollo 13",
        "ISBN 978-3-16-148410-0 or 9783161484100? No: Catch-22, 300, 1917; 10:30:00 on 2026-11-29",
        "@home with C++ and A.I.: it's 50 % off, items 1. 2. 3., ratio 16:9",
    ],
)
def test_patterns_leave_titles_years_prices_and_times(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize("piece", ["a.", "1.", "+1 ", "4 ", "A1", "f:", "http://", "a@a.", "(", "é", "DE12 3456 "])
def test_patterns_take_time_that_grows_with_the_text_alone(piece: str) -> None:
    text = (piece * 8_000)[:8_000]
    begin_s = time.perf_counter()
    redacted(text)
    assert time.perf_counter() - begin_s < patience(0.5)
