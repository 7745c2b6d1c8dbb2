"""Which vLLM engine arguments are the user's, what of them can change an answer, and how they are told.

Arguments that a setting of ours stands for are refused, and so are those that run code of others or open a way in.  All
others are used.  What is not known to change speed alone is taken to change answers: it enters provenance and the
fingerprint, so that answers of different engines are never pooled.

>>> list(problems({"model": "other", "trust_remote_code": True}))
['vllm_options.model: use model', 'vllm_options.trust_remote_code: would run code that comes from elsewhere']
>>> changing({"quantization": "fp8", "tensor_parallel_size": 2})
{'quantization': 'fp8'}
"""

import json
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

_INSTEAD = {
    "code_revision": "revision", "hf_config_path": "model", "kv_cache_memory_bytes": "kv_cache_bytes",
    "max_model_len": "max_model_len", "max_num_seqs": "max_num_seqs", "model": "model", "model_weights": "model",
    "otlp_traces_endpoint": "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "revision": "revision", "seed": "seeded",
    "served_model_name": "model", "tokenizer": "tokenizer", "tokenizer_revision": "revision",
    "chat_template": "chat_template", "enable_lora": "lora", "ignore_patterns": "pickled_weights",
    "lora_modules": "lora", "max_lora_rank": "lora",
}  # fmt: skip
_READS_LETTERS = "is the worker's: it reads the letters' probabilities by it"
_CODE = "would run code that comes from elsewhere"
_FIXED = {
    "allowed_local_media_path": "would let a prompt read files of this machine",
    "allowed_media_domains": "would let a prompt read from the network",
    "convert": _READS_LETTERS,
    "enable_mm_embeds": "would take tensors of others",
    "enable_prompt_embeds": "would take tensors of others",
    "generation_config": "is the worker's: how rationales are sampled is told by temperature, top_p and max_tokens",
    "io_processor_plugin": _CODE,
    "kv_events_config": "would publish the tokens of prompts to whoever connects",
    "log_config_file": _CODE,
    "logits_processors": _CODE,
    "logprobs_mode": _READS_LETTERS,
    "max_logprobs": _READS_LETTERS,
    "model_class_overrides": _CODE,
    "override_generation_config": "is the worker's: use temperature, top_p and max_tokens",
    "reasoning_parser_plugin": _CODE,
    "runner": _READS_LETTERS,
    "scheduler_cls": _CODE,
    "scheduling_policy": "is the worker's: second passes go first by it",
    "skip_tokenizer_init": "is the worker's: a rationale ends at its stop string",
    "task": _READS_LETTERS,
    "tokenizer_mode": "is the worker's: prompts are tokenised here",
    "tokens_only": "is the worker's: a rationale is text",
    "tool_parser_plugin": _CODE,
    "trust_remote_code": _CODE,
    "weight_transfer_config": "would change the weights while it runs",
    "worker_cls": _CODE,
    "worker_extension_cls": _CODE,
}
# Off is what they are anyhow.
_SWITCHES = frozenset({"enable_mm_embeds", "enable_prompt_embeds", "skip_tokenizer_init", "tokens_only",
                       "trust_remote_code"})  # fmt: skip
_CHOICES = {
    "distributed_executor_backend": frozenset({"external_launcher", "mp", "ray", "uni"}),  # others name a class
    # Weights without pickles, which run the code of whoever wrote them; and none that are random.
    "load_format": frozenset({
        "auto", "bitsandbytes", "fastsafetensors", "runai_streamer", "runai_streamer_sharded", "safetensors",
    }),
}  # fmt: skip
# In vLLM 0.32 a plugin is a file that is run, and a pass or a backend with a point in its name is one that is imported.
# A file of Python's logging names what makes its handlers, which may be anything.
_NESTED_CODE = re.compile(r"trust_remote_code|.*module_path|.*_cls|.*_plugin|inductor_passes|.*log(ging)?_config_file")
# What changes speed, place or telling, and no answer beyond what a batch's order does.
_SPEED = frozenset({
    "aggregate_engine_logging", "all2all_backend", "async_scheduling", "block_size", "collect_detailed_traces",
    "compilation_config", "cpu_distributed_timeout_seconds", "cpu_offload_gb", "cpu_offload_params",
    "cudagraph_capture_sizes", "cudagraph_metrics", "custom_histogram_buckets", "data_parallel_address",
    "data_parallel_backend", "data_parallel_external_lb", "data_parallel_hybrid_lb",
    "data_parallel_multi_port_external_lb", "data_parallel_rank", "data_parallel_rpc_port", "data_parallel_size",
    "data_parallel_size_local", "data_parallel_start_rank", "device_ids", "disable_cascade_attn",
    "disable_custom_all_reduce", "disable_log_requests", "disable_log_stats", "distributed_executor_backend",
    "distributed_timeout_seconds", "download_dir", "enable_chunked_prefill", "enable_eplb", "enable_expert_parallel",
    "enable_log_requests", "enable_prefix_caching", "enable_sleep_mode", "enforce_eager", "eplb_config",
    "gpu_memory_utilization", "hf_token", "kv_cache_metrics", "kv_cache_metrics_sample",
    "kv_offloading_backend", "kv_offloading_size", "limit_mm_per_prompt", "load_format",
    "log_level", "logging_config", "long_prefill_token_threshold", "master_addr", "master_port",
    "max_cudagraph_capture_size", "max_num_batched_tokens", "max_num_scheduled_tokens",
    "max_parallel_loading_workers", "nnodes", "node_rank", "num_gpu_blocks_override", "numa_bind", "numa_bind_cpus",
    "numa_bind_nodes", "offload_backend", "offload_group_size", "offload_num_in_group", "offload_params",
    "offload_prefetch_step", "optimization_level", "performance_mode", "pipeline_parallel_size",
    "prefix_caching_hash_algo", "profiler_config", "ray_workers_use_nsight", "safetensors_load_strategy",
    "safetensors_prefetch_block_size", "safetensors_prefetch_num_threads", "show_hidden_metrics_for_version",
    "shutdown_timeout", "skip_mm_profiling", "stream_interval", "swap_space", "tensor_parallel_size",
    "use_tqdm_on_load",
})  # fmt: skip
_SECRET = re.compile(r"token$|passw|secret|credential|api_?key|access_?key", re.IGNORECASE)
_SEEN_BY_PYDANTIC = re.compile(r"input_value=.*?(, input_type=|\]|$)", re.DOTALL)
MIN_SECRET_CHARS = 4  # what is shorter would mask words
MAX_TOLD_CHARS = 200


def problems(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield what may not be set, with the setting that stands for it or the reason."""
    for name, value in options.items():
        own = name.replace("-", "_")
        if own in _INSTEAD:
            yield f"vllm_options.{name}: use {_INSTEAD[own]}"
        elif own in _FIXED and not (own in _SWITCHES and value is False):
            yield f"vllm_options.{name}: {_FIXED[own]}"
        elif own in _CHOICES and not (isinstance(value, str) and value in _CHOICES[own]):
            yield f"vllm_options.{name}: want one of {', '.join(sorted(_CHOICES[own]))}; others may run foreign code"
        else:
            yield from (f"vllm_options.{name}: {place}: {_CODE}" for place in _nested_code(value))


def changing(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that can change an answer, as provenance tells them."""
    return {name: told(name, value) for name, value in sorted(options.items()) if name.replace("-", "_") not in _SPEED}


def told(name: str, value: Any) -> str:
    """Return a value as it is told: secrets not at all, lists and maps as a digest, since secrets may be inside."""
    if _SECRET.search(name):
        return "***"
    if isinstance(value, Mapping | list | tuple | set):
        text = json.dumps(value, sort_keys=True, default=str)
        return f"sha256:{sha256(text.encode()).hexdigest()[:12]}"
    return str(value).lower() if isinstance(value, bool) else str(value)[:MAX_TOLD_CHARS]


def without_values(text: str, options: Mapping[str, Any]) -> str:
    """Return an error of vLLM's without secrets: those among the options, and what pydantic shows of its input."""
    for secret in _secrets(options):
        text = text.replace(secret, "***")
    return _SEEN_BY_PYDANTIC.sub(r"input_value=***\1", text)


def _nested_code(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if (_NESTED_CODE.fullmatch(str(name)) and inner not in (False, None, "", {})) or (
                name == "backend" and "." in str(inner)
            ):
                yield str(name)
            yield from _nested_code(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _nested_code(inner)


def _secrets(value: Any, *, secret: bool = False) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _secrets(inner, secret=secret or bool(_SECRET.search(str(name))))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets(inner, secret=secret)
    elif secret and isinstance(value, str) and len(value) >= MIN_SECRET_CHARS:
        yield value
