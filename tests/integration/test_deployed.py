"""What the chart renders, run here: its commands and environment against a real Kafka, and what its probes hear.

A pod's story: Kafka is away, a Job makes the topics, `helm test` passes, the engine dies, a topic breaks, the pod ends.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import helm_python

from tests.support.chart import CHART, Objects, rendered
from tests.support.events import event_id, impression
from tests.support.harness import Stage, Worker, mirrorstream, send, send_raw
from tests.support.kafka_broker import KafkaCluster, free_ports

KILLER = 7  # the number of an event that ends the engine
NUM_BAD = 60  # more than the 50 in a row that open the breaker
IN_THE_POD = "/etc/mirrorstream/config.yaml"
NOT_READY = {"startup": 200, "liveness": 200, "readiness": 503}
READY = NOT_READY | {"readiness": 200}


def chart_objects(stage: Stage) -> list[Objects]:
    """Render the chart for this stage's topics, with the choice model, a Job for the topics, and short waits."""
    own = {name: value for name, value in stage.settings().items() if name != "http_port"}
    values = {
        "gpu": {"enabled": False},
        "config": own | {"http_port": free_ports(1)[0], "drain_timeout_s": 20},
        "topics": {"partitions": 2, "replicas": 1, "job": {"enabled": True}},
    }
    return rendered(helm_python.Chart.load(CHART), values)


def container(objects: list[Objects], part: str) -> dict[str, Any]:
    """Return the only container of a part of the release."""
    (found,) = (o for o in objects if o["metadata"]["labels"]["app.kubernetes.io/component"] == part and pod(o))
    (one,) = pod(found)["containers"]
    return dict(one)


def pod(found: Objects) -> dict[str, Any]:
    """Return an object's pod, {} if it has none."""
    spec: dict[str, Any] = found.get("spec", {})
    return dict(spec.get("template", {}).get("spec") or (spec if "containers" in spec else {}))


def words_of(one: Mapping[str, Any], config: Path) -> list[str]:
    """Return a container's arguments, with the configuration where it is here."""
    return [word.replace(IN_THE_POD, str(config)) for word in one["args"]]


def variables_of(one: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings in a container's environment."""
    return {v["name"]: v.get("value", "rel-0") for v in one["env"] if v["name"].startswith("MIRRORSTREAM_")}


def heard(worker: Worker, one: Mapping[str, Any]) -> dict[str, int]:
    """Return what each probe of the container is told now."""
    return {kind: worker.page(one[f"{kind}Probe"]["httpGet"]["path"])[0] for kind in NOT_READY}


def test_a_rendered_pod_lives_through_what_is_not_its_fault(stage: Stage, tmp_path: Path) -> None:
    """Start-up and liveness stay 200 in every outage, readiness alone says why; then it drains within its grace."""
    later = KafkaCluster()  # its address is known, nothing listens there yet
    stage.bootstrap = later.bootstrap_servers
    objects = chart_objects(stage)
    config = tmp_path / "config.yaml"
    (text,) = (o["data"]["config.yaml"] for o in objects if o["kind"] == "ConfigMap")
    config.write_text(text, encoding="utf-8")
    one = container(objects, "worker")
    variables = variables_of(one) | {"KILLERS": event_id(KILLER)}
    log = stage.folder / "pod.log"
    worker = Worker(words_of(one, config), log, module="tests.support.mortal", variables=variables)
    stage.workers.append(worker)
    until_ready = partial(worker.until, lambda: heard(worker, one) == READY, "ready worker")

    worker.until(lambda: "does not answer" in worker.page("/readyz")[1], "reason that names Kafka")
    assert heard(worker, one) == NOT_READY
    with later:
        worker.until(lambda: "no topic" in worker.page("/readyz")[1], "reason that names the topics")
        assert heard(worker, one) == NOT_READY
        made = mirrorstream(*words_of(container(objects, "topics"), config))
        assert made.returncode == 0, made.stderr
        checked = mirrorstream(*words_of(container(objects, "check"), config))
        assert checked.returncode == 0, checked.stdout
        until_ready()

        send(stage, map(impression, range(20)))
        worker.until(lambda: worker.metric("engine_deaths_total") == 2, "deaths of the engine")
        until_ready()
        assert heard(worker, one) == READY

        send_raw(stage, [(b"user", b"bad")] * NUM_BAD)
        worker.until(lambda: "breaker open" in worker.page("/readyz")[1], "open breaker")
        assert heard(worker, one) == NOT_READY
        grace_s = next(pod(o)["terminationGracePeriodSeconds"] for o in objects if o["kind"] == "Deployment")
        assert worker.stop(grace_s) == 0
