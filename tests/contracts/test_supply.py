"""What is shipped is listed with its licence, in a bill of materials that other programs read."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.chart import ROOT
from tests.support.patience import patience
from tools import audit, licences, sbom

SUPPLY = ROOT / ".venv-supply"
VALID = (
    "import sys; from cyclonedx.schema import SchemaVersion as S; from cyclonedx.validation.json import "
    "JsonStrictValidator as V; found = V(S.V1_6).validate_str(sys.stdin.read()); sys.exit(str(found) if found else 0)"
)


def test_every_shipped_package_has_the_licence_that_it_states() -> None:
    """Read from the packages that are installed here; a new one is listed before it is shipped."""
    assert licences.stale(write=False) == [], "run `python -m tools.licences` and `make docs-reference`"
    shipped = {name for lock in licences.LOCKS.values() for name, _, _ in licences.locked(lock)}
    assert licences.listed().keys() == shipped
    assert all(licences.listed().values())


def test_no_licence_asks_for_our_source() -> None:
    """None is under the GPL or AGPL; the LGPL asks for it only of changes to the library itself."""
    asking = {name for name, said in licences.listed().items() if re.search(r"(?<!L)GPL|Affero", said)}
    assert asking == set()


def test_the_vendored_scripts_are_listed() -> None:
    static = ROOT / "worker" / "experiment" / "page" / "static"
    assert {file for file, *_ in licences.vendored()} == {path.name for path in static.glob("uPlot*.min.*")}
    page = (ROOT / "docs" / "reference" / "licences.md").read_text(encoding="utf-8")
    assert all(f"| {name} ({file}) | {version} | {said} |" in page for file, name, version, said in licences.vendored())


def test_a_package_for_another_python_is_not_in_the_bill() -> None:
    assert sbom.fits("python_full_version < '3.15'")
    assert not sbom.fits("python_full_version < '3.12'")


@pytest.mark.long
@pytest.mark.parametrize("target", licences.LOCKS)
def test_a_bill_is_valid_and_whole(target: str) -> None:
    """By CycloneDX's own schema: each package of the lock once, with hashes and a licence, and what no lock names."""
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", ".venv-supply/done"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=patience(600))
    made = sbom.bill(target, SUPPLY / "bin" / "cyclonedx-py")
    python = str(SUPPLY / "bin" / "python")
    valid = subprocess.run([python, "-W", "ignore", "-c", VALID], input=json.dumps(made), text=True, check=False)
    assert valid.returncode == 0
    found = [one for one in made["components"] if str(one.get("purl", "")).startswith("pkg:pypi/")]
    names = [licences.normal(one["name"]) for one in found]
    wanted = {name for name, _, marker in licences.locked(licences.LOCKS[target]) if sbom.fits(marker)}
    assert set(names) == wanted
    assert len(names) == len(wanted)
    assert all(one["licenses"] and one["externalReferences"][0]["hashes"] for one in found)
    others = {one["name"] for one in made["components"]} - {one["name"] for one in found}
    assert others == {"uPlot.iife.min.js", "uPlot.min.css", "mirror-tiny"}


ASKED = """#!{python}
import json, sys
lines = [line.split("==") for line in open(sys.argv[-1]).read().split()]
assert len({{name for name, _ in lines}}) == len(lines), "pip-audit refuses a package of two versions"
kinds = {{"gone": {{"skip_reason": "not on PyPI"}}, "bad": {{"vulns": [{{"id": "PYSEC-1", "fix_versions": ["3"]}}]}}}}
print(json.dumps({{"dependencies": [
    {{"name": name, "version": version, **kinds.get(name, {{"vulns": []}})}} for name, version in lines
]}}))
"""


def scripted(tmp_path: Path, text: str) -> Path:
    """Write a program in pip-audit's place."""
    tool = tmp_path / "pip-audit"
    tool.write_text(text, encoding="utf-8")
    tool.chmod(0o700)
    return tool


def test_an_audit_tells_findings_and_what_it_could_not_ask_about(tmp_path: Path) -> None:
    """Of packages that two locks have in two versions, which pip-audit refuses to take at once."""
    tool = scripted(tmp_path, ASKED.format(python=sys.executable))
    packages = [("good", "1"), ("bad", "1"), ("good", "2"), ("gone", "1")]
    assert audit.audit(tool, packages) == ["gone: not asked about: not on PyPI", "bad 1: PYSEC-1, fixed in 3"]
    assert audit.audit(tool, [("good", "1"), ("good", "2")]) == []


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("import sys\nraise SystemExit('Traceback\\n  a long one\\nProxyError: refused')\n", "ProxyError: refused"),
        ("pass\n", "ended with 0 and said nothing"),
    ],
)
def test_an_audit_without_a_service_says_so_in_one_line(tmp_path: Path, script: str, why: str) -> None:
    tool = scripted(tmp_path, f"#!{sys.executable}\n{script}")
    command = [sys.executable, "-m", "tools.audit", "--tool", str(tool)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("audit: the vulnerability service could not be reached")
    assert why in line


def test_a_package_without_an_answer_is_no_package_without_a_finding(tmp_path: Path) -> None:
    text = ASKED.replace("in lines\n]", "in lines if name != 'silent'\n]")
    assert text != ASKED
    tool = scripted(tmp_path, text.format(python=sys.executable))
    assert audit.audit(tool, [("good", "1"), ("silent", "1")]) == ["packages without an answer: 1"]
    with pytest.raises(audit.NotReachedError, match="it knows of no package"):
        audit.audit(tool, [("silent", "1")])


def test_a_service_that_knows_none_of_the_first_is_not_there(tmp_path: Path) -> None:
    """A mirror has packages and no vulnerabilities: hundreds of questions would take minutes of CI for nothing."""
    tool = scripted(tmp_path, ASKED.format(python=sys.executable))
    with pytest.raises(audit.NotReachedError, match="not on PyPI"):
        audit.audit(tool, [("gone", "1")])


@pytest.mark.long
def test_an_audit_that_cannot_ask_is_no_pass() -> None:
    """pip-audit itself: a package that the service does not know, or a service that is not there."""
    with pytest.raises(audit.NotReachedError, match="mirrorstream-that-nobody-has"):
        audit.audit(SUPPLY / "bin" / "pip-audit", [("mirrorstream-that-nobody-has", "1")])
