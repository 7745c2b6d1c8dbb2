"""Engine arguments: ours cannot be overruled, and what can change an answer is in provenance and fingerprint."""

from types import SimpleNamespace
from typing import Any

import pytest

from worker.core.errors import BadSettings
from worker.engines.local.vllm import VllmEngine, declared, running, with_running
from worker.engines.remote.vllm_server import VllmServerEngine
from worker.runtime import pipeline_config
from worker.settings import Settings, load, prompt_profiles
from worker.settings.vllm_options import changing, told, without_values


def engine(**options: Any) -> VllmEngine:
    settings = load(None, {"vllm_options": options})
    return VllmEngine(settings, prompt_profiles.load(settings.prompt_profile))


def fingerprint(found: VllmEngine) -> str:
    return pipeline_config.setup(load(), found, {}).config_fingerprint


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("model", "evil/other", "use model"),
        ("tokenizer", "evil/other", "use tokenizer"),
        ("enable_lora", True, "use lora"),
        ("model_weights", "s3://evil", "use model"),
        ("served_model_name", "x", "use model"),
        ("hf_config_path", "evil/other", "use model"),
        ("revision", "main", "use revision"),
        ("tokenizer_revision", "main", "use revision"),
        ("code_revision", "main", "use revision"),
        ("max_model_len", 4096, "use max_model_len"),
        ("max_num_seqs", 8, "use max_num_seqs"),
        ("kv_cache_memory_bytes", 1, "use kv_cache_bytes"),
        ("seed", 7, "use seeded"),
        ("max_logprobs", -1, "is the worker's"),
        ("logprobs_mode", "raw_logits", "is the worker's"),
        ("scheduling_policy", "fcfs", "is the worker's"),
        ("generation_config", "auto", "is the worker's"),
        ("trust_remote_code", True, "would run code"),
        ("trust-remote-code", True, "would run code"),
        ("enable_prompt_embeds", True, "would take tensors"),
        ("allowed_local_media_path", "/", "would let a prompt read files"),
        ("worker_cls", "evil.Worker", "would run code"),
        ("worker_extension_cls", "evil.Worker", "would run code"),
        ("scheduler_cls", "evil.Scheduler", "would run code"),
        ("logits_processors", ["evil:Processor"], "would run code"),
        ("distributed_executor_backend", "evil.Executor", "want one of external_launcher, mp, ray, uni"),
        ("ignore_patterns", [], "use pickled_weights"),
        ("load_format", "pt", "want one of auto, bitsandbytes"),
        ("load_format", "dummy", "want one of auto, bitsandbytes"),
        ("load_format", {"a": 1}, "want one of auto, bitsandbytes"),
        ("speculative_config", {"model": "x", "trust_remote_code": True}, "trust_remote_code: would run code"),
        (
            "structured_outputs_config",
            {"reasoning_parser_plugin": "evil.py"},
            "reasoning_parser_plugin: would run",
        ),
        ("compilation_config", {"inductor_passes": {"post": "evil.run"}}, "inductor_passes: would run"),
        ("compilation_config", {"backend": "evil.run"}, "backend: would run"),
        ("log_config_file", "evil.json", "would run code"),
        ("logging_config", {"pylogging_config_file": "evil.json"}, "pylogging_config_file: would run code"),
        ("kv_events_config", {"enable_kv_cache_events": True}, "would publish the tokens of prompts"),
        ("ec_manager_config", {"encoder_cache_manager_cls": "evil.Run"}, "encoder_cache_manager_cls: would run"),
        ("kv_transfer_config", {"a": [{"kv_connector_module_path": "evil"}]}, "kv_connector_module_path: would run"),
    ],
)
def test_what_is_not_the_users_is_refused_with_what_to_use(name: str, value: object, instead: str) -> None:
    with pytest.raises(BadSettings) as caught:
        load(None, {"vllm_options": {name: value}})
    assert str(caught.value).startswith(f"vllm_options.{name}: {instead}")


def test_everything_that_is_refused_is_told_at_once() -> None:
    options = {"trust_remote_code": True, "model": "evil/other", "load_format": "pt", "max_logprobs": -1}
    with pytest.raises(BadSettings) as caught:
        load(None, {"vllm_options": options})
    assert [line.split(":")[0].removeprefix("vllm_options.") for line in str(caught.value).splitlines()] == [*options]


@pytest.mark.parametrize(
    "options",
    [
        {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.8},
        {"load_format": "runai_streamer", "distributed_executor_backend": "ray"},
        {"compilation_config": {"level": 3}, "enforce_eager": True},
        {"trust_remote_code": False, "hf_token": "S3CRET"},
    ],
)
def test_what_changes_only_speed_keeps_the_fingerprint(options: dict[str, Any]) -> None:
    found = engine(**options)
    same = {name: value for name, value in options.items() if name == "trust_remote_code"}
    assert changing(options) == dict.fromkeys(same, "false")
    assert same or fingerprint(found) == fingerprint(engine())
    found._max_model_len = 4096
    assert found._engine_args("mirror-tiny").items() >= options.items()


@pytest.mark.parametrize(
    "options",
    [
        {"quantization": "fp8"},
        {"dtype": "float16"},
        {"kv_cache_dtype": "fp8"},
        {"speculative_config": {"method": "ngram", "num_speculative_tokens": 4}},
        {"structured_outputs_config": {"backend": "xgrammar", "reasoning_parser_plugin": ""}},
        {"speculative_config": {"method": "ngram", "num_speculative_tokens": 5}},
        {"hf_overrides": {"rope_scaling": {"factor": 2.0}}},
        {"rope_scaling": {"factor": 2.0}},
        {"moe_backend": True},
        {"an_argument_that_is_not_known_yet": 1},
    ],
)
def test_what_can_change_an_answer_changes_the_fingerprint_and_is_told(options: dict[str, Any]) -> None:
    found = engine(**options)
    assert fingerprint(found) != fingerprint(engine())
    [(name, value)] = options.items()
    assert found.card.sampling[f"vllm.{name}"] == told(name, value)


def test_different_maps_are_told_apart_without_their_content() -> None:
    one, other = {"model": "S3CRET-a", "n": 1}, {"model": "S3CRET-a", "n": 2}
    assert told("hf_overrides", one) == told("hf_overrides", dict(reversed(one.items())))
    assert told("hf_overrides", one) != told("hf_overrides", other)
    assert "S3CRET" not in told("hf_overrides", one) + told("hf_token", "S3CRET") + told("limits", ["S3CRET"])


def test_an_engine_with_default_options_says_nothing_new() -> None:
    """Old answers stay in their epoch."""
    assert set(engine().card.sampling) == {
        "batch_invariant", "max_tokens", "mode", "passes", "seeded", "temperature", "top_p",
    }  # fmt: skip


def config(dtype: str, quantization: str | None = None, cache: str = "auto", speculation: str | None = None) -> Any:
    """Return what an engine has, in the form of vLLM's own."""
    return SimpleNamespace(
        model_config=SimpleNamespace(dtype=f"torch.{dtype}", quantization=quantization),
        cache_config=SimpleNamespace(cache_dtype=cache),
        speculative_config=speculation and SimpleNamespace(method=speculation),
    )


FOLDER = SimpleNamespace(dtype="torch.bfloat16")


@pytest.mark.parametrize(
    ("engine_config", "folder", "runs", "changed"),
    [
        (config("bfloat16"), FOLDER, {"dtype": "bfloat16"}, {}),
        (config("float32"), FOLDER, {"dtype": "float32"}, {"dtype": "float32"}),
        (
            config("bfloat16", "fp8"),
            SimpleNamespace(torch_dtype="bfloat16", quantization_config={"quant_method": "fp8"}),
            {"dtype": "bfloat16", "quantization": "fp8"},
            {},
        ),
        (
            config("bfloat16", "awq_marlin", "fp8", "eagle"),
            FOLDER,
            {"dtype": "bfloat16", "quantization": "awq_marlin", "kv_cache_dtype": "fp8", "speculation": "eagle"},
            {"quantization": "awq_marlin", "kv_cache_dtype": "fp8", "speculation": "eagle"},
        ),
        (
            config("float16", "gptq_marlin"),
            SimpleNamespace(dtype="float16", quantization_config=SimpleNamespace(quant_method="gptq")),
            {"dtype": "float16", "quantization": "gptq_marlin"},
            {},
        ),
        (
            config("bfloat16", "auto_gptq"),  # vLLM 0.32's name for it, whatever the kernels are
            SimpleNamespace(dtype="bfloat16", quantization_config={"quant_method": "gptq"}),
            {"dtype": "bfloat16", "quantization": "gptq"},
            {},
        ),
        (None, FOLDER, {}, {}),  # a vLLM that tells nothing
    ],
)
def test_what_really_runs_is_told_and_counts_where_it_is_not_as_the_model_was_made(
    engine_config: Any, folder: Any, runs: dict[str, str], changed: dict[str, str]
) -> None:
    card = engine().card
    found = with_running(card, running(engine_config), declared(folder))
    assert (found.runs, found.sampling) == (runs, {**card.sampling, **changed})


def test_an_error_of_vllm_shows_no_option() -> None:
    error = (
        "1 validation error for ModelConfig: input_value={'hf_token': 'S3CRET-1', 'x': [1]}, input_type=dict] and"
        " S3CRET-2"
    )
    options = {"hf_token": "S3CRET-1", "additional_config": {"auth": {"password": "S3CRET-2"}}}
    assert "S3CRET" not in without_values(error, options)
    assert without_values("token abc", {"hf_token": "abc"}) == "token abc"  # too short to be one


def test_options_of_an_engine_that_runs_elsewhere_are_refused() -> None:
    flags = {"engine": "vllm-server", "server_urls": ["http://gpu"]}
    with pytest.raises(BadSettings, match="vllm_options: engine vllm-server takes none"):
        load(None, flags | {"vllm_options": {"dtype": "float16"}})
    assert load(None, {"engine": "choice-model", "vllm_options": {"dtype": "float16"}})


def test_a_server_says_what_it_loaded() -> None:
    settings: Settings = load(None, {"engine": "vllm-server", "server_urls": ["http://gpu"], "model": "mirror"})
    found = VllmServerEngine(settings, prompt_profiles.load(settings.prompt_profile))
    servers: Any = [SimpleNamespace(loaded={"mirror": "/models/b"}), SimpleNamespace(loaded={"mirror": "mirror"})]
    assert found._loaded(servers) == {"served_from": "/models/b"}
    assert found._loaded(servers[1:]) == {}
