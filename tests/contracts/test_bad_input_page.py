"""The page of bad input has what the tests send, each with its reason, and each reason has a test."""

import re
from pathlib import Path

from tests.contracts.test_security_checks import WRITTEN
from tests.integration.test_bad_input import AVRO, JSON, PROTOBUF
from worker.core.records import Reason

PAGE = (Path(__file__).parents[2] / "docs/reference/bad-input.md").read_text()
FORMATS = (AVRO, JSON, PROTOBUF)


def test_each_bad_input_is_on_the_page_with_its_reason_in_each_format() -> None:
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"]
    shown = {name: reasons for name, *reasons in rows if len(reasons) == len(FORMATS)}
    assert shown.pop("input") == ["Avro", "JSON", "Protobuf"]
    shown.pop("---")
    sent = dict.fromkeys(name for form in FORMATS for name in form.bad)
    assert shown == {name: [form.bad[name][1] if name in form.bad else "" for form in FORMATS] for name in sent}


def test_each_reason_is_on_the_page_of_bad_input_and_each_test_there_is() -> None:
    assert {reason.value for reason in Reason} <= set(re.findall(r"`(\w+)`", PAGE))
    named = re.findall(r"`(test_\w+)`", PAGE)
    assert len(named) > len({"headers", "unreadable", "engine_killer", "item_unknown", "too_large", "refused"})
    assert set(named) <= WRITTEN
