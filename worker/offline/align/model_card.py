"""The promoted model: the candidate's folder, with a card that says what it is made of and how it was judged.

The card has counts, times, figures and fingerprints; no text of a user, no id and no item.
"""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.offline.align import files
from worker.offline.align.verdict import Judgement, told

UNKNOWN_LICENCE = "not told (--licence): the base model's licence holds for this one too"


def promote(
    candidate: Path,
    to: Path,
    found: Judgement,
    *,
    about: Mapping[str, Any],
    selected: Mapping[str, Any],
    scenes: int,
    window_us: tuple[int, int, int],
    licence: str,
) -> None:
    """Copy the candidate beside its place, add the card, and give it its name; `about` is its note."""
    text = card(about, found, selected=selected, scenes=scenes, window_us=window_us, licence=licence)
    with files.whole_folder(to) as new:
        for path in sorted(candidate.rglob("*")):
            place = new / path.relative_to(candidate)
            if path.is_dir():
                place.mkdir()
            else:
                shutil.copyfile(path, place)
        (new / "README.md").write_text(text, encoding="utf-8")


def card(
    about: Mapping[str, Any],
    found: Judgement,
    *,
    selected: Mapping[str, Any],
    scenes: int,
    window_us: tuple[int, int, int],
    licence: str,
) -> str:
    """Return the model card."""
    first, last, judged = (datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M") for at in window_us)
    hyper = about["hyper_parameters"]
    changes = {
        "probability of the real choice": found.probability_of_choice,
        "skill over equal chances, in log loss": found.skill,
        "log loss, nats": found.log_loss,
        "letters' probability mass": found.letter_mass,
        "position bias": found.position_bias,
        "questions answered": found.answered,
        **{f"probability of the real choice, {name}": one for name, one in found.by_domain.items()},
    }
    rows = "\n".join(f"| {name} | {told(one)} |" for name, one in changes.items() if one is not None)
    return _CARD.format(
        base=about["base"],
        base_digest=about["base_digest"],
        licence=licence or UNKNOWN_LICENCE,
        method="full weights" if hyper["method"] == "full" else f"LoRA of rank {hyper['lora']['rank']}",
        load="model=FOLDER" if hyper["method"] == "full" else f"model={about['base']} lora=FOLDER",
        hyper=hyper["name"],
        scenes=scenes,
        by=selected["by"],
        first=first,
        last=last,
        judged=judged,
        choices=found.choices,
        users=found.users,
        uniform=f"{found.uniform:.3f}",
        rows=rows,
        selected=about["selected"][:16],
        prompt=about["prompt"][:16],
        identity=about["identity"],
        forgotten=len({*about["forgotten"]} - {*about.get("unknown", ())}),
        hyper_json=json.dumps(hyper, indent=1),
    )


_CARD = """\
# A mirror of your own users

A user-simulator model, made by `mirrorstream align` from real choices of real users.

| | |
| --- | --- |
| base model | {base}, weights {base_digest} |
| licence of the base model | {licence} |
| trained | {method}, SFT then DPO, hyper-parameters `{hyper}` |
| load it with | `{load}` |
| trained on | {scenes} scenes, selected by {by}, {first} to {last} UTC |
| judged on | {choices} choices of {users} users who were not trained on, later than that, to {judged} UTC |
| users left out on request | {forgotten} |
| fingerprints | selection {selected}, prompt {prompt}, training {identity} |

## Figures

Before, after, and the paired difference with its interval over users.
The uniform distribution gives the real choice {uniform}.
Skill over it is 1 - log loss / its log loss: below 0 the model is sure and wrong too often.

| figure | before to after |
| --- | --- |
{rows}

## What it is not

It imitates what users of one service chose from what that service showed them.
It is no model of anybody else, and it ages as tastes change: judge it again on later choices.

## Hyper-parameters

```json
{hyper_json}
```
"""
