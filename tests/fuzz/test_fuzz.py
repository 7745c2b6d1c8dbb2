"""A share of the fuzzing; `python -m tests.fuzz` and `python -m tests.fuzz.guided` have the whole."""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.__main__ import MAX_STEP_S, TRIES, play_bytes, play_events
from tests.fuzz.chain import ANSWERED, Chain
from tests.fuzz.forms import FORMS, valid_messages, write_json
from tests.fuzz.guided import CORPUS
from tests.fuzz.mutations import messages, plain_impression
from tests.support.patience import cpu_slowness, patience
from worker.core.codec.json_reader import MAX_DIGITS

NUM_BYTES, NUM_EVENTS = 5_000, 500
NUM_FORM_BYTES, NUM_FORM_EVENTS = 2_000, 300  # of JSON and of Protobuf
GUIDED_S = 5


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain()


def test_a_valid_message_of_each_writer_is_answered(chain: Chain) -> None:
    """Else all that follows would only meet the first check."""
    outcomes = [chain.play(message).outcome for seed in range(20) for message in messages(Random(seed))]
    assert set(outcomes) == {ANSWERED}


def test_mutated_byte_strings_are_answered_or_dead_lettered(chain: Chain) -> None:
    found = play_bytes(chain, Random(7), NUM_BYTES)
    assert found.outcomes.total() == NUM_BYTES
    assert {ANSWERED, "avro", "utf8", "schema", "magic"} <= found.outcomes.keys()
    assert found.longest_step_s < MAX_STEP_S * cpu_slowness()


def test_events_of_another_structure_are_answered_or_dead_lettered(chain: Chain) -> None:
    found = play_events(chain, Random(7), NUM_EVENTS)
    assert found.outcomes.total() == NUM_EVENTS
    assert {ANSWERED, "avro", "utf8", "limit", "invalid", "schema"} <= found.outcomes.keys()
    assert found.longest_step_s < MAX_STEP_S * cpu_slowness()


@pytest.mark.parametrize("name", sorted(FORMS))
def test_json_and_protobuf_are_answered_or_dead_lettered_too(name: str) -> None:
    form = FORMS[name]
    chain = Chain(form.reader)
    valid = [chain.play(message).outcome for seed in range(20) for message in valid_messages(form, Random(seed))]
    assert set(valid) == {ANSWERED}
    changed = play_bytes(chain, Random(7), NUM_FORM_BYTES, form)
    built = play_events(chain, Random(7), NUM_FORM_EVENTS, form)
    assert (changed.outcomes.total(), built.outcomes.total()) == (NUM_FORM_BYTES, NUM_FORM_EVENTS)
    assert {ANSWERED, name, "utf8", "magic"} <= changed.outcomes.keys()
    assert {ANSWERED, "limit", "invalid"} <= built.outcomes.keys()
    assert max(changed.longest_step_s, built.longest_step_s) < MAX_STEP_S * cpu_slowness()


def _most_values() -> bytes:
    """Return JSON of about as many values as are read, most of them objects."""
    event = plain_impression(Random(3))
    item = event["slates"][0]["items"][0] | {"attributes": {f"name{number}": "中文" for number in range(5)}}
    event["slates"][0]["items"] = [item | {"position": place} for place in range(2_800)]
    return write_json(event, Random(0))


@pytest.mark.parametrize(
    ("text", "outcomes"),
    [
        (_most_values(), {ANSWERED}),
        (b'{"a": [' + b",".join([b"9" * 4_000] * 480) + b"]}", {"json"}),  # its time grew with the square of the digits
        (b'{"a": [' + b",".join([b"9" * MAX_DIGITS] * 4_800) + b"]}", {"invalid"}),
        (b'{"a": "' + b'\\"' * 900_000 + b'"}', {"invalid"}),
    ],
    ids=["values", "digits", "many numbers", "escapes"],
)
def test_no_json_that_is_read_takes_a_long_step(text: bytes, outcomes: set[str]) -> None:
    chain = Chain(FORMS["json"].reader)
    played = [chain.play(text) for _ in range(TRIES)]
    assert {one.outcome for one in played} == outcomes
    assert min(one.longest_s for one in played) < MAX_STEP_S * cpu_slowness()


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name[:8])
def test_what_reached_new_code_once_is_still_answered_or_dead_lettered(chain: Chain, path: Path) -> None:
    chain.play(path.read_bytes())


def test_coverage_finds_no_input_that_raises(tmp_path: Path) -> None:
    """For some seconds; an hour by the command of `tests.fuzz.guided`."""
    options = [
        f"-max_total_time={GUIDED_S}",
        f"-artifact_prefix={tmp_path}/",
        "-timeout=60",
        str(tmp_path),
        str(CORPUS),
    ]
    command = [sys.executable, "-m", "tests.fuzz.guided", *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=patience(120), check=False)
    assert ended.returncode == 0, ended.stderr[-4_000:]
