"""Commands go by the topics that workers follow: a definition on another topic would steer nobody."""

import pytest

from worker.cli import experiment, main
from worker.settings import load

DEFINED, READOUT = "ExperimentDefinition", "ExperimentReadout"


@pytest.mark.parametrize(
    ("named", "given", "made"),
    [
        ({}, (), {"experiments": DEFINED, "readouts": READOUT}),
        ({"experiments_topic": "defs"}, (), {"defs": DEFINED, "readouts": READOUT}),
        ({"experiments_topic": "defs", "readouts_topic": "told"}, (), {"defs": DEFINED, "told": READOUT}),
        ({"experiments_topic": "defs"}, ("mine", "told"),
         {"defs": DEFINED, "mine": DEFINED, "readouts": READOUT, "told": READOUT}),
    ],
)  # fmt: skip
def test_topics_are_made_under_their_set_names(
    named: dict[str, str], given: tuple[str, ...], made: dict[str, str]
) -> None:
    assert main._compacted(load(None, named), *given) == made


@pytest.mark.parametrize(
    ("named", "given", "topic"),
    [
        ({}, None, "experiments"),
        ({"experiments_topic": "defs"}, None, "defs"),
        ({"experiments_topic": "defs"}, "mine", "mine"),
        ({"experiments_topic": "defs"}, "", ""),  # reads no definitions
    ],
)
def test_definitions_are_those_that_workers_follow(named: dict[str, str], given: str | None, topic: str) -> None:
    assert experiment._topic(given, load(None, named)) == topic
