"""Redactors by name, and those of other packages."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.core.errors import BadSettings
from worker.core.simulation.privacy import redacted
from worker.settings import redactors


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package that offers three redactors, one of which is a function."""
    info = tmp_path / "their_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[mirrorstream.redactors]\n"
        "shout = their_privacy:shout\nbroken = no_such_module:f\nnumber = their_privacy:seven\n"
    )
    (tmp_path / "their_privacy.py").write_text("shout = str.upper\nseven = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("their_privacy", None)


def test_off_is_none_and_patterns_are_ours() -> None:
    assert redactors.load("off") is None
    assert redactors.load("patterns") is redacted


@pytest.mark.usefixtures("package")
def test_a_package_offers_one_by_an_entry_point() -> None:
    redactor = redactors.load("shout")
    assert redactor is not None
    assert redactor("ann") == "ANN"
    assert redactors.names() == ["off", "patterns", "broken", "number", "shout"]


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("patern", "redactor: patern; want one of off, patterns, broken, number, shout, .*did you mean patterns"),
        ("broken", "redactor: broken: no_such_module:f cannot be imported"),
        ("number", "redactor: number: their_privacy:seven is no function"),
    ],
)
def test_one_that_cannot_be_had_is_refused(name: str, words: str) -> None:
    with pytest.raises(BadSettings, match=words):
        redactors.load(name)
