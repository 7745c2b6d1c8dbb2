"""Files of any size: half a gigabyte of choices is read, divided and selected from with 48 MiB to work with.

A process of its own has the limit (`RLIMIT_DATA`), so a reader that held the file would end with a MemoryError.  Ten
gigabytes are twenty times as many lines of the same: what is kept per choice is nine bytes, and a row on the disk.
"""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import patience
from tests.unit.offline.test_reading import AT, event, outcome

EVENTS = 26_000
WORK_BYTES = 48 << 20
PADDING: dict[str, Any] = {"context": {"note": "x" * 4_000, **{f"n{place}": "y" * 800 for place in range(20)}}}
LIMITED = """
import json, re, resource, sys
from pathlib import Path
from worker.offline.align import files, steps
from worker.offline.align.choice_source import ChoiceSource, look_through
from worker.offline.align.select import By
from worker.offline.align.split import Split
from worker.offline.evaluate.reading import Files, RealChoices

held = int(re.search(r"VmData:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + int(sys.argv[3]), held + int(sys.argv[3])))
path = Path(sys.argv[2])
if sys.argv[1] == "divide":
    choices = RealChoices(Files(path), index=path.with_name("index"))
    split = Split("", 0.5, None)
    parts = look_through(choices, ChoiceSource(Files(path)), split).parts(split)
    print(json.dumps([choices.counts.choices, dict(choices.counts.left_out), sum(parts.values())]))
elif sys.argv[1] == "select":
    print(steps.select(path, by=By.RANDOM, keep=50, seed=0).scenes)
else:
    print(sum(1 for _ in path.read_bytes().splitlines()))
"""


def limited(what: str, path: Path, work_bytes: int = WORK_BYTES) -> "subprocess.CompletedProcess[str]":
    own = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[3]}:{os.environ.get('PYTHONPATH', '')}"}
    words = [sys.executable, "-c", LIMITED, what, str(path), str(work_bytes)]
    return subprocess.run(words, env=own, capture_output=True, text=True, timeout=patience(300), check=False)


@pytest.mark.long
def test_half_a_gigabyte_of_choices_is_divided_in_little_memory(tmp_path: Path) -> None:
    path, size = tmp_path / "choices.jsonl.gz", 0
    with gzip.open(path, "wt", compresslevel=1) as file:
        for number in range(EVENTS):
            for one in (event(number, occurred_at=AT + number, **PADDING), outcome(number)):
                size += file.write(json.dumps(one) + "\n")
    assert size > 500 << 20
    done = limited("divide", path)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert json.loads(done.stdout) == [EVENTS, {}, EVENTS]
    plain = tmp_path / "choices.jsonl"
    plain.write_bytes(gzip.decompress(path.read_bytes())[: 4 * WORK_BYTES])
    assert "MemoryError" in limited("whole", plain).stderr  # the limit does bind


@pytest.mark.long
def test_a_selection_holds_no_texts_of_what_was_collected(tmp_path: Path) -> None:
    from worker.offline.align.files import Growing

    rationale = (
        " I wait.\nStimulus Factors: Boredom\nKnowledge: a\nKnowledge Factors: Price, Quality\n"
        f"Evaluation: {'b' * 4_000}\nEvaluation Style: Logical\n"
    )
    split = {"salt": "", "held_out_users": 0.5, "cut_us": None}
    header: dict[str, object] = {"choices": "c", "outcomes": None, "forgotten": [], "split": split, "redact": "",
                                 "settings": {}, "prompt": "p"}  # fmt: skip
    draw = {"status": "OK", "text": rationale, "p": [0.5, 0.25, 0.25], "mass": 1.0, "letter": 0}
    for name in ("strong.jsonl", "weak.jsonl"):
        with Growing(tmp_path / name, header) as file:
            for number in range(4_000):
                line: dict[str, Any] = {
                    "line": number, "digest": str(number), "user": "u", "domain": "movies", "at": 1, "options": 3,
                    "chosen": [0], "prompt": {"system": "s", "user": "x" * 6_000, "prefix": ""}, "draws": [draw] * 6,
                }  # fmt: skip
                file.append([line], sync=False)
            file.append([])
            file.finish()
    assert (tmp_path / "strong.jsonl").stat().st_size > 2 * WORK_BYTES
    done = limited("select", tmp_path)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.strip() == "50"
