"""The chart before the judges of a cluster: Helm 4 and 3, the API server's own validation, the operators' schemas.

They are built by Go, so these tests are long; `-m long tests/integration/test_chart_accepted.py` runs them all.
"""

import json
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import helm_python
import pytest
import yaml

from tests.support.chart import CHART, OLDEST, SETS, Objects, Values, rendered, set_name, set_values
from tests.support.java import jars, java, run
from tests.support.kubernetes import HELMS, checkov, helm, kube_score, schemas, server_validation
from tests.support.patience import patience

pytestmark = pytest.mark.long  # Go builds Helm and a part of the API server: minutes once, then seconds

SET = pytest.mark.parametrize("path", SETS, ids=set_name)
ON_DISK = 'restricted volume types (volume "model" uses restricted volume type "hostPath")'
OPERATORS = ("keda.sh/", "monitoring.coreos.com/", "gateway.networking.k8s.io/", "leaderworkerset.x-k8s.io/")
Refused = Callable[[Iterable[Objects]], list[str]]


@pytest.fixture(scope="module")
def chart() -> helm_python.Chart:
    """Load the chart as Helm does."""
    return helm_python.Chart.load(CHART)


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Refused:
    """What the API server refuses."""
    return server_validation(tmp_path_factory.mktemp("validate"))


@pytest.mark.parametrize("major", HELMS)
def test_both_helms_lint_and_render_every_set(tmp_path: Path, major: str) -> None:
    """Strictly, and without a word on standard error."""
    program = helm(major, tmp_path)
    for path in SETS:
        version = str(set_values(path).get("kubeVersion", f"v{OLDEST}.0"))
        for words in (["lint", "--strict"], ["template", "rel", "--namespace", "ns"]):
            command = [str(program), *words, str(CHART), "--values", str(path), "--kube-version", version]
            done = subprocess.run(command, capture_output=True, text=True, timeout=patience(60), check=False)
            assert (done.returncode, done.stderr) == (0, ""), (path.name, done.stdout)


@SET
def test_the_api_server_refuses_nothing(chart: helm_python.Chart, refused: Refused, path: Path) -> None:
    """Its own validation, and the restricted standard but for the folder of a node."""
    found = refused(rendered(chart, set_values(path)))
    assert found == ([f"Deployment/rel-mirrorstream: restricted: {ON_DISK}"] if set_name(path) == "host-path" else [])


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"extraVolumeMounts": [{"name": "none", "mountPath": "/none"}]}, 'volumeMounts[4].name: Not found: "none"'),
        ({"podLabels": {"a b": "c"}}, "a b"),
        ({"securityContext": {"allowPrivilegeEscalation": True}}, "allowPrivilegeEscalation != false"),
        ({"tolerations": [{"key": "a", "operator": "Exist"}]}, "Exist"),
    ],
)
def test_the_api_servers_validation_can_say_no(
    chart: helm_python.Chart, refused: Refused, values: Values, wanted: str
) -> None:
    """What schemas pass and a server refuses is found."""
    assert any(wanted in line for line in refused(rendered(chart, values)))


def test_recreate_with_a_rolling_update_is_found(chart: helm_python.Chart, refused: Refused) -> None:
    """The fault that a schema cannot see: two fields that exclude each other."""
    objects = rendered(chart, {})
    (worker,) = (found for found in objects if found["kind"] == "Deployment")
    worker["spec"]["strategy"]["type"] = "Recreate"
    (line,) = refused(objects)
    assert "spec.strategy.rollingUpdate: Forbidden" in line


def test_custom_resources_are_their_operators(chart: helm_python.Chart) -> None:
    """The definitions of their operators know every field; Strimzi's are no module of Go."""
    known = schemas()
    checked = set()
    for found in (one for path in SETS for one in rendered(chart, set_values(path))):
        version, kind = found["apiVersion"], found["kind"]
        if version.startswith(OPERATORS):
            own = {name: value for name, value in found.items() if name != "metadata"}
            assert [error.message for error in known[version, kind].iter_errors(own)] == [], kind
            checked.add(kind)
    monitors = {"PodMonitor", "ServiceMonitor"}
    assert checked >= {"ScaledObject", "TriggerAuthentication", "HTTPRoute", "LeaderWorkerSet", *monitors}


def test_a_mistyped_field_of_a_custom_resource_is_found(chart: helm_python.Chart) -> None:
    """The schemas are strict."""
    (found,) = (o for o in rendered(chart, {"keda": {"enabled": True}}) if o["kind"] == "ScaledObject")
    found["spec"]["coolDownPeriod"] = 1
    del found["metadata"]
    assert [*schemas()["keda.sh/v1alpha1", "ScaledObject"].iter_errors(found)]


def strimzi_unknown(objects: Iterable[Objects]) -> list[str]:
    """Return what Strimzi's own classes do not know in its resources."""
    folder = Path(__file__).parents[1] / "support" / "strimzi"
    given = "".join(f"{json.dumps(found)}\n" for found in objects)
    told = run(java(jars(folder / "pom.xml", "strimzi"), str(folder / "Judge.java")), given=given.encode())
    return told.decode().splitlines()


def test_strimzis_resources_are_the_operators(chart: helm_python.Chart) -> None:
    """Every field and value of topics and users is read whole, with both kinds of login; its schemas are no module."""
    (path,) = (path for path in SETS if set_name(path) == "strimzi")
    values = set_values(path)
    objects = rendered(chart, values)
    values["topics"]["strimzi"]["user"]["authentication"] = "scram-sha-512"
    objects += rendered(chart, values)
    found = [one for one in objects if one["apiVersion"].startswith("kafka.strimzi.io/")]
    assert {one["kind"] for one in found} == {"KafkaTopic", "KafkaUser"}
    assert strimzi_unknown(found) == []


def test_a_mistyped_field_of_strimzi_is_found(chart: helm_python.Chart) -> None:
    (path,) = (path for path in SETS if set_name(path) == "strimzi")
    objects = rendered(chart, set_values(path))
    topic = next(one for one in objects if one["kind"] == "KafkaTopic")
    topic["spec"]["partition"] = 3
    topic["apiVersion"] = "kafka.strimzi.io/v7"
    told = set(strimzi_unknown([topic]))
    name = f"KafkaTopic/{topic['metadata']['name']}"
    assert told == {f"{name}: version v7 is unknown", f"{name}: .spec.partition is unknown"}


def test_what_kube_score_finds_is_explained(chart: helm_python.Chart, tmp_path: Path) -> None:
    """Each check that finds something in a set has its reason in the chart's README, and no reason is left over."""
    found_by = kube_score(tmp_path)
    found = set().union(*(found_by(rendered(chart, set_values(path))) for path in SETS))
    assert found == explained("kube-score")


def test_what_checkov_finds_is_explained(chart: helm_python.Chart, tmp_path: Path) -> None:
    """The same for its checks of Kubernetes; what is rendered has to be readable, or nothing would be found."""
    (folder := tmp_path / "sets").mkdir()
    for path in SETS:
        text = yaml.safe_dump_all(rendered(chart, set_values(path)))
        (folder / f"{set_name(path)}.yaml").write_text(text, encoding="utf-8")
    seen = checkov(folder, tmp_path / "checkov")
    assert seen["summary"]["parsing_errors"] == 0
    assert seen["summary"]["passed"] > 3_000
    assert {found["check_id"] for found in seen["results"]["failed_checks"]} == explained("checkov")


def explained(tool: str) -> set[str]:
    """Return the checks of a tool that the chart's README explains."""
    _, _, section = (CHART / "README.md").read_text(encoding="utf-8").partition(f"## What {tool} finds")
    rows = re.findall(r"^\| (`.*?`) \|", section.partition("\n## ")[0], re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
