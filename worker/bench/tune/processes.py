"""Trials as processes: each in a group of its own, with a time limit, and with the reason if it gave no figures."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from worker.demo.children import child

COMMAND = (sys.executable, "-m", "worker.bench.tune.trial")
MAX_WHY_CHARS = 300
_ENVIRONMENT = ("MIRRORSTREAM_", "OTEL_")  # of the caller: a trial has the settings that it is given, and no traces


def trial(work: Mapping[str, Any], *, limit_s: float) -> dict[str, Any]:
    """Run one trial; return what it found, or {"failed": why}."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_ENVIRONMENT)}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log, "text": True}
        with child(COMMAND, env=environment, **pipes) as process:
            try:
                said, _ = process.communicate(json.dumps(work) + "\n", timeout=limit_s)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                return {"failed": f"took more than {limit_s:g} s (--tune-limit-s)"}
        found = _last_json(said)
        return found if found is not None else {"failed": _reason(process.returncode, log)}


def _last_json(said: str) -> dict[str, Any] | None:
    try:
        found = json.loads(said.strip().rpartition("\n")[2])
    except ValueError:
        return None
    if isinstance(found, dict) and "failed" in found:
        found["failed"] = found["failed"][:MAX_WHY_CHARS]
    return found if isinstance(found, dict) else None


def _reason(code: int, log: IO[str]) -> str:
    """Return what a process that was ended by its engine said last."""
    log.seek(0)
    lines = [line.strip() for line in log if line.strip()]
    return f"exited with {code}: {lines[-1] if lines else 'no word'}"[:MAX_WHY_CHARS]
