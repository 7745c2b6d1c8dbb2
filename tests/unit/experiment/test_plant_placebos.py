"""Placebos from impressions to the check beside the verdict."""

from dataclasses import replace

import pytest

from tests.support.examples import impression, slate
from tests.support.experiment.made import answers, response
from worker.core.errors import BadSettings
from worker.core.records import Experiment, Impression, Item, Role
from worker.experiment.plant_placebos import LEAST_DECOYS, MAX_ITEMS, Decoys, placebos, plant
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.store.database import State
from worker.settings import load


def one(number: int = 0, items: str = "ABCD", experiment: str | None = "exp") -> Impression:
    """Make an impression of control's items in an experiment."""
    made = impression(slate("control", items, Role.CONTROL), event_id=f"e{number}")
    return replace(made, experiment=Experiment(experiment) if experiment else None)


def knowing(num_items: int) -> Decoys:
    """Know items that were each offered once."""
    decoys = Decoys()
    for number in range(num_items):
        shown = one(number)
        offered = (Item(f"item-{number}", 0, text=f"film {number}"),)
        decoys.see(replace(shown, slates=(replace(shown.slates[0], items=offered),)))
    return decoys


def test_an_experiment_plants_splits_and_decoys_under_names_of_their_own() -> None:
    found = {made.experiment_id: made for made in placebos(one(), knowing(2 * LEAST_DECOYS), share=1)}
    assert list(found) == ["exp~split", "exp~decoy", "exp~parity"]
    assert [slate.variant for slate in found["exp~decoy"].slates] == ["real", "decoys"]
    planted = {item.item_id for item in found["exp~decoy"].slates[1].items} - set("ABCD")
    assert len(planted) == 2
    assert len({made.event_id for made in found.values()} | {"e0"}) == 4


def test_an_experiment_plants_no_decoys_while_few_items_are_known() -> None:
    found = placebos(one(), knowing(2 * LEAST_DECOYS - 1), share=1)
    assert [made.experiment_id for made in found] == ["exp~split", "exp~parity"]


@pytest.mark.parametrize("other", [one(experiment=None), one(experiment="exp~decoy")])
def test_an_experiment_plants_nothing_beside_placebos_and_loose_impressions(other: Impression) -> None:
    assert list(placebos(other, knowing(200), share=1)) == []


def test_an_experiment_plants_for_a_share_of_the_users() -> None:
    """The same users each time."""
    made = [replace(one(number), user=replace(one().user, user_id=f"u{number}")) for number in range(2_000)]
    chosen = [each.user.user_id for each in made if list(placebos(each, Decoys(), share=0.1))]
    assert 150 <= len(chosen) <= 250
    assert chosen == [each.user.user_id for each in made if list(placebos(each, Decoys(), share=0.1))]


def test_an_experiment_takes_what_is_offered_least_for_decoys() -> None:
    decoys = knowing(2 * LEAST_DECOYS)
    for _ in range(3):
        decoys.see(replace(one(), slates=(slate("control", "A", Role.CONTROL),)))
    assert "A" not in {item.item_id for item in decoys.unpopular(one().domain)}
    assert decoys.unpopular("books") == []


def test_an_experiment_remembers_a_bounded_number_of_items() -> None:
    decoys = knowing(MAX_ITEMS + 50)
    assert len(decoys.unpopular(one().domain)) == MAX_ITEMS // 2


@pytest.mark.parametrize(("share", "state"), [(0.3, "OK"), (0.5, "FAILED")])
def test_an_experiment_shows_its_placebos_as_checks(share: float, state: str) -> None:
    """A simulator that does not mind decoys is not to be trusted; the placebo is no experiment of its own."""
    counted = State()
    records = [response(user, duel_share=0.6 + 0.2 * (user % 2)) for user in range(300)]
    records += [
        response(user, experiment_id="exp~decoy", variant="decoys", control_variant="real",
                 duel_share=share + 0.02 * (user % 2) - 0.01)
        for user in range(300)
    ]  # fmt: skip
    counted.take(answers(records), health={}, positions={})
    (readout,) = report(counted, Defaults()).readouts
    (comparison,) = readout.current.comparisons
    found = {check.name: check for check in comparison.checks}
    assert found["placebo: decoy"].state == state
    assert (comparison.verdict == "DO_NOT_TRUST") is (state == "FAILED")
    assert ("placebo: decoy" in comparison.reason) is (state == "FAILED")


@pytest.mark.parametrize(
    ("topic", "wanted"),
    [
        (None, r"^mapping: shop has events for ga4, .*name a topic of their own with --topic"),
        ("elsewhere", r"^--topic: elsewhere is not among the input_topics \(shop, \^placebos\)"),
    ],
)
def test_placebos_of_foreign_events_want_a_topic_that_the_worker_reads(topic: str | None, wanted: str) -> None:
    """Before anything is read: nobody else's topic gets our Avro."""
    settings = load(overrides={"input_topics": "shop,^placebos", "input_format": "json", "mapping": "ga4"}, files=True)
    with pytest.raises(BadSettings, match=wanted):
        plant(settings, "exp", share=1, placebos_topic=topic, tell=print)
