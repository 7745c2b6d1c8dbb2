"""A stand-in for the nodes of a cluster: what an API server is told to run, runs here, and its status is told back.

    with Node(server, "trial", folder):
        ...        # Deployments become workers on this machine, Jobs and single pods run once

A container's arguments and settings are the rendered ones; its ConfigMap comes from the API server.  Its image is this
environment, and its HTTP port a free one, because other tests run beside it.
"""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from tests.support.api_server import ApiServer
from tests.support.chart import Objects
from tests.support.harness import Worker, mirrorstream
from tests.support.patience import patience

GRACE_S = 60.0
MERGE = "application/merge-patch+json"
IN_THE_POD = "/etc/mirrorstream/config.yaml"
PATHS = {"deployments": "/apis/apps/v1", "jobs": "/apis/batch/v1", "pods": "/api/v1"}


class Node:
    """Runs what is in a namespace, each object once, and a Deployment again when its pod changes."""

    def __init__(self, server: ApiServer, namespace: str, folder: Path) -> None:
        self._server, self._namespace, self._folder = server, namespace, folder
        self._workers: dict[str, tuple[str, Worker]] = {}  # by the Deployment's id, with its pod as text
        self._ended: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._turn, name="node")
        self.errors: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._thread.join()
        for _, running in self._workers.values():
            running.end()

    def _turn(self) -> None:
        look: dict[str, Callable[[Objects], None]] = {
            "deployments": self._serve, "jobs": self._finish_job, "pods": self._finish_pod,
        }  # fmt: skip
        while not self._over.wait(0.3):
            try:
                running = set()
                for kind, act in look.items():
                    for found in self._found(kind):
                        running.add(found["metadata"]["uid"])
                        act(found)
                for uid in self._workers.keys() - running:
                    self._workers.pop(uid)[1].stop(patience(GRACE_S))
            except Exception as error:  # noqa: BLE001 - a test asks for it; the next look may be better
                self.errors.append(repr(error))

    def _found(self, kind: str) -> Iterator[Objects]:
        listed = self._server.get(f"{PATHS[kind]}/namespaces/{self._namespace}/{kind}")
        yield from listed["items"]

    def _serve(self, found: Objects) -> None:
        """Run a Deployment's worker, and say when it is ready; a changed pod replaces the one before it."""
        uid, generation = found["metadata"]["uid"], found["metadata"]["generation"]
        pod, spec = json.dumps(found["spec"]["template"]), found["spec"]["template"]["spec"]
        known = self._workers.get(uid)
        if known is None or known[0] != pod:
            if known:
                known[1].stop(patience(GRACE_S))
            words, variables = self._command(spec)
            log = self._folder / f"{found['metadata']['name']}-{generation}.log"
            known = (pod, Worker(words, log, variables=variables | {"MIRRORSTREAM_HTTP_PORT": "0"}))
            self._workers[uid] = known
        worker = known[1]
        ready = int(worker.page(spec["containers"][0]["readinessProbe"]["httpGet"]["path"])[0] == 200)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), ready)
        status = {"observedGeneration": generation, **counts}
        if any(found["status"].get(name, 0) != value for name, value in status.items()):
            self._tell("deployments", found, status)

    def _finish_job(self, found: Objects) -> None:
        if (done := self._once(found, found["spec"]["template"]["spec"])) is None:
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        kinds = ("SuccessCriteriaMet", "Complete") if done else ("FailureTarget", "Failed")
        conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds]
        status: dict[str, Any] = {"startTime": now, "conditions": conditions}
        status |= {"succeeded": 1, "completionTime": now} if done else {"failed": 1}
        self._tell("jobs", found, status)

    def _finish_pod(self, found: Objects) -> None:
        if (done := self._once(found, found["spec"])) is not None:
            self._tell("pods", found, {"phase": "Succeeded" if done else "Failed"})

    def _once(self, found: Objects, spec: Objects) -> bool | None:
        """Return if a command that ends did well; None if it was run before."""
        uid = found["metadata"]["uid"]
        if uid in self._ended:
            return None
        self._ended.add(uid)
        words, variables = self._command(spec)
        done = mirrorstream(*words, **variables)
        log = self._folder / f"{found['metadata']['name']}.log"
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        return done.returncode == 0

    def _command(self, spec: Objects) -> tuple[list[str], dict[str, str]]:
        """Return a container's arguments, with its configuration where it is here, and its settings."""
        (volume,) = (one for one in spec["volumes"] if one["name"] == "config")
        name = volume["configMap"]["name"]
        held = self._server.get(f"/api/v1/namespaces/{self._namespace}/configmaps/{name}")
        config = self._folder / f"{name}.yaml"
        config.write_text(held["data"]["config.yaml"], encoding="utf-8")
        (container,) = spec["containers"]
        words = [word.replace(IN_THE_POD, str(config)) for word in container["args"]]
        named = {one["name"]: one.get("value", "") for one in container["env"]}
        return words, {name: value for name, value in named.items() if name.startswith("MIRRORSTREAM_") and value}

    def _tell(self, kind: str, found: Objects, status: Objects) -> None:
        path = f"{PATHS[kind]}/namespaces/{self._namespace}/{kind}/{found['metadata']['name']}/status"
        self._server.call("PATCH", path, json.dumps({"status": status}).encode(), MERGE)
