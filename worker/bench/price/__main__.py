"""`python -m worker.bench.price`: the price of a verdict by design, for a stated effect; no model runs."""

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from worker.bench.price.designs import DESIGNS, REFERENCE, WATCHED, WantedPrice, shift_for
from worker.bench.price.report import GpuSpeed, Priced, as_json, render
from worker.bench.price.simulate import simulate
from worker.bench.price.tokens import Used, Way, measured
from worker.bench.price.truth import LogitEngine, World
from worker.bench.report import HEIGHT
from worker.engines import tokens
from worker.engines.model_files import model_path
from worker.settings import prompt_profiles

WIDTH = 132  # of the widest table


@dataclass(frozen=True, slots=True)
class _Tokenised:
    model: str
    profile: str
    by_way: Mapping[Way, Used]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker.bench.price", description=(__doc__ or "").strip())
    add = parser.add_argument
    add("--effect", type=float, default=0.02, help="simulated duel share less 0.5 (default: %(default)s)")
    add("--designs", help=f"comma-separated, beside {REFERENCE}; default: {','.join(WATCHED)}")
    add("--runs", type=int, default=400, help="experiments with the effect, and as many without")
    add("--differing", type=float, default=1.0, help="share of the users whose slates differ")
    add("--slate", type=int, default=5, help="items of a slate, of twice as many that a ranker has")
    add("--max-visits", type=int, default=5, help="most events of a user")
    add("--noise", type=float, default=1.0, help="sd in logits of what one draw gets wrong about an item")
    add("--last-slot", type=float, default=0.0, help="utility that the option presented last gains in a draw")
    add("--temperature", type=float, default=0.5, help="of the simulated user; under 1 is over-confident")
    add("--draws", type=int, default=2, help="draws per question; the reference has 3")
    add("--alpha", type=float, default=0.05)
    add("--power", type=float, default=0.8)
    add("--looks", type=int, default=25, help="readouts until the plan's end")
    add("--days", type=float, default=7.0, help="that an experiment lasts, with events evenly over it")
    add("--pilot-users", type=int, default=40_000, help="users that the plans are made from")
    add("--seed", type=int, default=1)
    add("--model", default="mirror-tiny", help="whose tokenizer counts: mirror-tiny, or a folder")
    add("--prompt-profile", default="mirror-v1")
    add("--token-events", type=int, default=200, help="events whose prompts are tokenised")
    add("--rationale-tokens", type=int, default=128, help="median length of a rationale")
    add("--prefill-tokens-per-s", type=float, help="measured: prompt tokens computed per GPU second")
    add("--written-tokens-per-s", type=float, help="measured: tokens written per GPU second")
    add("--gpu-hour", type=float, help="price of a GPU hour, in any currency")
    add("--json", action="store_true", dest="as_json")
    return parser


def _tokenised(asked: argparse.Namespace) -> _Tokenised:
    profile = prompt_profiles.load(asked.prompt_profile)
    found = tokens.Tokens(tokens.load(str(model_path(asked.model)), None), profile.stop)
    by_way = measured(
        found, profile, events=asked.token_events, slate=asked.slate, draws=asked.draws, median=asked.rationale_tokens
    )
    return _Tokenised(Path(asked.model).name, profile.name, by_way)


def main() -> int:
    """Simulate, and print the table or one JSON document."""
    parser = _parser()
    asked = parser.parse_args()
    if (asked.prefill_tokens_per_s is None) != (asked.written_tokens_per_s is None):
        parser.error("want both --prefill-tokens-per-s and --written-tokens-per-s, or neither")
    if asked.gpu_hour is not None and asked.prefill_tokens_per_s is None:
        parser.error("--gpu-hour: want --prefill-tokens-per-s and --written-tokens-per-s beside it")
    designs = (REFERENCE, *asked.designs.split(",")) if asked.designs else DESIGNS
    if unknown := [name for name in designs if name not in DESIGNS]:
        parser.error(f"--designs {','.join(unknown)}: want some of {', '.join(WATCHED)}")
    say = Console(stderr=True).log
    tokenised = _tokenised(asked)
    world = World(
        pool=2 * asked.slate, catalogue=48 * asked.slate, slate=asked.slate, max_visits=asked.max_visits,
        triggered=asked.differing,
    )  # fmt: skip
    engine = LogitEngine(temperature=asked.temperature, noise=asked.noise, last_slot=asked.last_slot)
    wanted = WantedPrice(
        world=world,
        engine=engine,
        draws=asked.draws,
        alpha=asked.alpha,
        power=asked.power,
        looks=asked.looks,
        days=asked.days,
        pilot_users=asked.pilot_users,
    )
    wanted = replace(wanted, world=replace(world, shift=shift_for(wanted, asked.effect)))
    results = simulate(wanted, runs=asked.runs, seed=asked.seed, designs=designs, say=say)
    speed = (
        GpuSpeed(asked.prefill_tokens_per_s, asked.written_tokens_per_s, asked.gpu_hour)
        if asked.prefill_tokens_per_s
        else None
    )
    about = {
        "command": "python -m worker.bench.price " + shlex.join(sys.argv[1:]),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "tokens": f"{asked.token_events} generated movie events, prompts of {tokenised.profile}, tokenizer of "
                  f"{tokenised.model}, rationales of the bench's lengths with a median of {asked.rationale_tokens}",
    }  # fmt: skip
    priced = Priced(wanted, results, tokenised.by_way, speed, about)
    if asked.as_json:
        sys.stdout.write(json.dumps(as_json(priced)) + "\n")
    else:
        Console(width=WIDTH, height=HEIGHT).print(render(priced))
    return 0


if __name__ == "__main__":
    sys.exit(main())
