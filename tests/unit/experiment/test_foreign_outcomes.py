"""Outcomes of another shape are read by a mapping; events that are none are counted, and nothing is lost in silence."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.examples import record
from worker.core.errors import BadSettings
from worker.core.records import Partition
from worker.experiment import service
from worker.experiment.service import Options
from worker.experiment.store.database import State
from worker.kafka.follower import Reached
from worker.settings import load

MAPPING = """
outcome:
  when: kind == 'click'
  outcome_id: {hash: [id]}
  event_id: id
  user_id: user
  variant: {value: control}
  observed_at: {from: at, unit: s}
  window_closed: {value: true}
  actions: [{item_id: sku, kind: {value: CLICK}}]
"""
EVENT = {"kind": "click", "id": 7, "user": "u", "at": 1_793_491_200, "sku": 3}


def test_foreign_outcomes_are_counted_and_others_are_told(tmp_path: Path) -> None:
    path = tmp_path / "clicks.yaml"
    path.write_text(MAPPING)
    settings = load(overrides={"outcomes_mapping": str(path)})
    events = [EVENT, EVENT | {"kind": "view"}, EVENT | {"id": 8, "user": None}, EVENT | {"id": 9}]
    values = [*(json.dumps(one).encode() for one in events), b"hello"]
    records = [
        replace(record(value), partition=Partition("outcomes", 0), timestamp_ms=1_793_491_260_000) for value in values
    ]
    with closing(State()) as state:
        service._records(settings, Options(outcomes_topic="outcomes"), state).take(records, Reached({}))
        assert state.health() == {"outcomes": 5, "unmapped": 1, "malformed_outcome": 1, "magic": 1}
        found = state.db.execute("select event, count(*) from outcome group by event order by event").fetchall()
    assert [tuple(row) for row in found] == [("7", 1), ("9", 1)]


def test_a_mapping_without_what_is_wanted_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clicks.yaml"
    path.write_text(MAPPING)
    with pytest.raises(BadSettings, match=r"mapping: .* has no `impression`"):
        load(overrides={"mapping": str(path), "input_format": "json"}, files=True)
    with pytest.raises(BadSettings, match="outcomes_mapping: ga4 has no `outcome`"):
        load(overrides={"outcomes_mapping": "ga4"}, files=True)


def test_protobuf_settings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.desc"
    path.write_bytes(b"\xff")
    named = {"protobuf_descriptors": str(path), "protobuf_message": "shop.Shown"}
    for overrides, problem in (
        (named, "protobuf_descriptors: needs input_format=protobuf"),
        ({"input_format": "protobuf", "protobuf_message": "a"}, "need each other"),
        ({"input_format": "protobuf", **named}, "protobuf_descriptors: .*Protobuf schema is no descriptor"),
        ({"input_format": "protobuf", **named, "protobuf_descriptors": "/nowhere"}, "/nowhere: No such file"),
    ):
        with pytest.raises(BadSettings, match=problem):
            load(overrides=overrides, files=True)
