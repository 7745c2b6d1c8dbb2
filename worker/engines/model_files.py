"""What a model's folder says before vLLM loads it: where it lies, how long its texts may be, which weights it holds."""

import json
from collections.abc import Mapping
from hashlib import file_digest, sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from worker.core.errors import BadSettings

TINY = "mirror-tiny"
_GGUF = "*.gguf"
_SAFE = "*.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth")
_WEIGHTS = (_SAFE, *_PICKLES)
# Of a model from the hub, vLLM takes pickles only where there is nothing else.
IGNORED_OF_HUB = ("original/**/*", *_PICKLES)  # the first is vLLM's own
_CODE = "contains custom code"  # as transformers says it


def model_path(model: str) -> str | Path:
    """Return the folder of the model that ships with this package, or the name as it is."""
    return Path(str(files("worker"))) / "models" / TINY if model == TINY else model


def refuse_gguf(model: str) -> None:
    """Raise `BadSettings` for a GGUF file, or a folder that holds nothing else."""
    folder = Path(model)
    if model.endswith(".gguf") or (
        folder.is_dir() and any(folder.glob(_GGUF)) and not any(map(any, map(folder.glob, _WEIGHTS)))
    ):
        raise BadSettings(
            f"model {model}: GGUF is llama.cpp's format, which vLLM does not load: want a folder with config.json and"
            " *.safetensors, such as the model that the file was made from, or its FP8, AWQ or GPTQ form"
        )


def refuse_pickles(what: str, place: str | Path) -> None:
    """Raise `BadSettings` for a folder whose weights are pickles alone; `what` is the setting that names it."""
    folder = Path(place)
    if not folder.is_dir() or any(folder.glob(_SAFE)):
        return
    if found := sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern)):
        raise BadSettings(
            f"{what} {folder}: {found[0]} is a pickle, which can run code of whoever wrote it: want *.safetensors, or"
            " pickled_weights=allow if you trust its source"
        )


def draft(options: Mapping[str, Any]) -> str | None:
    """Return the second model that vLLM's options name, by which it speculates; its weights are loaded, too."""
    found = options.get("speculative_config")
    model = found.get("model") if isinstance(found, Mapping) else None
    return model if isinstance(model, str) else None


def config(model: str, revision: str | None, overrides: object) -> Any:
    """Return a model's configuration with what `hf_overrides` change of it.  Raises `BadSettings`."""
    from transformers import AutoConfig

    try:
        found = AutoConfig.from_pretrained(model, revision=revision)
    except (OSError, ValueError, KeyError) as error:
        if _CODE in str(error):
            raise BadSettings(
                f"model {model}: its folder wants code of its own to run (auto_map), which is never run:"
                " want an architecture that vLLM has itself"
            ) from error
        raise BadSettings(f"model {model}: no configuration: {error}") from error
    if isinstance(overrides, Mapping):
        _override(found, overrides)
    return found


def longest_text(found: Any) -> int | None:
    """Return how many tokens a model can take, as its configuration says; None if it does not.

    A composite configuration, as of models that see, has it in its part for text.
    """
    length = getattr(found.get_text_config(), "max_position_embeddings", None)
    return int(length) if length else None


def lora_rank(lora: Path) -> int:
    """Return the rank of a LoRA adapter.  Raises `BadSettings` if the folder holds none."""
    place = lora / "adapter_config.json"
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        return max(int(content["r"]), *map(int, (content.get("rank_pattern") or {}).values()), 1)
    except OSError as error:
        raise BadSettings(f"lora: {place}: {error.strerror}; want a LoRA adapter as PEFT saves it") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadSettings(f"lora: {place}: tells no rank `r`; want a LoRA adapter as PEFT saves it") from error


def weights_digest(folder: Path) -> str:
    """Return what tells apart the weights of two folders of one name: 12 hexadecimal digits; "" without weights.

    All files are read whole, because a single changed number is another model: SHA-256 reads 1.6 GB/s on one core, so
    6 GB take 4 s where they are in memory, as after loading (2026-11).
    """
    state = sha256()
    found = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    for path in found:
        state.update(f"{path.name} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            state.update(file_digest(file, "sha256").digest())
    for name in ("config.json", "adapter_config.json"):
        if (folder / name).is_file():
            state.update((folder / name).read_bytes())
    return state.hexdigest()[:12] if found else ""


def snapshot(model: str, revision: str | None) -> Path:
    """Return the folder that a model was loaded from; for a name of the hub, its place in the cache."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else Path(model)


def _override(found: Any, overrides: Mapping[str, Any]) -> None:
    for name, value in overrides.items():
        part = getattr(found, name, None)
        if isinstance(value, Mapping) and hasattr(part, "to_dict"):
            _override(part, value)
        else:
            setattr(found, name, value)
