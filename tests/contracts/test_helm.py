"""The chart, rendered by Helm itself: valid Kubernetes, restricted, without passwords, and true to the settings."""

import base64
import re
from pathlib import Path
from typing import Any

import helm_python
import pytest
import typer
import yaml
from kubernetes_validate import validate

from tests.support.chart import CHART, NEWEST, OLDEST, ROOT, Objects, Values, rendered
from tools.reference import chart as chart_values
from tools.reference.cli import tree
from worker import __version__
from worker.cli.main import app
from worker.experiment import definition
from worker.settings import Settings, load

CUSTOM = {"ScaledObject", "PodMonitor"}  # declared by their operators, unknown to Kubernetes

SECRETS: Values = {
    "kafka": {"existingSecret": "kafka-client", "items": [{"key": "password", "path": "sasl.password"}]},
    "registry": {"existingSecret": "registry-client", "key": "basic"},
    "huggingface": {"existingSecret": "hub"},
    "server": {"existingSecret": "served", "key": "api-key"},
}
STATEFUL: Values = {
    **SECRETS,
    "workload": {"kind": "StatefulSet"},
    "config": {"static_membership": True, "drain_timeout_s": 12.5, "http_port": 9090, "window_max_tokens": 5_000_000},
    "model": {"source": "pvc", "path": "mirror", "pvc": {"claimName": "models"}},
}
SCALED: Values = {
    "keda": {
        "enabled": True,
        "minReplicaCount": 2,
        "authenticationRef": {"name": "kafka"},
        "triggerMetadata": {"tls": "enable"},
    },
    "config": {"input_topics": "a, b", "start_from": "earliest"},
    "metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "otel": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318"},
}
CPU: Values = {"gpu": {"enabled": False}, "config": {"engine": "choice-model"}, "model": {"name": "mirror-tiny"}}
SERVED: Values = {
    "gpu": {"enabled": False},
    "config": {"engine": "vllm-server", "server_urls": ["http://vllm-0:8000", "http://vllm-1:8000"]},
}
IMAGE: Values = {"kubeVersion": "v1.36.1", "model": {"source": "image", "image": {"reference": "models@sha256:0"}}}
READ: Values = {
    **SECRETS,
    "experiment": {
        "enabled": True,
        "existingSecret": "page",
        "webhook": {"existingSecret": "chat", "key": "address"},
        "definitions": {
            "shelf.yaml": {"experiment_id": "shelf", "start": "2026-11-01", "control": "a", "candidates": ["b"]}
        },
        "ingress": {"enabled": True, "host": "experiments.example", "tlsSecret": "certificate"},
    },
}
PAST: Values = {
    "backfill": {"enabled": True, "from": "2026-11-01T00:00Z", "config": {"group_id": "backfill-1", "draws": 4}},
    "workload": {"kind": "StatefulSet"},
    "config": {"static_membership": True},
}
VARIANTS = {
    "default": {}, "stateful": STATEFUL, "scaled": SCALED, "cpu": CPU, "image": IMAGE, "served": SERVED, "read": READ,
    "past": PAST,
}  # fmt: skip
DIGEST, OTHER = f"sha256:{'1' * 64}", f"sha256:{'3' * 64}"
PARTS = ("worker", "experiment", "backfill")


@pytest.fixture(scope="module")
def chart() -> helm_python.Chart:
    """Load the chart as Helm does."""
    return helm_python.Chart.load(CHART)


def render(chart: helm_python.Chart, values: Values, part: str = "worker") -> Objects:
    """Return the rendered objects of a part by kind; of services, by the last part of the name."""
    own = [o for o in rendered(chart, values) if o["metadata"]["labels"]["app.kubernetes.io/component"] == part]
    return {o["metadata"]["name"].split("-")[-1] if o["kind"] == "Service" else o["kind"]: o for o in own}


def pod(objects: Objects) -> dict[str, Any]:
    """Return the pod of the workload."""
    found: dict[str, Any] = (objects.get("Deployment") or objects["StatefulSet"])["spec"]["template"]["spec"]
    return found


def environment(objects: Objects) -> dict[str, str | None]:
    """Return the worker's environment; a value by reference is None.  No name stands twice."""
    variables = pod(objects)["containers"][0]["env"]
    found = {variable["name"]: variable.get("value") for variable in variables}
    assert len(found) == len(variables)
    return found


def test_lint_strict_is_quiet() -> None:
    """Helm finds nothing, and the icon is the page's."""
    assert helm_python.lint(CHART, strict=True)["messages"] == []
    page = (ROOT / "worker" / "experiment" / "page" / "static" / "icon.svg").read_bytes()
    icon = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["icon"]
    assert base64.b64decode(icon.partition("base64,")[2]) == page


@pytest.mark.parametrize("name", VARIANTS)
def test_every_object_is_valid_kubernetes(chart: helm_python.Chart, name: str) -> None:
    """No unknown or misplaced field, which an API server drops in silence."""
    for part in PARTS:
        for kind, found in render(chart, VARIANTS[name], part).items():
            if kind not in CUSTOM:
                validate(found, NEWEST if name in {"image", "scaled"} else OLDEST, strict=True)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_setting_is_one_of_the_worker(
    chart: helm_python.Chart, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker starts with the rendered file and environment, and stops before the pod is killed."""
    objects = render(chart, VARIANTS[name])
    config = tmp_path / "config.yaml"
    config.write_text(objects["ConfigMap"]["data"]["config.yaml"], encoding="utf-8")
    assert yaml.safe_load(config.read_text(encoding="utf-8")).keys() <= Settings.model_fields.keys()
    for variable, value in environment(objects).items():
        if variable.startswith("MIRRORSTREAM_"):
            monkeypatch.setenv(variable, value or "rel-0")
    settings = load(config)
    assert pod(objects)["terminationGracePeriodSeconds"] >= settings.drain_timeout_s + 30
    assert pod(objects)["containers"][0]["ports"][0]["containerPort"] == settings.http_port
    assert settings.http_host == "::"  # the kubelet asks from outside, by IPv6 or IPv4
    assert (settings.worker_id == "rel-0") == (name in {"stateful", "past"})


def test_the_pod_is_restricted_probed_and_has_a_gpu(chart: helm_python.Chart) -> None:
    """The defaults meet the restricted standard; what must be written to is a volume."""
    spec = pod(render(chart, {}))
    worker = spec["containers"][0]
    assert spec["securityContext"].items() >= {"runAsNonRoot": True, "runAsUser": 10001}.items()
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    restricted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert worker["securityContext"] == restricted
    probes = {kind: worker[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert probes == {"startup": "/startupz", "readiness": "/readyz", "liveness": "/livez"}
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    writable = {m["mountPath"] for m in worker["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/home/mirrorstream", "/tmp", "/dev/shm"}  # noqa: S108 - paths in a pod


def test_secrets_are_files_by_reference(chart: helm_python.Chart) -> None:
    """The chart makes no Secret, and what it names is mounted where the settings look."""
    objects = render(chart, SECRETS)
    config = yaml.safe_load(objects["ConfigMap"]["data"]["config.yaml"])
    mounts = {m["name"]: m["mountPath"] for m in pod(objects)["containers"][0]["volumeMounts"]}
    volumes = {v["name"]: v["secret"] for v in pod(objects)["volumes"] if "secret" in v}
    assert "Secret" not in objects
    named = {name: volume["secretName"] for name, volume in volumes.items()}
    assert named == {name: values["existingSecret"] for name, values in SECRETS.items()}
    assert volumes["server"]["items"] == [{"key": "api-key", "path": "token"}]
    assert config["server_auth_file"] == f"{mounts['server']}/token"
    assert volumes["registry"]["items"] == [{"key": "basic", "path": "auth"}]
    assert config["kafka_secrets"] == mounts["kafka"]
    assert config["schema_registry_auth_file"] == f"{mounts['registry']}/auth"
    assert environment(objects)["HF_TOKEN_PATH"] == f"{mounts['huggingface']}/token"


@pytest.mark.parametrize("part", ["worker", "experiment"])
def test_workers_and_page_have_one_certificate_and_one_secret_of_pseudonyms(
    chart: helm_python.Chart, part: str
) -> None:
    """A page without the secret would know the users of outcomes by other names than those of responses."""
    values: Values = {
        **READ, "pseudonyms": {"existingSecret": "salt"}, "registry": {"clientSecret": {"name": "registry-tls"}},
    }  # fmt: skip
    objects = render(chart, values) if part == "worker" else render(chart, values, "experiment")
    (container, *_), volumes = pod(objects)["containers"], {v["name"]: v for v in pod(objects)["volumes"]}
    config = yaml.safe_load(objects["ConfigMap"]["data"]["config.yaml"])
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    assert config["pseudonym_key_file"] == f"{mounts['pseudonyms']}/key"
    assert config["schema_registry_certificate_file"] == f"{mounts['registry-client']}/tls.crt"
    assert config["schema_registry_key_file"] == f"{mounts['registry-client']}/tls.key"
    assert volumes["pseudonyms"]["secret"]["secretName"] == "salt"
    assert volumes["registry-client"]["secret"]["secretName"] == "registry-tls"


def test_the_page_of_experiments_starts_with_what_is_rendered(chart: helm_python.Chart, tmp_path: Path) -> None:
    """Its settings and definitions are read by the program; each option and each file that it names is there."""
    objects = render(chart, READ, "experiment")
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    group, command, *options = container["args"]
    named = dict(option.removeprefix("--").split("=", 1) for option in options)
    open_page = {"existingSecret": "", "allowAnonymous": True}
    bare = render(chart, {**READ, "experiment": READ["experiment"] | open_page}, "experiment")["Deployment"]
    assert "--allow-anonymous" in bare["spec"]["template"]["spec"]["containers"][0]["args"]
    found = dict(tree(typer.main.get_command(app)))
    known = {name for one in found[group, command].params for name in one.opts}
    assert {f"--{name}" for name in named} <= known
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    told = named["on-verdict-change"].removeprefix("@")
    for file in (named["config"], named["token-file"], named["definition"], named["state"], told):
        assert any(file == mount or file.startswith(f"{mount}/") for mount in mounts), file
    data = objects["ConfigMap"]["data"]
    for file, text in data.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    assert load(tmp_path / "config.yaml").kafka_secrets == Path("/etc/mirrorstream/kafka")
    assert definition.load(tmp_path / "shelf.yaml").experiment_id == "shelf"
    backend = objects["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": objects["experiment"]["metadata"]["name"], "port": {"name": "http"}}
    assert objects["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}  # two readers would share a state file


def test_the_page_of_experiments_is_scraped_with_its_token(chart: helm_python.Chart) -> None:
    """Its metrics name experiments, so they are behind the token like everything else there."""
    scraped = {"metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}}
    (endpoint,) = render(chart, READ | scraped, "experiment")["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"] == {"credentials": {"name": "page", "key": "token"}}
    (port,) = render(chart, READ, "experiment")["Deployment"]["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert endpoint["port"] == port["name"]
    anonymous = READ | scraped | {"experiment": READ["experiment"] | {"existingSecret": "", "allowAnonymous": True}}
    (endpoint,) = render(chart, anonymous, "experiment")["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert "authorization" not in endpoint
    assert "PodMonitor" not in render(chart, READ, "experiment")
    assert "PodMonitor" not in render(chart, VARIANTS["scaled"], "experiment")


def test_the_page_of_experiments_runs_as_the_workers_do(chart: helm_python.Chart) -> None:
    """The same account, pull secrets, priority and nodes; a variable of `extraEnv` replaces its own."""
    values = {
        **READ,
        "imagePullSecrets": [{"name": "mirror"}],
        "priorityClassName": "low",
        "affinity": {"nodeAffinity": {}},
        "extraEnv": [{"name": "HOME", "value": "/elsewhere"}],
    }
    page, worker = (
        render(chart, values, part)["Deployment"]["spec"]["template"]["spec"] for part in ("experiment", "worker")
    )
    for name in ("serviceAccountName", "securityContext", "imagePullSecrets", "priorityClassName", "affinity"):
        assert page[name] == worker[name], name
    (container,) = page["containers"]
    assert [(one["name"], one["value"]) for one in container["env"]] == [("HOME", "/elsewhere")]


def test_a_backfill_is_a_job_in_a_group_of_its_own(chart: helm_python.Chart) -> None:
    """With the workers' settings but for its own; another period is another Job, for a Job's pods never change."""
    job, later = (
        render(chart, {**PAST, "backfill": PAST["backfill"] | {"from": start}}, "backfill")
        for start in ("2026-11-01T00:00Z", "2026-11-02T00:00Z")
    )
    (container,) = job["Job"]["spec"]["template"]["spec"]["containers"]
    assert container["args"][-3:] == ["--until-end", "--from", "2026-11-01T00:00Z"]
    config = yaml.safe_load(job["ConfigMap"]["data"]["config.yaml"])
    assert (config["group_id"], config["draws"], config["output_topic"]) == ("backfill-1", 4, "responses")
    assert "static_membership" not in config
    assert job["Job"]["metadata"]["name"] != later["Job"]["metadata"]["name"]
    selected = render(chart, PAST)["StatefulSet"]["spec"]["selector"]["matchLabels"].items()
    assert not selected <= job["Job"]["spec"]["template"]["metadata"]["labels"].items()  # it is no worker's pod


def test_the_store_of_items_and_users_is_where_a_restart_finds_it(chart: helm_python.Chart) -> None:
    """On the pod's disk, or on a claim for each worker; a backfill fills one of its own."""
    ids: Values = {"config": {"items_topic": "items", "users_topic": "users"}}
    kept: Values = {**ids, "workload": {"kind": "StatefulSet"}, "facts": {"persistence": {"enabled": True}}}
    past: Values = {**kept, "backfill": {"enabled": True, "config": {"group_id": "backfill-1"}}}
    for values, part, volume in (
        (ids, "worker", {"emptyDir": {"sizeLimit": "10Gi"}}),
        (kept, "worker", None),
        (past, "backfill", {"emptyDir": {"sizeLimit": "10Gi"}}),
    ):
        objects = render(chart, values, part)
        spec = objects["Job"]["spec"]["template"]["spec"] if part == "backfill" else pod(objects)
        volumes = {one["name"]: {name: it for name, it in one.items() if name != "name"} for one in spec["volumes"]}
        assert volumes.get("facts") == volume
        folder = Path(yaml.safe_load(objects["ConfigMap"]["data"]["config.yaml"])["join_folder"])
        (mount,) = (one for one in spec["containers"][0]["volumeMounts"] if one["name"] == "facts")
        assert Path(mount["mountPath"]) == folder.parent
    (claim,) = render(chart, kept)["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert (claim["metadata"]["name"], claim["spec"]["resources"]["requests"]["storage"]) == ("facts", "10Gi")
    for values in ({}, {"config": ids["config"] | {"join_folder": "/mine"}}):
        objects = render(chart, values)
        assert "facts" not in {one["name"] for one in pod(objects)["volumes"]}
        config = yaml.safe_load(objects["ConfigMap"]["data"]["config.yaml"])
        assert config.get("join_folder") == values.get("config", {}).get("join_folder")


def test_variants_that_are_logged_apart_are_paired_beside_the_workers(chart: helm_python.Chart) -> None:
    """On the workers' brokers into their input, as restricted as they are, with its state on a claim or on the node."""
    own: Values = {
        "enabled": True,
        "image": {"repository": "pairing"},
        "config": {"pairing.control.topic": "a", "pairing.candidate.topic": "b", "pairing.max.bytes": 1_000_000},
    }
    values: Values = {**SECRETS, "config": {"input_topics": "seen, other", "group_id": "g"}, "pairing": own}
    objects = render(chart, values, "pairing")
    lines = objects["ConfigMap"]["data"]["pairing.properties"].split("\n")
    found = dict(line.split("=", 1) for line in lines if line)
    assert found.items() >= {
        "bootstrap.servers": "kafka:9092", "application.id": "g-pairing", "pairing.output.topic": "seen",
        "pairing.control.topic": "a", "pairing.candidate.topic": "b", "pairing.max.bytes": "1000000",
    }.items()  # fmt: skip
    spec, worker = pod(objects), pod(render(chart, values))
    for name in ("serviceAccountName", "securityContext", "automountServiceAccountToken"):
        assert spec[name] == worker[name]
    (container,) = spec["containers"]
    assert container["securityContext"] == worker["containers"][0]["securityContext"]
    assert container["image"] == f"pairing:{__version__}"
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert found["state.dir"].startswith(f"{mounts['state']}/")
    assert found["config.providers.directory.param.allowed.paths"] == mounts["kafka"]
    assert container["args"] == [mounts["config"]]
    (claim,) = objects["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "state"
    assert objects["StatefulSet"]["spec"]["serviceName"] == objects["pairing"]["metadata"]["name"]
    assert objects["PodDisruptionBudget"]["spec"]["selector"] == objects["StatefulSet"]["spec"]["selector"]
    bare = render(chart, {**values, "pairing": own | {"persistence": {"enabled": False}}}, "pairing")
    assert {"name": "state", "emptyDir": {"sizeLimit": "10Gi"}} in pod(bare)["volumes"]
    assert "volumeClaimTemplates" not in bare["StatefulSet"]["spec"]


def test_the_pairing_names_no_folder_that_its_pod_lacks(chart: helm_python.Chart) -> None:
    """Kafka's provider of files refuses to start without its folder, which is there with the secrets alone."""
    own: Values = {
        "enabled": True,
        "image": {"repository": "pairing"},
        "config": {"pairing.control.topic": "a", "pairing.candidate.topic": "b"},
    }
    objects = render(chart, {"config": {"bootstrap_servers": "kafka:9092"}, "pairing": own}, "pairing")
    text = objects["ConfigMap"]["data"]["pairing.properties"]
    assert "config.providers=env\n" in text
    assert "/etc/mirrorstream/kafka" not in text
    (container,) = pod(objects)["containers"]
    assert "kafka" not in {one["name"] for one in container["volumeMounts"]}


def test_the_image_is_the_one_the_chart_runs(chart: helm_python.Chart) -> None:
    """Version and user of chart, image and package are one; what has a user by name could not prove it is not root."""
    dockerfile = (CHART.parents[1] / "Dockerfile").read_text(encoding="utf-8")
    security = chart.values["podSecurityContext"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}\n" in dockerfile
    assert 'ENTRYPOINT ["mirrorstream"]\n' in dockerfile
    assert f"ARG VERSION={__version__}\n" in dockerfile
    assert chart.metadata["appVersion"] == __version__


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({}, f"hub/mirrorstream@{DIGEST}"),
        ({"repository": "page"}, "page:2"),
        ({"repository": "page", "digest": OTHER}, f"page@{OTHER}"),
        ({"tag": "4"}, "hub/mirrorstream:4"),
    ],
)
def test_the_page_has_the_workers_image_or_its_own(chart: helm_python.Chart, own: Values, wanted: str) -> None:
    """What its image leaves out is the worker's, but for a digest, which is of one image."""
    image = {"repository": "hub/mirrorstream", "tag": "2", "digest": DIGEST}
    page = render(chart, READ | {"image": image, "experiment": READ["experiment"] | {"image": own}}, "experiment")
    (container,) = pod(page)["containers"]
    assert container["image"] == wanted


def test_the_page_names_the_driver_that_the_images_cuda_needs() -> None:
    """By NVIDIA's release notes CUDA 13 runs on drivers from 580 on; another major version needs another sentence."""
    lock = (ROOT / "requirements" / "gpu.txt").read_text(encoding="utf-8")
    (major,) = re.findall(r"^cuda-toolkit==(\d+)", lock, re.MULTILINE)
    page = (ROOT / "docs" / "how-to" / "kubernetes.md").read_text(encoding="utf-8")
    assert f"CUDA {major}, which needs NVIDIA's driver {({'13': 580})[major]} or later" in page


def test_variants(chart: helm_python.Chart) -> None:
    """A StatefulSet has a headless service, KEDA starts from its minimum, and a CPU pod knows no GPU."""
    stateful, scaled, cpu = (render(chart, values) for values in (STATEFUL, SCALED, CPU))
    assert stateful["StatefulSet"]["spec"]["serviceName"] == stateful["headless"]["metadata"]["name"]
    assert scaled["Deployment"]["spec"]["replicas"] == 2
    triggers = [trigger["metadata"] for trigger in scaled["ScaledObject"]["spec"]["triggers"]]
    seen = [(t["topic"], t["offsetResetPolicy"], t["tls"]) for t in triggers]
    assert seen == [("a", "earliest", "enable"), ("b", "earliest", "enable")]
    assert scaled["ScaledObject"]["spec"]["scaleTargetRef"]["name"] == scaled["Deployment"]["metadata"]["name"]
    assert "nvidia" not in yaml.safe_dump(cpu)
    assert [environment(o)["HF_HUB_OFFLINE"] for o in (render(chart, {}), stateful, cpu)] == ["0", "1", "1"]


def test_a_deployment_can_be_recreated(chart: helm_python.Chart) -> None:
    """Without `rollingUpdate` beside it, which an API server refuses; a StatefulSet has its own strategy."""
    recreated = render(chart, {"strategy": {"type": "Recreate"}})["Deployment"]["spec"]
    assert recreated["strategy"] == {"type": "Recreate"}
    rolled = render(chart, {})["Deployment"]["spec"]["strategy"]
    assert rolled == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    by_hand = {**STATEFUL, "updateStrategy": {"type": "OnDelete"}}
    assert render(chart, by_hand)["StatefulSet"]["spec"]["updateStrategy"] == {"type": "OnDelete"}


def test_an_additional_variable_replaces_the_charts_own(chart: helm_python.Chart) -> None:
    """A name that stands twice is refused by server-side apply; `environment` finds that no name does."""
    extra = [{"name": "HF_HUB_OFFLINE", "value": "1"}, {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]
    found = environment(render(chart, {"extraEnv": extra}))
    assert (found["HF_HUB_OFFLINE"], found["HTTPS_PROXY"]) == ("1", "http://proxy:3128")


def test_a_parent_chart_says_where_images_come_from(chart: helm_python.Chart) -> None:
    """Its registry stands before the image, and its secrets beside the chart's, each once."""
    shared = {"imageRegistry": "mirror.example/hub/", "imagePullSecrets": ["shared", {"name": "own"}]}
    spec = pod(render(chart, {"global": shared, "imagePullSecrets": [{"name": "own"}]}))
    assert spec["containers"][0]["image"] == f"mirror.example/hub/mirrorstream:{__version__}"
    assert spec["imagePullSecrets"] == [{"name": "own"}, {"name": "shared"}]


def test_every_setting_is_in_the_charts_schema(chart: helm_python.Chart) -> None:
    """Neither a setting that the chart refuses, nor one that the worker would: both from one source."""
    text = chart_values.SCHEMA.read_text(encoding="utf-8")
    assert chart_values.schema(text) == text, "python -m tools.reference writes it anew"
    assert (chart.schema or {})["definitions"]["config"]["properties"].keys() == Settings.model_fields.keys()


def test_values_are_in_the_schema_and_the_readme(chart: helm_python.Chart) -> None:
    """Every value is checked and explained; a change of it restarts the workers."""
    readme = (CHART / "README.md").read_text(encoding="utf-8")
    schema = chart.schema or {}
    assert chart.values.keys() | {"enabled"} == schema["properties"].keys()  # a parent chart may add that one
    assert [name for name in chart.values if f"| `{name}`" not in readme and f"| `{name}." not in readme] == []
    before, after = (render(chart, v)["Deployment"]["spec"]["template"] for v in ({}, {"config": {"draws": 4}}))
    assert before["metadata"]["annotations"] != after["metadata"]["annotations"]
