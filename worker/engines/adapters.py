"""Does a LoRA adapter belong to the model that it is loaded with?  vLLM adds it to any whose matrices are as large.

An adapter that `mirrorstream align` made notes the digest of its base's weights.  Of any other one the names and the
widths of its matrices must be those of the base.  A base with quantized weights has other digests and shapes than the
one that the adapter was trained on, so nothing is said of it.
"""

import json
from pathlib import Path

from worker.core.errors import BadSettings
from worker.engines.model_files import lora_rank, weights_digest

NOTE = "align.json"  # in a folder that `align train` made
_ADAPTER = "adapter_model.safetensors"
_LAYERS = "layers."  # what stands before it depends on what else a model has, such as a part that sees


def refuse_other_base(adapter: Path, base: Path) -> None:
    """See that an adapter fits a base in a folder.  Raises `BadSettings`."""
    lora_rank(adapter)
    if not (base / "config.json").is_file() or _is_quantized(base):
        return
    note = adapter / NOTE
    if note.is_file():
        made_for = json.loads(note.read_text(encoding="utf-8")).get("base_digest")
        found = weights_digest(base)
        if made_for and made_for != found:
            raise BadSettings(
                f"adapter {adapter}: was made for a base of weights {made_for}, and {base} has {found}; want that base"
            )
    if (adapter / _ADAPTER).is_file() and any(base.glob("*.safetensors")):
        _refuse_other_shapes(adapter, base)


def _is_quantized(base: Path) -> bool:
    return "quantization_config" in json.loads((base / "config.json").read_text(encoding="utf-8"))


def _refuse_other_shapes(adapter: Path, base: Path) -> None:
    from safetensors import safe_open

    widths: dict[str, set[int]] = {}
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, "numpy") as opened:
            for name in opened.keys():  # noqa: SIM118 - no mapping
                widths.setdefault(_tail(name), set()).update(opened.get_slice(name).get_shape())
    with safe_open(adapter / _ADAPTER, "numpy") as opened:
        for name in opened.keys():  # noqa: SIM118 - no mapping
            if ".lora_A." not in name:
                continue
            of = name.removeprefix("base_model.model.").split(".lora_A.")[0] + ".weight"
            width = opened.get_slice(name).get_shape()[1]
            if width not in widths.get(_tail(of), ()):
                has = f"{max(widths[_tail(of)])} wide" if _tail(of) in widths else "not there"
                raise BadSettings(
                    f"adapter {adapter}: {of} is {has} in {base}, want {width} wide: it is an adapter of another base"
                )


def _tail(name: str) -> str:
    """Return a weight's name from the number of its layer on.

    >>> _tail("model.language_model.layers.0.mlp.up_proj.weight"), _tail("lm_head.weight")
    ('0.mlp.up_proj.weight', 'lm_head.weight')
    """
    return name.rpartition(_LAYERS)[2]
