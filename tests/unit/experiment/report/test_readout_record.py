"""The record of an experiment on the topic: a verdict on each candidate, and readable by who knew only the first."""

import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import fastavro

from tests.support.experiment import page_examples as made
from worker.core.codec.avro_schemas import schema_text
from worker.experiment.readout import Readout
from worker.experiment.real_clicks import bridge
from worker.experiment.real_clicks.doubly_robust import Estimand
from worker.experiment.report.readout_record import ESTIMANDS, record
from worker.experiment.statistics import confidence

SCHEMA = json.loads(schema_text("ExperimentReadout"))


def read(readout: Readout, *, by: dict[str, Any] = SCHEMA) -> dict[str, Any]:
    """Write a readout and read it with a schema."""
    out = BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, record(readout, produced_at=made.AT_US))
    out.seek(0)
    found = fastavro.schemaless_reader(out, SCHEMA, by)
    assert isinstance(found, dict)
    return found


def test_an_experiments_record_has_a_verdict_on_each_candidate() -> None:
    """Best first; the reason, the sentence, and what failed are those of the page."""
    few = replace(made.waiting(), candidate="few")
    found = read(made.readout("e", made.epoch(made.comparison(candidate="zebra"), made.losing(), few)))
    first, second, third = found["candidates"]
    assert [one["candidate"] for one in found["candidates"]] == ["zebra", "late", "few"]
    assert [first["verdict"], second["verdict"]] == ["CANDIDATE_PREFERRED", "CONTROL_PREFERRED"]
    assert first["sentence"] == "Of the choices between the two lists, 53.4 % went to zebra (51.6 to 55.2)"
    assert (first["checks_failed"], first["guardrails_violated"]) == (["position profile"], [])
    assert (round(first["low"], 3), round(first["high"], 3), first["users"]) == (0.516, 0.552, 3_120)
    assert (third["value"], third["low"], third["users"]) == (None, None, 40)
    assert "not identified: 40 users so far" in third["sentence"]


def test_an_experiments_record_has_no_figure_that_is_not_identified_but_says_why() -> None:
    """A reader with the schema of before sees that there is none."""
    for effect in read(made.readout("e", made.epoch(made.comparison(), made.waiting())))["effects"]:
        if effect["low"] is None:
            assert effect["value"] is None
            assert effect["withheld"].startswith("not identified: ")
        else:
            assert (effect["value"] is not None, effect["withheld"]) == (True, "")


def test_an_experiments_record_keeps_its_old_fields_for_old_readers() -> None:
    """They hold the first candidate by name, whatever is best; a reader with the schema of before reads them."""
    before = {**SCHEMA, "fields": [field for field in SCHEMA["fields"] if field["name"] != "candidates"]}
    found = read(made.readout("e", made.epoch(made.losing(), made.comparison(candidate="a"))), by=before)
    assert (found["verdict"], found["reason"]) == ("CANDIDATE_PREFERRED", "the whole interval is above 50 %")
    assert "candidates" not in found


def test_an_experiments_record_says_what_the_last_backtest_found() -> None:
    """A reader with the schema of before does not see it; without a backtest it is empty."""
    epoch = replace(made.epoch(made.comparison()), backtest=made.kept())
    assert read(made.readout("e", epoch))["backtest"] == made.kept().sentence
    assert read(made.readout("e"))["backtest"] == ""
    before = {**SCHEMA, "fields": [field for field in SCHEMA["fields"] if field["name"] != "backtest"]}
    assert "backtest" not in read(made.readout("e", epoch), by=before)


def test_an_experiments_record_has_a_symbol_for_each_estimand() -> None:
    """With real outcomes nothing was published any more: the label of a bridged figure is no symbol of the schema."""
    labels = [confidence.ESTIMAND, bridge.ESTIMAND, *Estimand]
    primary = made.comparison().primary
    effects = tuple(replace(primary, estimand=label) for label in labels)
    found = read(made.readout("e", made.epoch(replace(made.comparison(), effects=effects))))
    assert [one["estimand"] for one in found["effects"]] == ["SIMULATED", "BRIDGED", "DOUBLY_ROBUST", "CANARY"]
    [symbols] = [field["type"]["items"]["fields"][2]["type"]["symbols"] for field in SCHEMA["fields"]
                 if field["name"] == "effects"]  # fmt: skip
    assert {*ESTIMANDS, "UNKNOWN"} == set(symbols)
