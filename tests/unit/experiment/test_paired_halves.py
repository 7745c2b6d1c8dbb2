"""What the pairing recipe writes, read by its page's mapping, up to the verdict: an absent candidate is missing."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.experiment.made import AT_US, answers, response, slate
from tests.support.pages import blocks
from worker.core.codec.mapping import EventMapping
from worker.core.records import Impression
from worker.core.simulation.questions import Depths, Kind, plan
from worker.experiment.definition import Definition
from worker.experiment.readout import Comparison
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.statistics.confidence import Verdict
from worker.experiment.store.database import State
from worker.settings import mappings

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "pair-variants.md"
DEFINED = Definition("home-ranker-7", AT_US, "control", ("candidate",))


@pytest.fixture
def mapping(tmp_path: Path) -> EventMapping:
    """Return the mapping of the page, with a segment beside."""
    [block] = [one for one in blocks(PAGE.read_text(encoding="utf-8")) if one.title == "pairs.yaml"]
    found = yaml.safe_load(block.body)
    found["impression"]["user"]["segments"] = {"country": "control.country"}
    path = tmp_path / "pairs.yaml"
    path.write_text(yaml.safe_dump(found))
    return mappings.load(str(path))


def paired(user: int, number: int, *, country: str = "de", absent: bool = False) -> bytes:
    """Return a record as the recipe writes it: what each service logged as it was, null for what never came."""
    control = {
        "request_id": f"r-{user}-{number}", "at": AT_US // 1000 + number, "user": f"u{user}", "films": ["Heat", "Ran"],
        "country": country,
    }  # fmt: skip
    candidate = {"context": {"request_id": control["request_id"]}, "films": ["Ran", "Alien"]}
    return f'{{"control":{json.dumps(control)},"candidate":{"null" if absent else json.dumps(candidate)}}}'.encode()


def responses(found: Impression) -> Iterator[dict[str, Any]]:
    """Answer what the worker asks of an impression; users are of two minds, and prefer the candidate on average."""
    share = 0.5 if int(found.user.user_id.removeprefix("u")) % 2 else 0.9
    frame: dict[str, Any] = {
        "event_id": found.event_id, "occurred_at": found.occurred_at, "user_id": found.user.user_id,
        "experiment_id": found.experiment_id, "segments": dict(found.user.segments),
    }  # fmt: skip
    for question in plan(found, lambda item: item.text or "", Depths()):
        if question.kind is Kind.SLATE:
            yield slate(variant=question.variant, **frame)
        else:
            yield response(variant=question.variant, duel_share=share, **frame)


def compared(mapping: EventMapping, records: list[bytes], definition: Definition) -> Comparison:
    state = State()
    state.define(definition)
    found = answers(one for record in records if (event := mapping.decode(record)) for one in responses(event))
    state.take(found, health={"read": len(found)}, positions={})
    [readout] = report(state, Defaults()).readouts
    [epoch] = readout.epochs
    [comparison] = epoch.comparisons
    return comparison


def test_an_absent_candidate_is_missing_and_the_verdict_sees_it(mapping: EventMapping) -> None:
    """Without the absent ones the candidate is preferred; with as many of them, nothing is said to be."""
    whole = [paired(user, 0) for user in range(200)]
    absent = [paired(user, 1, absent=True) for user in range(200)]
    complete = compared(mapping, whole, DEFINED)
    assert (complete.verdict, complete.absent) == (Verdict.CANDIDATE_PREFERRED, 0)
    one = compared(mapping, [*whole, *absent], DEFINED)
    assert (one.verdict, one.absent) == (Verdict.DO_NOT_TRUST, 200)
    assert "200 of 400 events have both lists compared" in one.reason
    assert one.worst_case is not None
    assert 0.5 in one.worst_case, "the worst case has the absent ones on either side"


def test_an_absent_candidate_is_missing_only_of_users_whom_it_serves(mapping: EventMapping) -> None:
    whole = [paired(user, 0) for user in range(200)]
    abroad = [paired(user, 1, country="us", absent=True) for user in range(200)]
    here = replace(DEFINED, eligible={"country": ("de",)})
    one = compared(mapping, [*whole, *abroad], here)
    assert (one.verdict, one.absent) == (Verdict.CANDIDATE_PREFERRED, 0)
    few = [paired(user, 2, absent=True) for user in range(200)]
    again = compared(mapping, [*whole, *abroad, *few], here)
    assert (again.verdict, again.absent) == (Verdict.DO_NOT_TRUST, 200)
