"""What a model's folder says: the length of its texts, its weights, and formats that are refused with what to do."""

import json
from pathlib import Path

import pytest

from worker.core.errors import BadSettings
from worker.engines import model_files
from worker.engines.local.vllm import VllmEngine
from worker.settings import load, prompt_profiles

PART = {"hidden_size": 64, "num_hidden_layers": 1}
COMPOSITE = {
    "model_type": "gemma3",
    "architectures": ["Gemma3ForConditionalGeneration"],
    "text_config": {"model_type": "gemma3_text", "max_position_embeddings": 1_000, **PART},
    "vision_config": {"hidden_size": 64, "num_hidden_layers": 1},
}


def folder(place: Path, config: object) -> str:
    (place / "config.json").write_text(json.dumps(config))
    return str(place)


def test_a_composite_configuration_has_its_length_in_its_part_for_text(tmp_path: Path) -> None:
    found = model_files.config(folder(tmp_path, COMPOSITE), None, None)
    assert model_files.longest_text(found) == 1_000


@pytest.mark.parametrize(
    ("config", "overrides", "length"),
    [
        (COMPOSITE, {"text_config": {"max_position_embeddings": 2_000}}, 2_000),
        ({"model_type": "llama", "max_position_embeddings": 4_096}, {"max_position_embeddings": 16_384}, 16_384),
        ({"model_type": "llama", "max_position_embeddings": 4_096}, {}, 4_096),
    ],
)
def test_overrides_change_the_length(tmp_path: Path, config: object, overrides: object, length: int) -> None:
    assert model_files.longest_text(model_files.config(folder(tmp_path, config), None, overrides)) == length


def test_a_folder_that_wants_its_own_code_is_refused_with_what_to_use(tmp_path: Path) -> None:
    own = {"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.Config"}}
    (tmp_path / "configuration_mine.py").write_text("raise SystemExit('ran')")
    with pytest.raises(
        BadSettings, match=r"wants code of its own to run \(auto_map\), which is never run: want an arch"
    ):
        model_files.config(folder(tmp_path, own), None, None)


def test_gguf_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    for model in (str(tmp_path), str(tmp_path / "model.gguf")):
        with pytest.raises(BadSettings, match=r"^model .*: GGUF is llama\.cpp's format, .*: want a folder with config"):
            model_files.refuse_gguf(model)
    (tmp_path / "model.safetensors").touch()  # both: vLLM takes these
    model_files.refuse_gguf(str(tmp_path))
    model_files.refuse_gguf("OWNER/NAME")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth", "adapter_model.bin"])
def test_weights_that_are_pickles_alone_are_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    model_files.refuse_pickles("model", tmp_path)  # without any weights, vLLM says so
    (tmp_path / name).touch()
    with pytest.raises(
        BadSettings, match=rf"^lora .*: {name} is a pickle, .* want \*\.safetensors, or pickled_weights=allow"
    ):
        model_files.refuse_pickles("lora", tmp_path)
    (tmp_path / "model.safetensors").touch()  # both: vLLM takes these
    model_files.refuse_pickles("model", tmp_path)
    model_files.refuse_pickles("model", "OWNER/NAME")


@pytest.mark.parametrize(
    ("options", "draft"),
    [
        ({"speculative_config": {"model": "folder", "num_speculative_tokens": 2}}, "folder"),
        ({"speculative_config": {"method": "ngram"}}, None),
        ({"speculative_config": None}, None),
        ({}, None),
    ],
)
def test_a_second_model_is_one_that_is_loaded_too(options: dict[str, object], draft: str | None) -> None:
    assert model_files.draft(options) == draft


def test_a_second_model_of_pickles_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    """Speculation ends with an error later, but its weights would have been read by then."""
    (tmp_path / "pytorch_model.bin").touch()
    options = {"speculative_config": {"model": str(tmp_path), "num_speculative_tokens": 2}}
    settings = load(None, {"engine": "vllm", "model": "OWNER/NAME", "vllm_options": options})
    engine = VllmEngine(settings, prompt_profiles.load(settings.prompt_profile))
    with pytest.raises(
        BadSettings, match=r"^vllm_options\.speculative_config\.model .*: pytorch_model.bin is a pickle"
    ):
        engine._load()


@pytest.mark.parametrize(("content", "rank"), [({"r": 16}, 16), ({"r": 8, "rank_pattern": {"q_proj": 32}}, 32)])
def test_a_lora_adapter_says_its_rank(tmp_path: Path, content: object, rank: int) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(content))
    assert model_files.lora_rank(tmp_path) == rank


@pytest.mark.parametrize("content", [None, "{}", "no JSON", "[]"])
def test_a_folder_without_an_adapter_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "adapter_config.json").write_text(content)
    with pytest.raises(BadSettings, match=r"^lora: .*adapter_config\.json: .*; want a LoRA adapter as PEFT saves it$"):
        model_files.lora_rank(tmp_path)


def test_weights_are_told_apart_by_every_byte(tmp_path: Path) -> None:
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    found = [model_files.weights_digest(tmp_path)]
    size = 8 << 20
    at_5000 = bytes(5_000) + b"\1" + bytes(size - 5_001)
    for content in (bytes(size), bytes(size + 1), b"\1" + bytes(size - 1), bytes(size - 1) + b"\1", at_5000):
        weights.write_bytes(content)
        found.append(model_files.weights_digest(tmp_path))
        assert found[-1] == model_files.weights_digest(tmp_path)
    config.write_text("{}")
    found.append(model_files.weights_digest(tmp_path))
    assert found[0] == ""
    assert len({*found}) == len(found)
