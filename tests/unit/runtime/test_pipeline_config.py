"""What the settings make of the rules that the loop and the bench share."""

import pytest

from worker.engines.choice_model import ChoiceModel
from worker.runtime.pipeline_config import asking
from worker.settings import load


@pytest.mark.parametrize(("protocol", "reads"), [("default", True), ("reference", False)])
def test_html_is_read_but_for_the_protocol_of_the_reference(protocol: str, reads: bool) -> None:
    """The choice model does not take that protocol, so the settings are changed after their checks."""
    settings = load().model_copy(update={"protocol": protocol})
    found = asking(settings, ChoiceModel())
    assert (found.reference, found.profile.reads_html) == (not reads, reads)
