"""Files of public data sets become the prompts that a person would write, with outcomes; what is lacking is said.

The files are made in the documented formats, and `data_sets.json` has the messages.
"""

import json
from pathlib import Path

import pytest

from tests.support.data_sets import MAKERS, DataSet
from worker.cli.replay_sources import EventFile
from worker.core.errors import BadSettings, Poison
from worker.core.outcomes import Outcome
from worker.core.prompts.prompt import build, render_option, scene
from worker.core.records import Impression
from worker.core.simulation.questions import Depths, plan
from worker.settings import input_forms, load, mappings, prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")
GOLDEN = json.loads(Path(__file__).with_name("data_sets.json").read_text(encoding="utf-8"))
LIKES = {"recbole": "LIKE", "movielens-100k": "LIKE", "movielens-1m": "LIKE", "movielens-latest": "LIKE"}


def read(made: DataSet) -> list[tuple[Impression | None, Outcome | None]]:
    mapping = mappings.load(made.mapping)
    return list(EventFile(made.events, limit=0, mapping=mapping, items=made.items))


def messages(made: DataSet) -> list[str]:
    shown = [impression for impression, _ in read(made) if impression is not None]
    found = []
    for one in shown:
        question = plan(one, lambda item, one=one: render_option(PROFILE, one, item), Depths())[0]  # type: ignore[misc]
        found.append(build(PROFILE, scene(PROFILE, one, 10), question.options).user)
    return found


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_file_in_the_documented_format_is_the_prompt_that_a_person_would_write(tmp_path: Path, name: str) -> None:
    assert messages(MAKERS[name](tmp_path)) == GOLDEN[name]


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"snowplow-tsv"}))
def test_outcomes_come_with_the_impressions_and_name_their_events(tmp_path: Path, name: str) -> None:
    found = read(MAKERS[name](tmp_path))
    assert len(found) == 2
    for impression, outcome in found:
        assert impression is not None
        assert outcome is not None
        assert (outcome.event_id, outcome.user_id) == (impression.event_id, impression.user.user_id)
        assert outcome.window_closed
        shown = {item.item_id for item in impression.slates[0].items}
        assert {action.item_id for action in outcome.actions} <= shown
    acted = [len(outcome.actions) for _, outcome in found if outcome]
    assert sorted(acted) == ([1, 1] if name == "amazon-reviews" else [0, 1])
    if name in LIKES:
        assert {action.kind for _, outcome in found if outcome for action in outcome.actions} == {LIKES[name]}


def test_each_says_what_its_fields_cannot_say() -> None:
    for name in MAKERS:
        lacks = " ".join(mappings.load(name).lacks)
        assert "candidate" in lacks, name
        assert "propensit" in lacks, name


def test_a_policy_of_ones_own_is_a_candidate_of_open_bandit(tmp_path: Path) -> None:
    made = MAKERS["open-bandit"](tmp_path, [(4, 1, 0.0125)], candidate=[(7, 0.5)])
    [(found, _)] = read(made)
    assert found is not None
    control, candidate = found.slates
    assert (control.slate_propensity, control.propensity_kind) == (0.0125, "SLATE")
    assert (candidate.role, candidate.target_propensity, candidate.items[0].item_id) == ("CANDIDATE", 0.5, "7")


def test_a_row_of_snowplows_enriched_stream_is_read_as_a_message_too(tmp_path: Path) -> None:
    rows = MAKERS["snowplow-tsv"](tmp_path).events.read_bytes().splitlines()
    form = input_forms.load(load(overrides={"input_format": "tsv", "mapping": "snowplow-tsv"}, files=True))
    other, found = (form.read(row, (), form.schema_of(row, ()))[1] for row in rows)  # type: ignore[arg-type]
    assert other is None
    assert found is not None
    assert [item.attributes["name"] for item in found.slates[0].items] == ["Baseball T", "Cap"]
    for row, reason in ((rows[1] + b"\tx", "invalid"), (b"\xff", "utf8"),
                        (rows[1].replace(b'"data"', b'"dat'), "json"), (b"x" * (3 << 20), "limit")):  # fmt: skip
        with pytest.raises(Poison) as caught:
            form.read(row, (), None)
        assert caught.value.reason == reason


def test_rows_need_a_mapping_that_names_their_columns() -> None:
    for mapping in ({}, {"mapping": "ga4"}):
        with pytest.raises(BadSettings, match="columns"):
            load(overrides={"input_format": "tsv"} | mapping, files=True)
