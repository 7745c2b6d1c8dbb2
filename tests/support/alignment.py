"""The whole of `align` on users whose tastes have changed, with a tiny model on a CPU: the proof, seed by seed.

    $ python -m tests.support.alignment --seeds 10          ten worlds and their placebos, one JSON line each

A world has a fashion of its own (`demo.changed_tastes`).  Its placebo has the choices of other events, so there is
nothing to learn; it shares the draws, which no choice changes.  The system message is one sentence instead of 281
tokens, which mirror-tiny does not mind (92.5 of 100 scenes right with both, 2026-11), so prompts are half as long.

The hyper-parameters were found on worlds 11 to 13, and never changed for worlds 1 to 10.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from worker.demo import changed_tastes
from worker.engines import factory
from worker.offline.align import files, hyper_parameters, judging, steps
from worker.offline.align.choice_source import ChoiceSource
from worker.offline.align.select import By
from worker.offline.align.train import Base
from worker.offline.align.verdict import Judgement
from worker.offline.evaluate.reading import Files
from worker.pipeline.ports import Engine
from worker.settings import Settings, load, prompt_profiles

MODEL = "mirror-tiny"
USERS = 800
STEPS = ("collect", "select", "train", "judge")
DRAWS = 6
DIVISION = steps.Division(held_out_users=0.5, later_share=0.5)
STRONG = {"temperature": "1.2", "top_p": "1.0"}
JUDGING = {"draws": "2", "top_p": "1.0"}
HYPER = """\
name: tiny
method: full
dtype: float32
max_length: 1024
gradient_checkpointing: false
save_steps: {save_steps}
threads: 1
sft: {{epochs: 2, learning_rate: 5.0e-4, warmup_steps: 10, batch_size: 4, accumulate: 1}}
dpo: {{epochs: {dpo_epochs}, learning_rate: 4.0e-4, beta: 0.1, sft_weight: 1.0, warmup_steps: 10, batch_size: 4,
      accumulate: 1}}
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of one world; `seconds` are of the processor."""

    seed: int
    placebo: bool
    verdict: Judgement
    seconds: float


def short_profile(folder: Path) -> str:
    """Write mirror-v1 with a system message of one sentence, and return its path."""
    content = yaml.safe_load(prompt_profiles.text("mirror-v1"))
    content |= {"name": "mirror-short"}
    content["system"]["default"] = "You stand in for one user."
    path = folder / "mirror-short.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def settings(profile: str, **more: str) -> Settings:
    """Return settings of the tiny model that keep its rationales short."""
    same = {"model": MODEL, "prompt_profile": profile, "max_tokens": 100, "max_model_len": 1024, "passes": 1}
    return load(None, same | more)


def make(found: Settings) -> Engine:
    """Return the test's engine where vLLM would run."""
    if found.engine != "vllm":
        return factory.make(found)
    from tests.support.torch_engine import make as make_torch

    return make_torch(found)


def hyper(folder: Path, *, save_steps: int = 1_000, dpo_epochs: float = 2) -> hyper_parameters.HyperParameters:
    """Write hyper-parameters of the tiny model, and return them."""
    path = folder / "tiny.yaml"
    path.write_text(HYPER.format(save_steps=save_steps, dpo_epochs=dpo_epochs))
    return hyper_parameters.load(str(path))


def source(folder: Path, seed: int, *, users: int, placebo: bool = False) -> ChoiceSource:
    """Write the choices of one world, and return them."""
    path = folder / "choices.jsonl"
    found = changed_tastes.events(seed, users=users, placebo=placebo)
    path.write_bytes(b"".join(line + b"\n" for line in changed_tastes.lines(found)))
    return ChoiceSource(Files(path))


def prove(seed: int, folder: Path, *, users: int = USERS, draws: int = DRAWS, placebos: bool = True) -> list[Proof]:
    """Run a world and, with `placebos`, its placebo."""
    profile, found = short_profile(folder), []
    for placebo in (False, True) if placebos else (False,):
        start_s = time.process_time()
        place = folder / ("placebo" if placebo else "real")
        place.mkdir()
        choices = source(place, seed, users=users, placebo=placebo)
        work = place / "align"
        if placebo:
            _share_draws(folder / "real" / "align", work, choices)
        arms = _arms(profile, draws)
        steps.collect(work, choices, arms, DIVISION, make=make)
        steps.select(work, by=By.UNCERTAINTY, keep=0, seed=seed)
        steps.train(work, Base(MODEL), hyper(place), profile=prompt_profiles.load(profile))
        verdict = judging.judge(work, choices, settings(profile, **JUDGING), licence="Apache-2.0", make=make).verdict
        found.append(Proof(seed, placebo, verdict, time.process_time() - start_s))
    return found


def _arms(profile: str, draws: int) -> dict[str, Settings]:
    return {
        "strong": settings(profile, draws=str(draws), **STRONG),
        "weak": settings(profile, draws="2", engine="choice-model"),
    }


def prepare(folder: Path, *, users: int) -> str:
    """Write the choices and the prompt profile of the first world into a folder; return the profile's path."""
    folder.mkdir(exist_ok=True)
    source(folder, 1, users=users)
    return short_profile(folder)


def step(name: str, folder: Path) -> None:
    """Run one step of the first world in a folder that is prepared."""
    work, profile = folder / "align", str(folder / "mirror-short.yaml")
    choices = ChoiceSource(Files(folder / "choices.jsonl"))
    if name == "collect":
        steps.collect(work, choices, _arms(profile, 2), DIVISION, make=make)
    elif name == "select":
        steps.select(work, by=By.UNCERTAINTY, keep=0, seed=1)
    elif name == "train":
        steps.train(work, Base(MODEL), hyper(folder, save_steps=2), profile=prompt_profiles.load(profile))
    else:
        judging.judge(work, choices, settings(profile, **JUDGING), licence="Apache-2.0", make=make)


def _share_draws(real: Path, work: Path, choices: ChoiceSource) -> None:
    """Give the placebo the draws of its world, with the choices of its own: answers do not depend on them."""
    from worker.offline.align.collect import for_asking
    from worker.offline.evaluate.reading import RealChoices

    work.mkdir()
    own = {one.line: one for one in RealChoices(choices.files, index=work / "index")}
    for name, step in (("strong.jsonl", "collect"), ("weak.jsonl", "collect"), ("before.jsonl", "judge")):
        header, lines = files.read(real / name, step)
        kept = {key: value for key, value in header.items() if key not in {"mirrorstream", "version"}}
        with files.Growing(work / name, kept | choices.digests()) as file:
            for line in lines:
                one = own[line["line"]]
                if step == "collect":
                    chosen = list(for_asking(one, depth=26, reference=False)[1])
                else:
                    ((_, position),) = one.chosen
                    chosen = [line["positions"].index(position)]
                file.append([{**line, "digest": one.digest, "chosen": chosen}])
            file.finish()


def main() -> None:
    """Print one line for each world and placebo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--draws", type=int, default=DRAWS)
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    torch.set_num_threads(1)
    for seed in range(args.first, args.first + args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            for one in prove(seed, Path(folder), users=args.users, draws=args.draws):
                print(json.dumps(asdict(one)), flush=True)


if __name__ == "__main__":
    main()
