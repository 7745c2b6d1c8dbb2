"""Odd values of the chart: names at their limits, texts that look like something else, what is taken away by null."""

import copy
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml

from tests.support.chart import CHART, Objects, Values, pod_specs, rendered

LONGEST_RELEASE = "r" * 53  # that Helm takes
LONGEST_LABEL = 63
REVISION = 11  # a hyphen and ten digits, which Kubernetes adds to a StatefulSet's name in a label of its pods
STATEFUL: Values = {"workload": {"kind": "StatefulSet"}, "updateStrategy": {"type": "OnDelete"}}
BACKFILL: Values = {"backfill": {"enabled": True, "config": {"group_id": "b"}}}
DOWNLOAD: Values = {"source": "download", "revision": "a", "download": {"checksums": {"a": "0" * 64}}}
SERVED: Values = {"modelServer": {"enabled": True}, "gpu": {"enabled": False}, "config": {"engine": "vllm-server"}}
PAIRING: Values = {
    "enabled": True,
    "image": {"repository": "pairing"},
    "config": {"pairing.control.topic": "a", "pairing.candidate.topic": "b"},
}
WHOLE: Values = {
    **SERVED,
    **BACKFILL,
    "model": DOWNLOAD,
    "pairing": PAIRING,
    "demo": {"enabled": True},
    "topics": {"job": {"enabled": True}},
    "keda": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "cache": {"persistence": {"enabled": True, "accessMode": "ReadWriteMany"}},
    "metrics": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}},
    "experiment": {
        "enabled": True,
        "existingSecret": "page",
        "webhook": {"existingSecret": "chat"},
        "ingress": {"enabled": True, "host": "a", "tlsSecret": "b", "className": "c"},
    },
    "kafka": {"existingSecret": "k", "caSecret": {"name": "c"}},
    "registry": {"existingSecret": "r", "caSecret": {"name": "c"}, "clientSecret": {"name": "t"}},
    "pseudonyms": {"existingSecret": "p"},
    "server": {"existingSecret": "s"},
    "huggingface": {"existingSecret": "h"},
}
OCTAL = "0123"  # 83, unless it is quoted


@pytest.fixture(scope="module")
def chart() -> helm_python.Chart:
    """Load the chart as Helm does."""
    return helm_python.Chart.load(CHART)


def of_kind(objects: list[Objects], kind: str, part: str = "worker") -> list[Objects]:
    """Return the objects of a kind that belong to a part."""
    own = [o for o in objects if o["metadata"]["labels"]["app.kubernetes.io/component"] == part]
    return [o for o in own if o["kind"] == kind]


def test_the_longest_release_has_names_that_kubernetes_takes(chart: helm_python.Chart) -> None:
    """Jobs and StatefulSets give their names to labels of their pods, where nothing longer than 63 characters fits."""
    files = chart.render(WHOLE, name=LONGEST_RELEASE, namespace="ns").items()
    texts = [text for name, text in files if name.endswith(".yaml")]
    objects = [found for text in texts for found in yaml.safe_load_all(text) if found]
    for found in objects:
        label = REVISION if found["kind"] in {"StatefulSet", "LeaderWorkerSet"} else 0
        assert len(found["metadata"]["name"]) + label <= LONGEST_LABEL, (found["kind"], found["metadata"]["name"])
    assert {found["kind"] for found in objects} >= {"Job", "StatefulSet", "LeaderWorkerSet", "Service"}
    settings = [o["data"]["config.yaml"] for o in objects if "config.yaml" in (o.get("data") or {})]
    (group,) = (found["metadata"]["name"] for found in objects if found["kind"] == "LeaderWorkerSet")
    assert any(f"http://{group}-0.{group}.ns:8000" in text for text in settings)


@pytest.mark.parametrize("name", ["a.b", "9a"])
def test_a_name_that_no_service_may_have_is_refused(chart: helm_python.Chart, name: str) -> None:
    """Of a release that Helm takes; another name for its objects is the way out."""
    with pytest.raises(helm_python.HelmError, match=r"fullnameOverride: .* cannot be the name of a Service"):
        chart.render({}, name=name)
    assert chart.render({"fullnameOverride": "shadow"}, name=name)


def leaves(found: Any) -> Iterator[Any]:
    """Yield the values of an object."""
    if isinstance(found, dict | list):
        for one in found.values() if isinstance(found, dict) else found:
            yield from leaves(one)
    else:
        yield found


def changed(values: Values, path: tuple[str, ...], value: object) -> Values:
    """Return the values with one of them replaced."""
    found = copy.deepcopy(values)
    at = found
    for name in path[:-1]:
        at = at.setdefault(name, {})
    at[path[-1]] = value
    return found


def paths(values: Values, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value of the chart, with the maps."""
    for name, value in values.items():
        yield (*above, name), value
        if isinstance(value, dict):
            yield from paths(value, (*above, name))


def test_a_text_stays_a_text(chart: helm_python.Chart) -> None:
    """A secret, a class or a namespace called 0123 is not the number 83, which an API server would refuse."""
    texts = [path for path, value in paths(chart.values) if isinstance(value, str)]
    values = WHOLE
    for path in texts:
        if not refusal(chart, one := changed(values, path, OCTAL)):  # else it has a pattern of its own
            values = one
    objects = rendered(chart, values)
    found = [*leaves(objects)]
    assert [one for one in found if isinstance(one, int) and one == int(OCTAL, 8)] == []
    assert found.count(OCTAL) > 30
    files = chart.render(WHOLE, name="shadow", namespace=OCTAL).items()
    yamls = [text for name, text in files if name.endswith(".yaml")]
    numbered = [found for text in yamls for found in yaml.safe_load_all(text) if found]
    assert {found["metadata"].get("namespace", OCTAL) for found in numbered} == {OCTAL}
    assert len(numbered) > 20
    queue = {"otel": {"OTEL_BSP_MAX_QUEUE_SIZE": 2_000_000}}
    (worker,) = of_kind(rendered(chart, queue), "Deployment")
    variables = worker["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "OTEL_BSP_MAX_QUEUE_SIZE", "value": "2000000"} in variables


def test_a_folder_of_the_model_is_no_command(chart: helm_python.Chart) -> None:
    """Neither in the download nor in what waits for it."""
    folder = "a b; rm -rf c, --d"
    objects = rendered(chart, {"model": {**DOWNLOAD, "path": folder, "revision": "e, --f"}})
    (job,) = of_kind(objects, "Job", "model")
    (worker,) = of_kind(objects, "Deployment")
    spec = job["spec"]["template"]["spec"]
    assert spec["initContainers"][0]["command"][3:] == ["--revision=e, --f", f"--local-dir=/models/{folder}"]
    for container in (spec["containers"][0], worker["spec"]["template"]["spec"]["initContainers"][0]):
        script, place = container["args"]
        assert folder not in script
        assert place == f"/models/{folder}"


def refusal(chart: helm_python.Chart, values: Values) -> str:
    """Return what Helm says against values, "" if it renders them."""
    try:
        chart.render(values)
    except helm_python.HelmError as error:
        return str(error)
    return ""


def test_what_null_takes_away_is_named(chart: helm_python.Chart) -> None:
    """The message has the value's name and not a line of a template; the same goes for values of an older release."""
    (open_page := copy.deepcopy(WHOLE))["experiment"] |= {"existingSecret": "", "allowAnonymous": True}
    taken = [path for path, value in paths(chart.values) if not isinstance(value, str)]
    told = {path: said for path in taken if (said := refusal(chart, changed(open_page, path, None)))}
    assert len(told) > 40
    assert [path for path, said in told.items() if path[-1] not in said] == []
    assert [path for path, said in told.items() if "nil pointer" in said or "error calling" in said] == []


def test_a_label_stands_once(chart: helm_python.Chart) -> None:
    """A server refuses one that stands twice; the chart's own are those by which its objects find each other."""
    values: Values = {"commonLabels": {"app.kubernetes.io/component": "other", "team": "a"}}
    for text in chart.render(values, name="rel", namespace="ns").values():
        assert text.count("app.kubernetes.io/component: other") == 0
    assert all(o["metadata"]["labels"]["team"] == "a" for o in rendered(chart, values))


def test_annotations_and_labels_of_pods_are_on_all_of_them(chart: helm_python.Chart) -> None:
    """A mesh's sidecar in a Job would keep it from ending; the chart's own checksum stays."""
    told = {"sidecar.istio.io/inject": "false"}
    objects = rendered(chart, {**WHOLE, "podAnnotations": {**told, "checksum/config": "x"}, "podLabels": told})
    pods = [*pod_specs(objects)]
    assert len(pods) >= 10
    for metadata, _ in pods:
        assert told.items() <= metadata["annotations"].items(), metadata["labels"]
        assert told.items() <= metadata["labels"].items()
    (worker,) = of_kind(objects, "Deployment")
    assert worker["spec"]["template"]["metadata"]["annotations"]["checksum/config"] != "x"


def test_who_places_pods_and_where_they_ask_for_names_is_the_same_for_all(chart: helm_python.Chart) -> None:
    """A Job that cannot resolve the brokers, or that waits for another scheduler, never ends."""
    given: Values = {
        "priorityClassName": "low",
        "schedulerName": "volcano",
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "2"}]},
        "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["b-1.kafka.example"]}],
    }
    pods = [*pod_specs(rendered(chart, {**WHOLE, **given}))]
    assert len(pods) >= 10
    for metadata, spec in pods:
        assert given.items() <= spec.items(), metadata["labels"]
    for metadata, spec in pod_specs(rendered(chart, WHOLE)):
        assert given.keys().isdisjoint(spec), metadata["labels"]


def test_what_a_container_mounts_its_pod_has(chart: helm_python.Chart) -> None:
    """With every Secret that the chart knows; an API server refuses the pod, and so `helm test` and the Jobs."""
    objects = rendered(chart, WHOLE)
    claims = {one["metadata"]["name"] for o in objects for one in o.get("spec", {}).get("volumeClaimTemplates", ())}
    for metadata, spec in pod_specs(objects):
        volumes = {one["name"] for one in spec["volumes"]} | claims
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            assert {one["name"] for one in container.get("volumeMounts", ())} <= volumes, metadata["labels"]


def test_additional_variables_are_in_all_pods_and_each_name_stands_once(chart: helm_python.Chart) -> None:
    """A proxy that only the workers know keeps the servers of the model from the hub."""
    extra = [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}, {"name": "HOME", "value": "/elsewhere"}]
    source = [{"configMapRef": {"name": "proxy"}}]
    pods = [*pod_specs(rendered(chart, {**WHOLE, "extraEnv": extra, "extraEnvFrom": source}))]
    for metadata, spec in pods:
        containers = [*spec.get("initContainers", []), *spec["containers"]]
        told = [one for one in containers if one.get("envFrom") == source]
        assert told, metadata["labels"]
        for one in told:
            variables = {each["name"]: each.get("value") for each in one["env"]}
            assert len(variables) == len(one["env"])
            assert (variables["HTTPS_PROXY"], variables["HOME"]) == ("http://proxy:3128", "/elsewhere")


def test_a_parent_charts_condition_is_no_unknown_value(chart: helm_python.Chart) -> None:
    """`condition: mirrorstream.enabled` of a dependency puts the name among the chart's values."""
    assert rendered(chart, {"enabled": True, "global": {"storageClass": "fast"}}) == rendered(chart, {})
