"""Parts of the chart beside each other: a backfill and a StatefulSet, two services of one pod, GPU nodes and others."""

from typing import Any

import helm_python
import pytest
from kubernetes_validate import validate

from tests.contracts.test_helm_odd_values import BACKFILL, DOWNLOAD, PAIRING, SERVED, STATEFUL, WHOLE, of_kind
from tests.support.chart import CHART, NEWEST, Values, pod_specs, rendered

KEDA: Values = {"keda": {"enabled": True}}
CLAIMED: Values = {
    "gpu": {"enabled": False, "nodeSelector": {"pool": "gpu"}},
    "resources": {"limits": {"memory": "16Gi"}, "claims": [{"name": "gpu"}]},
    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
}


@pytest.fixture(scope="module")
def chart() -> helm_python.Chart:
    """Load the chart as Helm does."""
    return helm_python.Chart.load(CHART)


def test_a_backfill_runs_beside_a_statefulset_with_caches(chart: helm_python.Chart) -> None:
    """Whose strategy is not its own, and whose claims are of its pods alone: a claim that nobody makes stops a pod."""
    objects = rendered(chart, {**STATEFUL, **BACKFILL, "replicaCount": 2, "cache": {"persistence": {"enabled": True}}})
    (job,) = of_kind(objects, "Job", "backfill")
    assert "persistentVolumeClaim" not in str(job)
    shared: Values = {**BACKFILL, "cache": {"persistence": {"enabled": True, "accessMode": "ReadWriteMany"}}}
    objects = rendered(chart, shared)
    (job,) = of_kind(objects, "Job", "backfill")
    (claim,) = of_kind(objects, "PersistentVolumeClaim")
    assert f"'claimName': '{claim['metadata']['name']}'" in str(job)


@pytest.mark.parametrize("values", [{}, STATEFUL], ids=["deployment", "statefulset"])
def test_every_part_is_scraped_once(chart: helm_python.Chart, values: Values) -> None:
    """Also where a headless service has the same pods; the page by its token, whichever monitor is made."""
    page = {"enabled": True, "existingSecret": "page"}
    rules = [{"action": "drop", "regex": "a", "sourceLabels": ["b"]}]
    monitors = {"serviceMonitor": {"enabled": True, "relabelings": rules}}
    objects = rendered(chart, {**values, "metrics": monitors, "experiment": page, "pairing": PAIRING})
    services = [o for o in objects if o["kind"] == "Service"]
    found = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "ServiceMonitor"}
    assert found.keys() == {"rel-mirrorstream", "rel-mirrorstream-experiment", "rel-mirrorstream-pairing"}
    for spec in found.values():
        wanted = spec["selector"]["matchLabels"].items()
        assert len([one for one in services if wanted <= one["metadata"]["labels"].items()]) == 1
        assert spec["endpoints"][0]["relabelings"] == rules
    (endpoint,) = found["rel-mirrorstream-experiment"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "page", "key": "token"}


@pytest.mark.parametrize("part", ["worker", "model", "model-server"])
def test_what_asks_the_model_hub_trusts_the_given_certificates(chart: helm_python.Chart, part: str) -> None:
    """The file that SSL_CERT_FILE names is mounted: without it not even a public certificate is trusted."""
    values: Values = {"registry": {"caSecret": {"name": "company-ca"}}}
    values |= {"model": DOWNLOAD} if part == "model" else SERVED if part == "model-server" else {}
    pods = [spec for metadata, spec in pod_specs(rendered(chart, values)) if part in metadata["labels"].values()]
    assert pods
    for spec in pods:
        container: dict[str, Any] = [*spec.get("initContainers", []), *spec["containers"]][0]
        (file,) = (one["value"] for one in container["env"] if one["name"] == "SSL_CERT_FILE")
        (mount,) = (one for one in container["volumeMounts"] if file.startswith(one["mountPath"] + "/"))
        (volume,) = (one for one in spec["volumes"] if one["name"] == mount["name"])
        assert volume["secret"]["secretName"] == "company-ca"


def test_only_what_has_a_gpu_runs_on_its_nodes(chart: helm_python.Chart) -> None:
    """The page, the Jobs and `helm test` do not tolerate the taint of those nodes, so they must not be sent there."""
    gpu: Values = {
        "gpu": {"nodeSelector": {"pool": "gpu"}, "affinity": {"podAffinity": {}}},
        "nodeSelector": {"a": "b"},
    }
    parts: Values = {"experiment": {"enabled": True, "allowAnonymous": True}, "topics": {"job": {"enabled": True}}}
    for metadata, spec in pod_specs(rendered(chart, gpu | parts | BACKFILL)):
        needs = {"worker", "backfill"} & {*metadata["labels"].values()} != set()
        assert spec["nodeSelector"] == {"a": "b"} | ({"pool": "gpu"} if needs else {})
        assert ("tolerations" in spec, "affinity" in spec) == (needs, needs)


def test_the_affinity_of_gpus_is_added_to_that_of_all(chart: helm_python.Chart) -> None:
    """One term of nodes is enough for Kubernetes, so each has both; preferences and rules of pods stand together."""
    required, preferred = (f"{one}DuringSchedulingIgnoredDuringExecution" for one in ("required", "preferred"))

    def has(name: str) -> dict[str, Any]:
        return {"matchExpressions": [{"key": name, "operator": "Exists"}]}

    def affinity(*terms: dict[str, Any], name: str) -> dict[str, Any]:
        pods = [{"topologyKey": name, "labelSelector": {"matchLabels": {"app": name}}}]
        return {
            "nodeAffinity": {
                required: {"nodeSelectorTerms": list(terms)},
                preferred: [{"weight": 1, "preference": has(name)}],
            },
            "podAntiAffinity": {required: pods},
        }

    fields = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    values: Values = {
        "affinity": affinity(has("a"), fields, name="all"), "gpu": {"affinity": affinity(has("g"), name="gpus")},
    }  # fmt: skip
    (worker,) = of_kind(rendered(chart, values), "Deployment")
    validate(worker, NEWEST, strict=True)
    found = worker["spec"]["template"]["spec"]["affinity"]
    both = {"matchExpressions": [*has("g")["matchExpressions"], *has("a")["matchExpressions"]]}
    assert found["nodeAffinity"][required]["nodeSelectorTerms"] == [both, has("g") | fields]
    assert [one["preference"] for one in found["nodeAffinity"][preferred]] == [has("gpus"), has("all")]
    assert [one["topologyKey"] for one in found["podAntiAffinity"][required]] == ["gpus", "all"]
    (plain,) = of_kind(rendered(chart, {**values, "gpu": {"enabled": False}}), "Deployment")
    assert plain["spec"]["template"]["spec"]["affinity"] == values["affinity"]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"nameOverride": "My_App", "fullnameOverride": "my-app"}, id="a label of capitals"),
        pytest.param(
            {"gpu": {"enabled": False}, "resources": {"limits": {"nvidia.com/gpu": "1"}}},
            id="a GPU that is not the chart's",
        ),
        pytest.param({"config": {"schema_registry_url": "https://hub/apis/@team/v7"}}, id="a path with an @"),
    ],
)
def test_what_an_older_chart_took_is_taken(chart: helm_python.Chart, values: Values) -> None:
    """An upgrade cannot change the labels by which a Deployment finds its pods."""
    (worker,) = of_kind(rendered(chart, values), "Deployment")
    validate(worker, NEWEST, strict=True)
    name = values.get("nameOverride", "mirrorstream")
    assert worker["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] == name


def test_a_gpu_may_come_by_a_claim(chart: helm_python.Chart) -> None:
    """By dynamic resource allocation; the pod has the claim that its container names, and goes where GPUs are."""
    (worker,) = of_kind(rendered(chart, CLAIMED), "Deployment")
    validate(worker, NEWEST, strict=True)
    spec = worker["spec"]["template"]["spec"]
    assert spec["resourceClaims"] == CLAIMED["resourceClaims"]
    assert spec["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]
    assert (spec["nodeSelector"], spec["tolerations"][0]["key"]) == ({"pool": "gpu"}, "nvidia.com/gpu")


def test_without_a_number_the_replicas_are_the_clusters(chart: helm_python.Chart) -> None:
    """For Argo CD, which renders without the cluster: a number would undo the autoscaler's with each sync."""
    (given,) = of_kind(rendered(chart, KEDA), "Deployment")
    (left,) = of_kind(rendered(chart, KEDA | {"replicaCount": None}), "Deployment")
    assert given["spec"]["replicas"] == 1
    assert "replicas" not in left["spec"]


def test_rendering_twice_gives_the_same(chart: helm_python.Chart) -> None:
    """Nothing is random or of the moment, so that a GitOps tool sees a difference only where there is one."""
    assert rendered(chart, WHOLE) == rendered(chart, WHOLE)


def test_names_are_asked_where_openshift_answers_too(chart: helm_python.Chart) -> None:
    """A policy sees the port of the pod behind the service, which is 5353 there."""
    values: Values = {"networkPolicy": {"enabled": True}}
    (policy,) = of_kind(rendered(chart, values), "NetworkPolicy")
    ports = {(one["port"], one["protocol"]) for one in policy["spec"]["egress"][0]["ports"]}
    assert ports == {(53, "UDP"), (53, "TCP"), (5353, "UDP"), (5353, "TCP")}
