"""What is told: each verdict that differs from the one that was told last, once."""

from dataclasses import replace

from tests.support.experiment import page_examples as made
from worker.experiment.statistics.confidence import Verdict
from worker.experiment.webhook.changes import Judged, Told, changes

B = Judged("home-ranker-7", "candidate", "control")


def test_a_first_verdict_is_told_unless_it_is_the_one_that_all_begin_with() -> None:
    found = list(changes(made.report(made.readout("e", made.epoch(made.waiting(), made.losing()))), {}))
    assert [(one.of, one.old, one.new) for one in found] == [
        (Judged("e", "late", "control"), None, Verdict.CONTROL_PREFERRED)
    ]


def test_a_verdict_is_told_once_and_so_is_the_way_back() -> None:
    report = made.report()
    [first] = changes(report, {})
    told = {B: Told("CANDIDATE_PREFERRED", first.number)}
    assert list(changes(report, told)) == []
    [back] = changes(made.report(made.readout("home-ranker-7", made.epoch(made.waiting()))), told)
    assert (back.old, back.new, back.number) == ("CANDIDATE_PREFERRED", Verdict.KEEP_RUNNING, 2)


def test_only_the_current_epoch_is_told_and_no_experiment_without_an_id() -> None:
    old = made.epoch(made.losing())
    two = made.readout("home-ranker-7", old, made.epoch(made.comparison()))
    nameless = replace(two, experiment_id=None)
    assert [one.of for one in changes(made.report(nameless, two), {})] == [B]


def test_the_text_of_a_change_calls_nobody_and_links_nowhere() -> None:
    """Chats obey what stands in it, and whoever sends impressions names experiments."""
    name = "<!channel> <https://evil.org|see> [see](https://evil.org) @all\n\u202e"
    [one] = changes(made.report(made.readout(name, made.epoch(made.comparison()))), {})
    body = one.body(at="2026-11-01T12:00:00Z")
    assert body["experiment"] == name
    assert not set("<>[]@\n\u202e") & set(str(body["text"]))


def test_a_change_has_one_id_whenever_it_is_told_and_another_the_next_time() -> None:
    [one] = changes(made.report(), {})
    [later] = changes(made.report(made.readout("home-ranker-7", made.epoch(made.comparison(), hour=90))), {})
    [again] = changes(made.report(), {B: Told("KEEP_RUNNING", 2)})
    assert one.id == later.id != again.id
    assert one.body(at="2026-11-01T12:00:00Z") == {
        "id": one.id,
        "experiment": "home-ranker-7",
        "candidate": "candidate",
        "control": "control",
        "old_verdict": None,
        "new_verdict": "CANDIDATE_PREFERRED",
        "reason": "the whole interval is above 50 %",
        "text": "home-ranker-7, candidate: candidate preferred (the whole interval is above 50 %)",
        "at": "2026-11-01T12:00:00Z",
        "as_of": made.AT_US + 72 * made.HOUR_US,
        "config_fingerprint": "3f9a1c0b77de",
        "definition_key": "9c41d2aa07be",
        "backtest": "",
    }
