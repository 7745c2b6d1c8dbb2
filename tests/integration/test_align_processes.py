"""`align train` by two processes of `accelerate launch` on the CPU: one writes, the other waits for it.

`--multi_gpu` is what starts several of them: they find no GPU and talk by gloo.  With `--cpu` accelerate leaves that to
MPI, and starts one.

The first process is made slow where it writes, and the other one where it saves its part of a checkpoint: without the
meetings between them the second stage begins without the first one's weights, and a checkpoint is marked as whole that
is not.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="training needs requirements/align.txt, which the tests' requirements hold")

import yaml

from tests.support import alignment
from tests.support.harness import environment
from tests.support.patience import patience
from tests.unit.offline.align.test_train import LORA, hyper, selected, weights

pytestmark = pytest.mark.long  # each launch imports torch twice

ROOT = Path(__file__).parents[2]
COMMAND = """
import os, signal, sys, time
from pathlib import Path
from transformers import Trainer
from worker.cli import main
from worker.offline.align import processes, train, trainers

SLOW_S = 3.0
number, dies_at = os.environ["RANK"], os.environ.get("TEST_DIES_AT", "")
save, chance, tell, mark = train.Training._save, Trainer._save_rng_state, trainers.Telling.on_step_end, Path.touch


def slowly(self, *words):
    time.sleep(SLOW_S)
    save(self, *words)


def chance_slowly(self, folder):
    if number == "1":
        time.sleep(SLOW_S / 2)
    chance(self, folder)


def dying(self, arguments, state, control, **more):
    tell(self, arguments, state, control, **more)
    if dies_at and number == "0" and f"{Path(arguments.output_dir).parent.name}{state.global_step}" == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)


def marked(path, *words, **more):
    if path.name == "whole":
        parts = sorted(one.name for one in path.parent.glob("rng_state*"))
        assert parts == ["rng_state_0.pth", "rng_state_1.pth"], parts
    mark(path, *words, **more)


train.Training._save, Trainer._save_rng_state, trainers.Telling.on_step_end = slowly, chance_slowly, dying
Path.touch = marked
sys.argv[0] = "mirrorstream"
main.main()
"""


def launch(work: Path, hypers: Path, profile: str, **more: str) -> "subprocess.CompletedProcess[str]":
    script = work.with_name("command.py")
    script.write_text(COMMAND)
    own = environment() | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "HF_HUB_OFFLINE": "1"} | more
    words = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
             "--num_machines", "1", "--num_cpu_threads_per_process", "1", "--main_process_port", "0",
             "--mixed_precision", "no", "--dynamo_backend", "no", str(script),
             "align", "train", "--base", "mirror-tiny", "--work", str(work), "--hyper-parameters", str(hypers),
             "--prompt-profile", profile, "--json"]  # fmt: skip
    return subprocess.run(words, cwd=ROOT, env=own, capture_output=True, text=True, timeout=patience(300), check=False)


@pytest.mark.parametrize("more", [{}, LORA], ids=["full", "lora"])
def test_two_processes_leave_one_result_also_after_a_kill(tmp_path: Path, more: dict[str, object]) -> None:
    profile = alignment.short_profile(tmp_path)
    hypers = tmp_path / "two.yaml"
    hypers.write_text(yaml.safe_dump(hyper(tmp_path, **more).model_dump(mode="json")))
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    selected(undisturbed, profile)
    done = launch(undisturbed, hypers, profile)
    assert done.returncode == 0, done.stderr[-3_000:]
    assert json.loads(done.stdout) == {"rows": 6, "left_out": {}, "steps": {"sft": 2, "dpo": 2}, "unknown": []}
    assert sorted(path.name for path in undisturbed.iterdir()) == ["candidate", "selected.jsonl", "sft"]
    selected(killed, profile)
    died = launch(killed, hypers, profile, TEST_DIES_AT=".dpo2")
    assert died.returncode != 0
    assert (killed / ".dpo" / "checkpoints" / "checkpoint-1" / "whole").is_file()
    assert not (killed / "candidate").exists()
    resumed = launch(killed, hypers, profile)
    assert resumed.returncode == 0, resumed.stderr[-3_000:]
    for stage in ("sft", "candidate"):
        assert weights(killed / stage) == weights(undisturbed / stage)
    assert weights(undisturbed / "sft") != weights(undisturbed / "candidate")
