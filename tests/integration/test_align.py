"""The whole of `align` on users whose tastes have changed: it learns what can be learned, and nothing from a placebo.

The small form runs every time.  Ten worlds, each with its placebo, kills of every step, and the result in vLLM belong
to the long suite; the figures of the ten worlds stand in docs/how-to/align.md.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="training needs requirements/align.txt, which the tests' requirements hold")

from tests.support import alignment
from tests.support.harness import environment
from tests.support.patience import patience
from worker.offline.align import steps
from worker.offline.align.train import Base
from worker.settings import prompt_profiles

SEEDS = range(1, 11)
SMALL_USERS = 100
KILLS = 10


def test_the_four_steps_end_in_a_verdict_and_a_card(tmp_path: Path) -> None:
    """The small form: too few users to be sure of anything, so it is not promoted, and says so."""
    (proof,) = alignment.prove(1, tmp_path, users=SMALL_USERS, draws=2, placebos=False)
    verdict = json.loads((tmp_path / "real" / "align" / "verdict.json").read_text())
    assert verdict["promoted"] is proof.verdict.promoted
    assert verdict["users"] == proof.verdict.users > 15
    assert (tmp_path / "real" / "align" / "promoted").is_dir() is proof.verdict.promoted
    assert proof.verdict.answered.after > 0.95


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_changed_tastes_are_learned_and_a_placebo_is_not_promoted(tmp_path: Path, seed: int) -> None:
    real, placebo = alignment.prove(seed, tmp_path)
    gain, skill = real.verdict.probability_of_choice, real.verdict.skill
    print(json.dumps([real.seconds, placebo.seconds, gain.difference, skill.difference, skill.low, skill.high]))
    assert real.verdict.promoted, real.verdict.reasons
    assert skill.difference > 0
    assert not placebo.verdict.promoted
    assert (tmp_path / "real" / "align" / "promoted" / "README.md").is_file()


STEP = """
import sys, torch
from pathlib import Path
from tests.support import alignment
torch.set_num_threads(1)
alignment.step(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.mark.long
@pytest.mark.parametrize("name", alignment.STEPS)
def test_a_step_that_is_killed_ten_times_leaves_the_same_bytes(tmp_path: Path, name: str) -> None:
    """SIGKILL at random moments, resumed each time with the same words."""
    folder = tmp_path / "work"  # the same for both: a step notes which model it asked
    _made(folder, before=name)
    start_s = time.monotonic()
    _run(name, folder)
    took_s = time.monotonic() - start_s
    undisturbed = _bytes(folder / "align")
    folder.rename(tmp_path / "undisturbed")
    _made(folder, before=name)
    rng = random.Random(name)
    for _ in range(KILLS):
        process = _start(name, folder)
        end = threading.Timer(rng.uniform(0.3, 1.0) * took_s, process.kill)
        end.start()
        process.wait(patience(600))
        end.cancel()
    _run(name, folder)
    assert _bytes(folder / "align") == undisturbed


def _made(folder: Path, *, before: str) -> None:
    """Prepare a folder, and run the steps before one."""
    alignment.prepare(folder, users=SMALL_USERS)
    for name in alignment.STEPS[: alignment.STEPS.index(before)]:
        _run(name, folder)


def _start(name: str, folder: Path) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[2])
    own = environment() | {"PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([sys.executable, "-c", STEP, name, str(folder)], cwd=root, env=own)


def _run(name: str, folder: Path) -> None:
    assert _start(name, folder).wait(patience(600)) in {0, 1}


def _bytes(folder: Path) -> dict[str, bytes]:
    """Return what a step leaves; the reports of two runs differ in no byte either."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.long
def test_vllm_loads_what_was_trained_and_answers_a_scene(tmp_path: Path) -> None:
    """All weights as `model`, and an adapter as `lora`, in vLLM on the CPU."""
    from worker.offline.evaluate.reading import RealChoices

    profile = alignment.prepare(tmp_path, users=SMALL_USERS)
    for name in alignment.STEPS[:3]:
        alignment.step(name, tmp_path)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "selected.jsonl").write_bytes((tmp_path / "align" / "selected.jsonl").read_bytes())
    own = alignment.hyper(tmp_path).model_copy(update={"method": "lora"})
    steps.train(adapter, Base(alignment.MODEL), own, profile=prompt_profiles.load(profile))
    choices = alignment.source(tmp_path, 1, users=SMALL_USERS)
    one = next(iter(RealChoices(choices.files, index=tmp_path / "index")))
    for more in ({"model": str(tmp_path / "align" / "candidate")}, {"lora": str(adapter / "candidate")}):
        _answers(alignment.settings(profile, **more), one, tmp_path)


def _answers(settings: object, one: object, folder: Path) -> None:
    import asyncio
    from typing import Any, cast

    from worker.engines import factory
    from worker.offline.evaluate.answers import Answered
    from worker.offline.evaluate.asking import AskingLimits, Interview
    from worker.runtime import pipeline_config

    found: list[Answered] = []

    async def ask(own: Any) -> None:
        engine = factory.make(own)
        await engine.start()
        try:
            asking = pipeline_config.asking(own, engine)
            await Interview(engine, asking, AskingLimits(1, 120, 0), found.append).ask([cast("Any", one)])
        finally:
            await engine.stop()

    asyncio.run(ask(settings))
    assert found[0].status == "OK"
    assert sum(found[0].draws[0]) == pytest.approx(1)
