"""Each mapping that ships turns an event, as its documentation has it, into the prompt that a person would write.

The events of `mappings/` have the fields and the shapes of that documentation, and the message was written by hand.
"""

import json
from pathlib import Path

import pytest

from tests.support.data_sets import MAKERS
from worker.core.codec.mapping import EventMapping
from worker.core.errors import BadSettings, Poison
from worker.core.prompts.prompt import build, render_option, scene
from worker.core.prompts.unshown import unshown
from worker.core.records import Impression
from worker.core.simulation.questions import Depths, plan
from worker.settings import mappings, prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")
GOLDEN = sorted(Path(__file__).with_name("mappings").glob("*.json"))


def message(shown: Impression) -> str:
    question = plan(shown, lambda item: render_option(PROFILE, shown, item), Depths())[0]
    return build(PROFILE, scene(PROFILE, shown, 10), question.options).user


def read(name: str, event: object) -> Impression | None:
    return mappings.load(name).decode(json.dumps(event).encode())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_documented_event_is_the_prompt_that_a_person_would_write(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    found = read(path.stem, case["event"])
    assert found is not None
    assert message(found) == case["message"]
    assert [item.position for item in found.slates[0].items] == [0, 1]
    assert (found.slates[0].role, found.slates[0].shown) == ("CONTROL", True)
    assert unshown(PROFILE, found).get("items", set()) <= {"brand"}  # which goes to the readout


def test_every_mapping_that_ships_has_its_event_and_says_what_it_lacks() -> None:
    assert {path.stem for path in GOLDEN} | MAKERS.keys() == set(mappings.names())
    assert all(any("candidate" in one for one in mappings.load(name).lacks) for name in mappings.names())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_other_events_are_passed_over(path: Path) -> None:
    assert read(path.stem, {"event_name": "page_view", "type": "page", "event": "x"}) is None


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_same_event_has_the_same_id_and_time_and_another_has_not(path: Path) -> None:
    event = json.loads(path.read_text(encoding="utf-8"))["event"]
    first, again = read(path.stem, event), read(path.stem, event)
    assert first is not None
    assert first == again
    assert first.occurred_at in {1_612_069_510_766_593, 1_793_491_200_500_000}


def test_what_is_wrong_is_told_with_its_place_in_the_impression_and_in_the_event() -> None:
    event = json.loads((GOLDEN[0].with_name("ga4.json")).read_text(encoding="utf-8"))["event"]
    event["items"][1]["price"] = {"amount": 5}
    mapping: EventMapping = mappings.load("ga4")
    place = r"slates.0.items.1.attributes.price: is an object, want text.* \(from items\[1\].price\)"
    with pytest.raises(Poison, match=place):
        mapping.decode(json.dumps(event).encode(), show_names=True)


def test_a_mapping_that_is_none_is_told(tmp_path: Path) -> None:
    wanted = (
        r"mapping segmnt: .*want one of amazon-reviews, amplitude, .*snowplow-tsv or a path; did you mean segment\?"
    )
    with pytest.raises(BadSettings, match=wanted):
        mappings.load("segmnt")
    path = tmp_path / "mine.yaml"
    path.write_text("impression: [")
    with pytest.raises(BadSettings, match=r"mine.yaml: is not YAML"):
        mappings.load(str(path))
