"""What the demo tells at its end is what its own reader counted, in sentences; programs get the names."""

import re
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from tests.support.experiment import page_examples as made
from worker.cli.main import app
from worker.demo import last_screen
from worker.demo.independent_count import Count
from worker.demo.traffic import Tally
from worker.experiment.readout import Report
from worker.experiment.statistics.confidence import Verdict

IMPORTED_S = time.monotonic()
QUESTIONS = (("SLATE", "control"), ("SLATE", "candidate"), ("DUEL", "candidate"))
INTERVAL = re.compile(r"[\d.]+ to [\d.]+")


def answer(count: Count, event: str, *, times: int = 1) -> None:
    for question, variant in QUESTIONS * times:
        count.add({"event_id": event, "question": question, "variant": variant})


def tally(*events: str, planned: int = 0) -> Tally:
    """Return a demo that has sent these events, first answered after 7 s and last 2 s later."""
    found = Tally("vllm", started_s=100.0, first_s=7.0, last_s=109.0)
    found.count.plan(planned or len(events))
    for event in events:
        found.count.expect(event, ["control", "candidate"])
    return found


def complete(*events: str) -> Tally:
    found = tally(*events)
    for event in events:
        answer(found.count, event)
    found.count.last = {
        "user_id": "user-7", "choice": 1, "options": [{"item_id": "movies-0286"}, {"item_id": "movies-0001"}],
        "draws": [{"rationale": None, "text": "I am in the mood\nfor " + "something [b]quiet[/b] " * 20}],
    }  # fmt: skip
    found.names = {"movies-0001": "Silent Harbour (1994)", "movies-0286": "Iron Road (2001)"}
    return found


# -- for programs


def test_what_was_never_sent_is_missing_and_not_consumed() -> None:
    found = tally("a", "b", "c", planned=10)
    answer(found.count, "a")
    found.count.add({"event_id": "b", "question": "DUEL", "variant": "candidate"})
    told = last_screen.summary(found, None)
    # Of b two answers, of c all three, and of the seven that were not sent all three.
    assert (told["consumed"], told["responses"], told["missing"], told["duplicates"]) == (2, 4, 26, 0)


def test_a_demo_that_is_through_misses_nothing() -> None:
    told = last_screen.summary(complete("a", "b"), None)
    assert (told["consumed"], told["responses"], told["missing"], told["duplicates"]) == (2, 6, 0, 0)
    assert (told["first_response_s"], told["events_per_s"]) == (7.0, 1.0)


def test_an_answer_that_nobody_asked_for_is_no_event_and_a_dead_letter_is_one() -> None:
    found = tally("a")
    answer(found.count, "stranger")
    found.dead_letters += 1
    told = last_screen.summary(found, None)
    assert (told["consumed"], told["missing"], told["duplicates"]) == (1, 3, 3)


def test_events_that_were_sent_are_not_taken_back_by_a_smaller_plan() -> None:
    found = tally("a", "b", planned=100)
    assert (found.count.sent, found.count.unsent) == (2, 98)
    found.count.plan(1)
    assert (found.count.sent, found.count.unsent, found.count.missing) == (2, 0, 6)


def test_the_time_to_the_first_answer_counts_from_the_command() -> None:
    assert time.monotonic() - last_screen.process_age_s() < IMPORTED_S


# -- for people


@pytest.mark.parametrize("bootstrap", [None, "kafka:9092"])
def test_the_next_commands_are_commands(bootstrap: str | None) -> None:
    found = last_screen.next_commands(bootstrap)
    assert len(found) == 2
    for line in found:
        words = [word for word in line.partition("#")[0].split() if not word.startswith(("HOST", "kafka:"))]
        done = CliRunner().invoke(app, [*words[:-1], "--help"])
        assert done.exit_code == 0, done.output
        assert words[-1] in done.output  # --bootstrap


def test_the_screen_has_three_sentences_two_commands_and_two_lines_on_what_it_cannot_tell() -> None:
    lines = last_screen.lines(complete("a", "b"), made.report(), None)
    seen, commands, limits = "\n".join(lines).split("\n\n")
    assert [line[-1] for line in seen.splitlines()] == [".", ".", "\u201d" if seen.endswith("\u201d") else "."]
    assert [line.split()[1] for line in commands.splitlines()[1:]] == ["demo", "check"]
    assert limits.startswith("What this does not show: what real users would choose")
    assert len(limits.splitlines()) == 2
    assert "README" in limits
    assert "_" not in "\n".join(lines)  # no name of a field


def test_the_figure_has_one_interval_on_the_whole_screen_and_that_has_its_level() -> None:
    screen = "\n".join(last_screen.lines(complete("a"), made.report(), None))
    assert INTERVAL.findall(screen) == ["51.6 to 55.2"]
    assert "of their choices 53.4 % went to the candidate's list, 95 % interval 51.6 to 55.2; 50 % is a tie" in screen
    wide = Report((made.readout(None, alpha=0.1),))
    assert "90 % interval" in last_screen.verdict(wide)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict.CANDIDATE_PREFERRED, "they prefer the candidate's list"),
        (Verdict.CONTROL_PREFERRED, "they prefer control's list"),
        (Verdict.NO_DIFFERENCE, "the lists differ by less than 0.01"),
        (Verdict.KEEP_RUNNING, "no preference is shown yet"),
        (Verdict.DO_NOT_TRUST, "do not trust it"),
    ],
)
def test_each_verdict_is_a_sentence(verdict: Verdict, words: str) -> None:
    report = made.report(made.readout("demo", made.epoch(made.comparison(verdict=verdict))))
    said = last_screen.verdict(report)
    assert said.startswith("3,120 simulated users compared two lists of films: ")
    assert words in said


def test_without_an_interval_it_says_what_is_wanting() -> None:
    few = made.report(made.readout("demo", made.epoch(made.waiting())))
    assert "40 users so far, at least 100 needed" in last_screen.verdict(few)
    assert not INTERVAL.search(last_screen.verdict(few))
    assert last_screen.verdict(Report(())).startswith("Nothing can be said")
    assert last_screen.verdict(Report((replace(made.readout(), epochs=(made.epoch(),)),))).startswith("Nothing can")


def test_what_did_not_come_is_told_with_its_number() -> None:
    assert last_screen.counted(complete("a", "b")).startswith("Each of 6 questions about 2 events was answered exactly")
    found = tally("a", "b")
    answer(found.count, "a", times=2)
    found.dead_letters = 1
    assert last_screen.counted(found).startswith(
        "Of 6 answers 3 came: 3 missing, 3 too many, 1 dead-lettered events; the first after 7 s"
    )


def test_a_response_that_timed_out_is_no_answer() -> None:
    found = complete("a", "b")
    found.answers.append(SimpleNamespace(missing=True))  # type: ignore[arg-type]
    assert last_screen.counted(found).startswith("Of 6 answers 6 came: 1 without a choice; ")


def test_the_example_has_titles_and_a_reason_of_one_line() -> None:
    said = last_screen.example(complete("a"))
    assert said.startswith("One of them, user-7, chose Silent Harbour (1994) over 1 other, in the model's words: ")
    assert "\n" not in said
    assert len(said) < 300
    assert "movies-" not in said
    silent = complete("a")
    silent.count.last |= {"draws": [{"rationale": None, "text": None}]}
    assert last_screen.example(silent).endswith("this engine gives no reasons.")
    silent.count.last |= {"choice": None}
    assert last_screen.example(silent) == "The last user asked chose nothing."


def test_a_reason_has_the_sentences_of_a_rationale_without_its_labels() -> None:
    found = complete("a")
    rationale = {"stimulus": "It is Sunday.", "stimulus_factors": ["Boredom"], "knowledge": None,
                 "evaluation": "I want drama."}  # fmt: skip
    found.count.last |= {"draws": [{"rationale": rationale, "text": "It is Sunday.\nStimulus Factors: Boredom ..."}]}
    assert last_screen.example(found).endswith("in the model's words: \u201cIt is Sunday. I want drama.\u201d")


def test_where_nothing_came_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setattr("sys.argv", ["mirrorstream"])
    said = last_screen.no_answer("vllm", 61.2)
    assert said.startswith("No answer after 61 s (")
    assert said.endswith("Close other programs, or take the quick look without vLLM: mirrorstream demo --engine"
                         " choice-model.")  # fmt: skip
    monkeypatch.setenv("MAKELEVEL", "1")
    assert "make demo ENGINE=choice-model" in last_screen.no_answer("vllm", 61.2)
    assert last_screen.no_answer("choice-model", 61.2).endswith("Close other programs.")


def test_delivery_is_claimed_on_a_real_kafka_alone() -> None:
    assert "proves nothing about delivery" in last_screen.cannot_tell(None)[0]
    assert "exactly once" in last_screen.cannot_tell("kafka:9092")[0]
