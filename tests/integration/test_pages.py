"""Every command on a page of the documentation runs as it is written and prints what the page shows.

A few pages run every time; `make test-long` runs all of them.  By hand: `python -m tests.support.pages docs/PAGE.md`.
"""

import json
import re
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.support import pages
from tests.support.kafka_broker import KafkaCluster

DOCS = pages.ROOT / "docs"
ALWAYS = {
    "tutorials/first-experiment.md",
    "how-to/own-kafka.md",
    "tutorials/your-events.md",
}  # the first that a new user types


def cases() -> list[ParameterSet]:
    """Return the pages that have commands; all but a few belong to the long suite."""
    found = []
    for page in sorted(DOCS.rglob("*.md")):
        name = str(page.relative_to(DOCS))
        text = page.read_text(encoding="utf-8")
        if pages.runs(text):
            always = name in ALWAYS and not pages.is_long(text)
            found.append(pytest.param(page, id=name, marks=() if always else pytest.mark.long))
    return found


@pytest.mark.parametrize("page", cases())
def test_a_page_shows_what_its_commands_do(page: Path) -> None:
    with KafkaCluster() as kafka:  # a page's topics have the names that everybody's have
        pages.check(page, kafka.bootstrap_servers)


def test_the_commands_of_readme_run(tmp_path: Path) -> None:
    readme = (pages.ROOT / "README.md").read_text(encoding="utf-8").split("## On your own Kafka")[1]
    commands, event = re.findall(r"^```(?:sh|json)\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)[:2]
    typed = [line.split("  #")[0].rstrip() for line in commands.splitlines() if not line.startswith(". ")]
    (tmp_path / "impressions.jsonl").write_text(json.dumps(json.loads(event)) + "\n", encoding="utf-8")
    with KafkaCluster() as kafka:
        shell = pages.Shell(tmp_path, kafka.bootstrap_servers)
        try:
            for line in typed[:-1]:
                printed, status = shell.run(line)
                assert status == 0, f"{line}: {printed}"
            worker = pages.Command(typed[-1], "...\n...assigned impressions[0]...")
            assert "worker ready" in shell.start(worker)
            answered = shell.run("mirrorstream experiment report --json")
            assert answered[1] == 0
        finally:
            shell.end()
