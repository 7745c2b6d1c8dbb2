"""vLLM in this process (AsyncLLM).

vLLM is imported only in `start`: it costs 5 s.  Works with 0.26 to 0.33.
"""

import asyncio
import ctypes
import itertools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from worker.core.errors import EngineDead, Fatal
from worker.core.prompts.prompt import Profile
from worker.core.simulation.draws import EngineCard
from worker.core.simulation.questions import MAX_OPTIONS
from worker.engines import model_files
from worker.engines.adapters import refuse_other_base
from worker.engines.local import cpu_dtype, step_stats
from worker.engines.local.parent_death import PARENT
from worker.engines.model_files import model_path
from worker.engines.passes import Passes
from worker.engines.prompted_engine import PromptedEngine, sampling
from worker.settings import otel, prompt_profiles, vllm_options
from worker.settings.groups import PromptedEngineSettings
from worker.system.daemon_thread import in_thread

log = logging.getLogger(__name__)

CPU_KV_CACHE_BYTES = 512 << 20  # without a number vLLM takes 92 % of the memory on a CPU; twice that in float32
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # vLLM takes no others
ABORT_AGAIN_S = 0.1
NUMA = "libnuma.so.1"  # vLLM's own code for a CPU is linked against it
_ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # standard output is for what a command prints, JSON among it
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # 62 against 34 requests/s on two cores with the default binding
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one child less beside AsyncLLM: starts in 11 s instead of 30 s
}


def make(settings: PromptedEngineSettings) -> "VllmEngine":
    """Return the engine of these settings, not started."""
    return VllmEngine(settings, prompt_profiles.load(settings.prompt_profile))


class VllmEngine(PromptedEngine):
    """The engine; one event loop for its whole life."""

    def __init__(self, settings: PromptedEngineSettings, profile: Profile) -> None:
        """Store the settings; nothing is loaded before `start`."""
        super().__init__(settings, profile)
        self._requests = itertools.count()
        self._traces = _traces_endpoint()
        self._aborts: set[asyncio.Task[None]] = set()
        self._llm: Any = None
        self._dtype: str | None = None  # None: vLLM's own choice
        self._lora_request: dict[str, Any] = {}  # what each request to vLLM has of the adapter
        self._hear: Callable[[int, int], None] = lambda _running, _waiting: None
        self._stopped: asyncio.Future[None]  # of the present life
        self.card = EngineCard(
            engine="vllm",
            engine_version=_vllm_version(),
            model=settings.model,
            revision=settings.revision,
            sampling={
                **sampling(settings, profile),
                "batch_invariant": str(_batch_invariant()).lower(),
                **{f"vllm.{name}": told for name, told in vllm_options.changing(settings.vllm_options).items()},
            },
            reads_prompt=True,
        )

    async def start(self) -> None:
        """Load the model, check its tokenizer, warm both passes up by a self-test.  Raises `Fatal`."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        os.environ[PARENT] = str(os.getpid())
        self._stopped = asyncio.get_running_loop().create_future()
        try:
            await in_thread(self._load)  # tens of seconds, in which the loop must answer rebalances and signals
        except Fatal:
            raise
        except Exception as error:
            why = vllm_options.without_values(f"{type(error).__name__}: {error}", self._settings.vllm_options)
            message = f"vLLM did not start with {self._settings.model}: {' '.join(why.split())}"
            raise Fatal(message) from error
        try:
            await self._self_test()
        except EngineDead as error:
            message = f"vLLM died in its self-test with {self._settings.model}: {error}; its own error is logged above"
            raise Fatal(message) from error
        except ValueError as error:
            hint = ": leave out vllm_options.speculative_config" if self._speculates() else ""
            message = f"vLLM failed its self-test with {self._settings.model}: {error}{hint}"
            raise Fatal(message) from error

    async def stop(self) -> None:
        """End the engine's processes; one that is stopped (SIGSTOP) is killed by vLLM after 5 s."""
        llm, self._llm = self._llm, None
        if llm is not None:
            self._stopped.set_result(None)
            if llm.output_handler is not None:
                llm.output_handler.cancel()  # else it reports the end of its engine as an error
            await asyncio.to_thread(llm.shutdown)

    def _speculates(self) -> bool:
        return any(name.replace("-", "_") == "speculative_config" for name in self._settings.vllm_options)

    def on_step(self, hear: Callable[[int, int], None]) -> None:
        """Call `hear(running, waiting)` after each scheduler step of the engine."""
        self._hear = hear

    def _tell(self, running: int, waiting: int) -> None:
        self._hear(running, waiting)

    # -- loading

    def _load(self) -> None:
        model_files.refuse_gguf(self._settings.model)
        if self._settings.pickled_weights == "refuse":
            model_files.refuse_pickles("model", model_path(self._settings.model))
            if self._settings.lora:
                model_files.refuse_pickles("lora", self._settings.lora)
            if drafting := model_files.draft(self._settings.vllm_options):
                model_files.refuse_pickles("vllm_options.speculative_config.model", drafting)
        if self._settings.lora:
            model = str(model_path(self._settings.model))
            refuse_other_base(self._settings.lora, model_files.snapshot(model, self._settings.revision))
        if on_cpu():
            _need_numa()
        try:
            from vllm import SamplingParams
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.sampling_params import RequestOutputKind
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            message = (
                f"vLLM is not installed ({error}): run `make setup`, or install requirements/gpu.txt or cpu.txt, or set"
                " engine=choice-model"
            )
            raise Fatal(message) from error
        settings = self._settings
        model, revision = str(model_path(settings.model)), settings.revision
        config = model_files.config(model, revision, settings.vllm_options.get("hf_overrides"))
        self._max_model_len = min(settings.max_model_len, model_files.longest_text(config) or settings.max_model_len)
        own = declared(config)
        self._dtype = self._choose_dtype(own)
        self.card = replace(self.card, max_prompt_tokens=self._room(self._max_model_len))
        self._tokens = self._load_tokens()
        self._passes = Passes(self._settings, self._profile, self._tokens, SamplingParams, RequestOutputKind.FINAL_ONLY)
        if settings.lora:
            from vllm.lora.request import LoRARequest

            self._lora_request = {"lora_request": LoRARequest(settings.lora.name, 1, str(settings.lora))}
        args = AsyncEngineArgs(**self._engine_args(model))
        self._llm = AsyncLLM.from_engine_args(args, stat_loggers=[step_stats.teller(self._tell)])
        found = running(getattr(self._llm, "vllm_config", None))
        self.card = with_running(self.card, found, own)
        self.card = replace(self.card, sampling={**self.card.sampling, **self._weights(model)})

    def _weights(self, model: str) -> dict[str, str]:
        """Return digests of the weights that were loaded, so that two of one name are told apart."""
        folders = {"weights": model_files.snapshot(model, self._settings.revision), "lora": self._settings.lora}
        digests = {name: model_files.weights_digest(folder) for name, folder in folders.items() if folder}
        return {name: digest for name, digest in digests.items() if digest}

    def _choose_dtype(self, own: Mapping[str, str]) -> str | None:
        """Return the model's data type as set, or as this processor wants it; None leaves it to vLLM."""
        settings = self._settings
        if settings.dtype != "auto":
            return settings.dtype
        if not on_cpu() or settings.vllm_options.keys() & {"dtype", "quantization"}:
            return None
        chosen = cpu_dtype.automatic(own, cpu_dtype.processor_flags())
        if chosen is not None:
            wanted = " or ".join(sorted(cpu_dtype.NATIVE))
            log.info(
                "dtype: %s instead of the model's %s, which this processor emulates (no %s in /proc/cpuinfo):"
                " two to three times as fast; dtype=bfloat16 keeps it",
                chosen,
                own.get("dtype", "own"),
                wanted,
            )
        return chosen

    def _engine_args(self, model: str) -> dict[str, Any]:
        settings = self._settings
        args: dict[str, Any] = {
            "model": model,
            "revision": settings.revision,
            "tokenizer_revision": settings.revision,
            "max_model_len": self._max_model_len,
            "max_num_seqs": settings.max_num_seqs,
            "generation_config": "vllm",  # else the model folder's file changes the sampling
            "enable_prefix_caching": True,
            "scheduling_policy": "priority",  # as `Ask.priority` says
            "language_model_only": True,  # of a composite model; others have nothing else
            "max_logprobs": MAX_OPTIONS,
            "otlp_traces_endpoint": self._traces,
        }
        if settings.pickled_weights == "refuse":
            args["ignore_patterns"] = list(model_files.IGNORED_OF_HUB)
        if settings.tokenizer:
            args["tokenizer"] = str(model_path(settings.tokenizer))
        if settings.lora:
            rank = model_files.lora_rank(settings.lora)
            args |= {"enable_lora": True, "max_lora_rank": next((one for one in LORA_RANKS if one >= rank), rank)}
        if self._dtype is not None:
            args["dtype"] = self._dtype
        if on_cpu():
            cache_bytes = CPU_KV_CACHE_BYTES * (2 if self._dtype == "float32" else 1)  # as many tokens in any type
            args |= {"enforce_eager": True, "kv_cache_memory_bytes": cache_bytes}
            # A seeded request whose prompt is computed in chunks ends vLLM 0.32's engine on a CPU: it rewinds the
            # request's generator, and torch's CPU generator has no offset.
            args |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(self._max_model_len, 8_192)}
        if settings.kv_cache_bytes:
            args["kv_cache_memory_bytes"] = settings.kv_cache_bytes
        return args | settings.vllm_options

    # -- asking

    async def _run(self, ids: Sequence[int], params: Any, trace: Any, *, priority: int = 0) -> Any:
        """Run one request; a cancelled one is aborted, but never inside add_request, which leaks (vllm#57061)."""
        llm, stopped = self._llm, self._stopped
        if llm is None:
            raise EngineDead("vLLM is not running")
        request_id = f"q{next(self._requests)}"
        headers = dict(trace) if self._traces else None  # vLLM warns of what it does not use
        more = {"trace_headers": headers, "priority": priority, **self._lora_request}
        work = asyncio.ensure_future(_consume(llm, ids, params, request_id, more))
        try:
            await asyncio.wait([work, stopped], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            abort = asyncio.ensure_future(_abort(llm, request_id, work, stopped))
            self._aborts.add(abort)
            abort.add_done_callback(self._aborts.discard)
            raise
        if not work.done():
            work.cancel()
            raise EngineDead("vLLM was stopped")
        return work.result()


async def _consume(llm: Any, ids: Sequence[int], params: Any, request_id: str, more: Mapping[str, Any]) -> Any:
    from vllm.v1.engine.exceptions import EngineDeadError

    try:
        final = None
        async for output in llm.generate(token_prompt(ids), params, request_id, **more):
            final = output
    except EngineDeadError as error:
        raise EngineDead("vLLM's engine core is gone") from error
    if final is None:
        message = "vLLM gave no output"
        raise RuntimeError(message)
    if final.outputs[0].finish_reason == "abort":
        # A core that is told to end (SIGTERM, Ctrl-C) answers all it has with this; of our own aborts nobody reads.
        raise EngineDead("vLLM's engine core gave up what it was asked")
    return final


async def _abort(llm: Any, request_id: str, work: "asyncio.Future[Any]", stopped: "asyncio.Future[None]") -> None:
    """Abort until the request has ended: an abort before it is added has no effect."""
    while not work.done() and not stopped.done():
        await llm.abort(request_id)
        await asyncio.wait([work, stopped], timeout=ABORT_AGAIN_S, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
    elif not work.cancelled():
        work.exception()  # read, so that asyncio does not report it


def running(config: Any) -> dict[str, str]:
    """Return what an engine's own configuration says of how the model runs, as far as this vLLM tells.

    Only what is not plain: no quantisation, a cache of the model's own type and no speculation are not told.
    """
    model = getattr(config, "model_config", None)
    speculation = getattr(config, "speculative_config", None)
    found = {
        "dtype": _plain(getattr(model, "dtype", None)),
        # vLLM 0.32 runs a folder's gptq as auto_gptq, which is a choice of kernels.
        "quantization": _plain(getattr(model, "quantization", None)).removeprefix("auto_"),
        "kv_cache_dtype": _plain(getattr(getattr(config, "cache_config", None), "cache_dtype", None)),
        "speculation": _plain(speculation and getattr(speculation, "method", "on")),
    }
    return {name: value for name, value in found.items() if value not in {"", "auto"}}


def declared(config: Any) -> dict[str, str]:
    """Return the same as the model's folder has it: what runs when nothing is set and the processor can."""
    quantization = getattr(config, "quantization_config", None)
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
    dtype = getattr(config, "dtype", None) or getattr(config, "torch_dtype", None)
    found = {"dtype": _plain(dtype), "quantization": _plain(getattr(method, "quant_method", method))}
    return {name: value for name, value in found.items() if value}


def with_running(card: EngineCard, found: Mapping[str, str], own: Mapping[str, str]) -> EngineCard:
    """Return the card with what runs; what is not as the model's folder has it changes the fingerprint.

    A model that runs as it was made keeps the fingerprint that it had before this was told; awq_marlin runs awq.
    """
    other = {name: value for name, value in found.items() if not value.startswith(own.get(name, "not set"))}
    return replace(card, runs=dict(found), sampling={**card.sampling, **other})


def _plain(value: Any) -> str:
    return "" if value is None else str(value).removeprefix("torch.")


def _traces_endpoint() -> str | None:
    """Return where vLLM sends spans of its own, which is where the worker's go; None if traces are switched off."""
    wanted = otel.destination("traces", os.environ)
    if wanted is None:
        return None
    os.environ[otel.TRACES_PROTOCOL] = wanted.protocol  # all that vLLM reads, and its default is grpc
    os.environ[otel.SERVICE_NAME] = otel.service_name(os.environ)  # else its spans are of an unknown service
    return wanted.endpoint


def _need_numa() -> None:
    try:
        ctypes.CDLL(NUMA)
    except OSError as error:
        raise Fatal(f"vLLM on a CPU needs libnuma: apt-get install libnuma1 ({error})") from error


def token_prompt(ids: Sequence[int]) -> Any:
    """Wrap ids the way this vLLM wants them: `tokens_input` from 0.27 on, a dict before."""
    try:
        from vllm.inputs import tokens_input
    except ImportError:
        return {"prompt_token_ids": list(ids)}
    return tokens_input(list(ids))


def _batch_invariant() -> bool:
    """Return True if vLLM is set to compute a draw alike alone and in any batch (vllm#5898)."""
    return os.environ.get("VLLM_BATCH_INVARIANT", "0") not in {"", "0"}


def on_cpu() -> bool:
    """Return True if the installed vLLM is the build for CPUs."""
    return _installed("vllm-cpu")


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True


def _vllm_version() -> str:
    name = next((name for name in ("vllm", "vllm-cpu") if _installed(name)), None)
    return version(name) if name else "not installed"
