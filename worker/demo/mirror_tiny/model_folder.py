"""The model folder of mirror-tiny, as transformers and vLLM read it, written aside and then moved into place."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from worker.demo.mirror_tiny.corpus import SPECIAL
from worker.demo.mirror_tiny.qwen2 import EPSILON, ROPE_THETA, NetworkSize, Weights

MAX_LENGTH = 4096  # tokens
_CHAT = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


def save(out: Path, weights: Weights, shape: NetworkSize, tokenizer: Tokenizer, report: Mapping[str, object]) -> None:
    """Write the folder beside `out`, then move it into place."""
    out.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    state = {f"model.{name}": weight.detach().to(torch.bfloat16) for name, weight in weights.items()}
    save_file(state, new / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(new / "tokenizer.json"))
    write_json(new / "config.json", _config(shape, tokenizer))
    write_json(new / "tokenizer_config.json", _tokenizer_config())
    parameters = sum(weight.numel() for weight in weights.values())
    write_json(new / "training.json", {"parameters": parameters, **report})
    for path in (new, *new.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if out.exists():
        shutil.rmtree(out)
    new.rename(out)


def write_json(path: Path, content: object) -> None:
    """Write JSON for people to read."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _config(shape: NetworkSize, tokenizer: Tokenizer) -> dict[str, object]:
    return {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "hidden_act": "silu",
        "max_position_embeddings": MAX_LENGTH,
        "rms_norm_eps": EPSILON,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "bos_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
        "dtype": "bfloat16",
        "torch_dtype": "bfloat16",
    }


def _tokenizer_config() -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": [name for name in SPECIAL if name != "<|endoftext|>"],
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "add_prefix_space": False,
        "model_max_length": MAX_LENGTH,
        "clean_up_tokenization_spaces": False,
        "chat_template": _CHAT,
    }


def add_figures(place: Path, figures: Mapping[str, object]) -> None:
    """Write the figures of an evaluation into the report and the model card of a folder."""
    report = json.loads((place / "training.json").read_text())
    report["evaluation"] = figures
    write_json(place / "training.json", report)
    (place / "README.md").write_text(_card(report))


def _card(report: Mapping[str, Any]) -> str:
    settings, found = report["settings"], report["evaluation"]
    five, duels = found["five_options"], found["demo_duels"]
    by_options = "".join(
        f"| {count} | {100 * share:.0f} % | {100 / int(count):.0f} % |\n"
        for count, share in found["right_pair_by_options"].items()
    )
    slots = ", ".join(f"{100 * share:.1f} %" for share in five["probability_by_slot"])
    return _CARD.format(
        parameters=f"{report['parameters'] / 1e6:.2f} M",
        minutes=f"{settings['minutes']:.0f}",
        processes=settings["processes"],
        steps=f"{report['steps']:,}",
        scenes_seen=f"{report['steps'] * settings['batch'] * settings['processes']:,}",
        seed=settings["seed"],
        scenes=found["scenes"],
        complete=_percent(found["complete"]),
        one_draw=_percent(five["right_one_draw"]),
        pair=_percent(five["right_pair"]),
        num_five=five["scenes"],
        by_options=by_options.rstrip(),
        slots=slots,
        bias=f"{five['slot_bias_points']:.1f}",
        decoy=_percent(found["decoy_loses"]),
        by_domain=_table(found["right_pair_by_domain"]),
        duels=duels["duels"],
        candidate=_percent(duels["candidate_share"]),
        candidate_choice_model=_percent(duels["candidate_share_choice_model"]),
        example=f"Stimulus:{found['example']}",
    )


def _table(shares: Mapping[str, float]) -> str:
    return "\n".join(f"| {name} | {100 * share:.0f} % |" for name, share in shares.items())


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


_CARD = """\
# mirror-tiny

A Qwen2 of {parameters} parameters that keeps to the protocol of Mirrorstream's prompt profile `mirror-v1`: it reads a
user's history and a list of options, writes a rationale of seven labelled lines, and chooses a letter.  It lets the
demo and the tests run both passes in vLLM on a CPU, without a download.

## What it is not

- It is not a model of people.  It was trained on generated scenes alone, whose answers come from this project's
  choice model: ratings in the history, liked features, the option that has them.
- It knows no language beyond the words of those scenes.  Titles, profiles and moods mean nothing to it, and what it
  says of an option with unknown features is noise.
- It is no stand-in for a simulator model in an experiment.  Its figures say that the path works, never which ranker
  is better for real users.

## Training

`python -m worker.demo.mirror_tiny.train --minutes {minutes} --seed {seed}`: two CPU cores, {processes} processes,
{steps} steps, {scenes_seen} scenes of all domains.  Hints tell the network where to look while it learns
(`worker/demo/mirror_tiny/hints.py`).  Settings, stages and the loss curve are in `training.json`.

## Evaluation

`python -m worker.demo.mirror_tiny.evaluate`: {scenes} scenes that were not trained on, in vLLM on a CPU, two draws
each, the second with the options turned round.  "Right" means that the most probable option is the one with most appeal
to the choice model; scenes where two are equal are left out, and so are 95 of 100 where the best hardly leads (by less
than 0.06 in the choice model's probability), as in training.

| figure | value |
| --- | --- |
| rationales complete and ended | {complete} |
| right, 5 options, one draw | {one_draw} of {num_five} scenes |
| right, 5 options, mean of both draws | {pair} |
| probability by slot, 5 options | {slots} (largest bias {bias} points) |
| a planted decoy, disliked in all its features, loses its duel | {decoy} of 100 |
| demo: probability of the candidate's items in {duels} duels | {candidate} (choice model: {candidate_choice_model}) |

| options | right, both draws | chance |
| --- | --- | --- |
{by_options}

| domain, 2 to 12 options | right, both draws |
| --- | --- |
{by_domain}

One rationale, as written:

```
{example}
```

Made by this project; Apache-2.0, like the rest of it.
"""
