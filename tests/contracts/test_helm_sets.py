"""The realistic sets of values in the chart's `ci` folder: linted, valid, restricted, and known to the worker."""

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml
from kubernetes_validate import validate

from tests.support.chart import (
    CHART,
    NEWEST,
    OLDEST,
    SETS,
    Objects,
    pod_specs,
    rendered,
    set_name,
    set_values,
)
from worker.settings import load, mappings

# Of operators, unknown to Kubernetes itself.
CUSTOM_GROUPS = (
    "keda.sh/", "monitoring.coreos.com/", "kafka.strimzi.io/",
    "gateway.networking.k8s.io/", "leaderworkerset.x-k8s.io/",
)  # fmt: skip
IMAGE_VOLUMES = "1.35"  # the oldest Kubernetes with the volume
HOST_FOLDER = "host-path"  # which the standard forbids, as the value's text says
# The kinds of volumes that the restricted standard allows.
VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip

SET = pytest.mark.parametrize("path", SETS, ids=set_name)


@pytest.fixture(scope="module")
def chart() -> helm_python.Chart:
    """Load the chart as Helm does."""
    return helm_python.Chart.load(CHART)


def test_there_are_sets_for_the_usual_platforms() -> None:
    """Sixteen at least, and each says in its first line whom it is for."""
    assert len(SETS) >= 16
    assert [path.name for path in SETS if not path.read_text(encoding="utf-8").startswith("# ")] == []


@SET
def test_a_set_is_linted_strictly(path: Path) -> None:
    """Helm finds nothing."""
    kube = str(set_values(path).get("kubeVersion", f"v{OLDEST}.0"))
    assert helm_python.lint(CHART, set_values(path), strict=True, kube_version=kube)["messages"] == []


@SET
def test_a_set_is_valid_for_every_kubernetes(chart: helm_python.Chart, path: Path) -> None:
    """No unknown or misplaced field from the oldest to the newest; names are unique within a kind."""
    objects = rendered(chart, set_values(path))
    names = [(found["kind"], found["metadata"]["name"]) for found in objects]
    assert len(names) == len(set(names))
    oldest = IMAGE_VOLUMES if set_name(path) == "image-volume" else OLDEST
    for found in objects:
        if not found["apiVersion"].startswith(CUSTOM_GROUPS):
            for version in (oldest, NEWEST):
                validate(found, version, strict=True)


@SET
def test_a_sets_settings_are_the_workers(
    chart: helm_python.Chart, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rendered configuration starts a worker: types, bounds, and rules between settings."""
    monkeypatch.setenv("MIRRORSTREAM_WORKER_ID", "rel-0" if set_name(path) == "stateful" else "")
    found = [o for o in rendered(chart, set_values(path)) if "config.yaml" in (o.get("data") or {})]
    assert found
    for number, one in enumerate(found):
        file = tmp_path / f"{number}.yaml"
        file.write_text(one["data"]["config.yaml"], encoding="utf-8")
        assert load(file).bootstrap_servers


@SET
def test_every_pod_of_a_set_is_restricted(chart: helm_python.Chart, path: Path) -> None:
    """By the Pod Security standard, init containers and sidecars too; no token of the API is mounted."""
    for metadata, spec in pod_specs(rendered(chart, set_values(path))):
        is_on_disk = set_name(path) == HOST_FOLDER and "worker" in metadata["labels"].values()
        assert [*unrestricted(spec)] == (["volume model"] if is_on_disk else []), metadata
        if set_name(path) == "openshift":  # gives the ids itself
            assert spec["securityContext"].keys() & {"runAsUser", "runAsGroup", "fsGroup"} == set()
        assert spec["automountServiceAccountToken"] is False


def unrestricted(spec: Objects) -> Iterator[str]:
    """Yield what the restricted standard refuses in a pod."""
    yield from (f"volume {v['name']}" for v in spec["volumes"] if not v.keys() - {"name"} <= VOLUMES)
    pod: dict[str, Any] = spec["securityContext"]
    if not pod.get("runAsNonRoot") or pod.get("runAsUser") == 0:
        yield "root"
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "seccomp"
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"container {container['name']}"


@SET
def test_every_selector_and_name_leads_somewhere(chart: helm_python.Chart, path: Path) -> None:
    """Volumes that are mounted are there, services and policies select pods of the release, named ports exist."""
    objects = rendered(chart, set_values(path))
    pods = [*pod_specs(objects)]
    made = {(found["kind"], found["metadata"]["name"]) for found in objects}
    for found in objects:
        if found["kind"] in {"Service", "PodDisruptionBudget", "NetworkPolicy"}:
            selected = [spec for metadata, spec in pods if selects(found, metadata["labels"])]
            assert selected, found["metadata"]["name"]
        if found["kind"] == "Service":
            ports = {port["name"] for spec in selected for c in spec["containers"] for port in c.get("ports", ())}
            assert {port["targetPort"] for port in found["spec"]["ports"]} <= ports
        if found["kind"] in {"ScaledObject", "HorizontalPodAutoscaler"}:
            target = found["spec"]["scaleTargetRef"]
            assert (target["kind"], target["name"]) in made
    stateful = [found["spec"] for found in objects if found["kind"] == "StatefulSet"]
    for _, spec in pods:
        claims = [one for found in stateful if found["template"]["spec"] is spec for one in claimed(found)]
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert not volumes & set(claims)  # a claim of that name would hide it
        volumes |= set(claims)
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes
        for volume in spec["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in made


def claimed(found: Objects) -> list[str]:
    """Return the names of the claims that each pod of a StatefulSet gets."""
    return [one["metadata"]["name"] for one in found.get("volumeClaimTemplates", ())]


def selects(found: Objects, labels: Objects) -> bool:
    """Return True if a service, budget or policy selects a pod with these labels."""
    spec = found["spec"]
    selector = spec.get("podSelector") or spec["selector"]
    exact = selector.get("matchLabels", selector if found["kind"] == "Service" else {})
    among = selector.get("matchExpressions", ()) if found["kind"] != "Service" else ()
    return exact.items() <= labels.items() and all(labels[one["key"]] in one["values"] for one in among)


@SET
def test_a_job_of_another_pod_is_another_job(chart: helm_python.Chart, path: Path) -> None:
    """An API server refuses a change of a Job's template, such as a new image: the upgrade would fail."""
    values = set_values(path)
    before, after = (
        {o["metadata"]["name"] for o in rendered(chart, values | {"image": {"tag": tag}}) if o["kind"] == "Job"}
        for tag in ("1", "2")
    )
    assert len(before) == len(after)
    assert not before & after


def test_a_model_is_downloaded_once_and_verified(chart: helm_python.Chart, tmp_path: Path) -> None:
    """Workers wait for the very sums that the Job has verified: a wrong file, or an older revision's, is not taken."""
    path = next(path for path in SETS if set_name(path) == "model-download")
    values = set_values(path)
    values["model"]["download"]["checksums"] = {"config.json": hashlib.sha256(b"{}").hexdigest()}
    objects = rendered(chart, values)
    (job,) = (found for found in objects if found["kind"] == "Job")
    (worker,) = (found for found in objects if found["kind"] == "Deployment")
    (sums,) = (found for found in objects if "SHA256SUMS" in (found.get("data") or {}))
    (tmp_path / "SHA256SUMS").write_text(sums["data"]["SHA256SUMS"], encoding="utf-8")
    (model := tmp_path / "model").mkdir()

    def command(container: Objects) -> list[str]:
        words = [*container["command"], *container["args"]]
        places = {"/models/user-mirrorrer/0123456": str(model), "/etc/mirrorstream/model": str(tmp_path)}
        for there, here in places.items():
            words = [word.replace(there, here) for word in words]
        return [word.replace("sleep 5", "exit 3") for word in words]

    pod = job["spec"]["template"]["spec"]
    assert pod["initContainers"][0]["command"][:3] == ["hf", "download", "Joinn/UserMirrorrer-Qwen-DPO"]
    verify = command(pod["containers"][0])
    wait = command(worker["spec"]["template"]["spec"]["initContainers"][0])
    (model / "config.json").write_text("{ }", encoding="utf-8")
    assert subprocess.run(verify, capture_output=True, check=False).returncode != 0
    assert subprocess.run(wait, check=False).returncode == 3
    (model / "config.json").write_text("{}", encoding="utf-8")
    assert subprocess.run(verify, check=False).returncode == 0
    assert subprocess.run(wait, check=False).returncode == 0
    (tmp_path / "SHA256SUMS").write_text("of another revision\n", encoding="utf-8")
    assert subprocess.run(wait, check=False).returncode == 3


def test_a_policy_lets_out_what_is_configured_alone(chart: helm_python.Chart) -> None:
    """DNS, Kafka and the servers by their ports; the hub only where a model is loaded from it."""
    path = next(path for path in SETS if set_name(path) == "served")
    policies = [found for found in rendered(chart, set_values(path)) if found["kind"] == "NetworkPolicy"]
    (policy,) = policies
    ports = [sorted({port["port"] for port in rule["ports"]}) for rule in policy["spec"]["egress"]]
    assert ports == [[53, 5353], [9092], [80, 8000], [4318], [443]]
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    config = {"bootstrap_servers": "a:9093,b:9094", "engine": "choice-model"}
    values = {"networkPolicy": {"enabled": True}, "gpu": {"enabled": False}, "config": config}
    (policy,) = (found for found in rendered(chart, values) if found["kind"] == "NetworkPolicy")
    ports = [sorted({port["port"] for port in rule["ports"]}) for rule in policy["spec"]["egress"]]
    assert ports == [[53, 5353], [9093, 9094]]


def test_files_of_a_release_are_where_the_settings_name_them(chart: helm_python.Chart, tmp_path: Path) -> None:
    """In the workers, a backfill and the check alike; the mapping is one that the worker reads."""
    path = next(path for path in SETS if set_name(path) == "mapping")
    objects = rendered(chart, set_values(path))
    (files,) = (o["data"] for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"].endswith("-files"))
    settings = [yaml.safe_load(o["data"]["config.yaml"]) for o in objects if "config.yaml" in (o.get("data") or {})]
    named = {one[name] for one in settings for name in ("mapping", "chat_template") if name in one}
    assert named == {f"/etc/mirrorstream/files/{name}" for name in files}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert mappings.load(str(tmp_path / "events.yaml"))
    parts = [
        (metadata, spec) for metadata, spec in pod_specs(objects) if "experiment" not in metadata["labels"].values()
    ]
    assert len(parts) == 3
    for _, spec in parts:
        mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
        (volume,) = (one for one in spec["volumes"] if one["name"] == mounts["/etc/mirrorstream/files"])
        assert volume["configMap"]["name"] == "rel-mirrorstream-files"


def test_a_changed_file_restarts_the_workers(chart: helm_python.Chart) -> None:
    texts = ("a", "b")
    objects = (rendered(chart, {"files": {"chat.jinja": text}}) for text in texts)
    before, after = (next(o for o in found if o["kind"] == "Deployment")["spec"]["template"] for found in objects)
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]


def test_the_nodes_of_a_model_find_each_other_and_the_workers_their_leaders(chart: helm_python.Chart) -> None:
    """One model over all GPUs of a group; a user of the workers stays with one leader, whose prefix cache it fills."""
    path = next(path for path in SETS if set_name(path) == "many-nodes")
    objects = rendered(chart, set_values(path))
    (group,) = (o for o in objects if o["kind"] == "LeaderWorkerSet")
    assert (group["spec"]["replicas"], group["spec"]["leaderWorkerTemplate"]["size"]) == (2, 2)
    templates = [group["spec"]["leaderWorkerTemplate"][name] for name in ("leaderTemplate", "workerTemplate")]
    for template in templates:
        validate({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}, "template": template}, NEWEST, strict=True)
    leader, follower = (template["spec"]["containers"][0] for template in templates)
    assert follower["args"] == [*leader["args"], "--headless"]
    assert {"--tensor-parallel-size=8", "--pipeline-parallel-size=2", "--nnodes=$(LWS_GROUP_SIZE)"} < {*leader["args"]}
    assert leader["resources"]["limits"] == {"memory": "128Gi", "nvidia.com/gpu": 8}
    assert "ports" not in follower
    (worker,) = (o for o in objects if o["kind"] == "Deployment")
    assert "nvidia.com/gpu" not in str(worker)
    settings = next(yaml.safe_load(o["data"]["config.yaml"]) for o in objects if "config.yaml" in (o.get("data") or {}))
    name = group["metadata"]["name"]
    assert settings["server_urls"] == [f"http://{name}-{index}.{name}.ns:8000" for index in (0, 1)]
    assert settings["model"] == leader["args"][0] == "/models/simulator-400b"
    policies = {o["metadata"]["name"]: o["spec"] for o in objects if o["kind"] == "NetworkPolicy"}
    assert {port["port"] for rule in policies["rel-mirrorstream"]["egress"] for port in rule["ports"]} >= {8000}
    own = policies[name]["podSelector"]
    assert {"to": [{"podSelector": own}]} in policies[name]["egress"]
    assert {"from": [{"podSelector": own}]} in policies[name]["ingress"]


def test_the_brokers_ca_is_beside_the_users_secret(chart: helm_python.Chart) -> None:
    """A Strimzi user's own `ca.crt` signs clients, not brokers: the cluster's CA comes from another Secret."""
    path = next(path for path in SETS if set_name(path) == "strimzi")
    objects = rendered(chart, set_values(path))
    (worker,) = (o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "rel-mirrorstream")
    volume = next(v for v in worker["spec"]["template"]["spec"]["volumes"] if v["name"] == "kafka")
    secrets = [source["secret"] for source in volume["projected"]["sources"]]
    found = {item["path"]: secret["name"] for secret in secrets for item in secret["items"]}
    assert found == {
        "ssl.certificate.pem": "rel-mirrorstream",
        "ssl.key.pem": "rel-mirrorstream",
        "ssl.ca.pem": "events-cluster-ca-cert",
    }
    (config,) = (o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "rel-mirrorstream")
    assert yaml.safe_load(config["data"]["config.yaml"])["kafka_secrets"] == "/etc/mirrorstream/kafka"


@pytest.mark.parametrize(
    ("config", "page", "compacted", "published"),
    [
        ({}, {}, {"experiments"}, ""),
        ({"experiments_topic": "defs"}, {}, {"defs", "readouts"}, "readouts"),
        ({"experiments_topic": "defs", "readouts_topic": "told"}, {}, {"defs", "told"}, "told"),
        ({}, {"readoutsTopic": "told"}, {"experiments", "told"}, "told"),
        ({"experiments_topic": "defs"}, {"definitionsTopic": "mine", "readoutsTopic": "told"},
         {"defs", "readouts", "mine", "told"}, "told"),
    ],
)  # fmt: skip
def test_topics_that_steer_exist_with_rights_and_the_page_publishes_to_them(
    chart: helm_python.Chart, config: dict[str, str], page: dict[str, str], compacted: set[str], published: str
) -> None:
    """By the operator or by the Job, for the topics that workers follow and for those that the page has of its own."""
    values = set_values(next(path for path in SETS if set_name(path) == "strimzi"))
    values["config"] |= config
    values["experiment"] |= page
    values["topics"]["job"] = {"enabled": True}
    objects = rendered(chart, values)
    specs = {o["spec"]["topicName"]: o["spec"] for o in objects if o["kind"] == "KafkaTopic"}
    assert {name for name, one in specs.items() if one["config"].get("cleanup.policy") == "compact"} == compacted
    assert all(specs[name]["partitions"] == 1 for name in compacted)
    (user,) = (o for o in objects if o["kind"] == "KafkaUser")
    acls = [one for one in user["spec"]["authorization"]["acls"] if one["resource"]["type"] == "topic"]
    rights = {one["resource"]["name"]: set(one["operations"]) for one in acls}
    assert len(rights) == len(acls)
    followed = {config.get("readouts_topic", "readouts")} if "experiments_topic" in config else set()
    for name in compacted:
        read = {"Read"} if name != published or name in followed else set()
        assert rights[name] == {"Describe"} | read | ({"Write"} if name == published else set())
    args = {
        o["kind"]: o["spec"]["template"]["spec"]["containers"][0]["args"]
        for o in objects if o["kind"] == "Job" or (o["metadata"]["name"] == "rel-mirrorstream-experiment"
        and o["kind"] == "Deployment")
    }  # fmt: skip
    told = [one for one in args["Deployment"] if one.startswith("--readouts-topic")]
    assert told == ([f"--readouts-topic={published}"] if published else [])
    assert told == [one for one in args["Job"] if one.startswith("--readouts-topic")]
