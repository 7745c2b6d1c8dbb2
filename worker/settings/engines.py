"""The engines by name: what makes each one, what of its settings is checked, and whether it reads prompts.

An entry of `ENGINES` is all that the program knows of an engine by its name: the setting `engine` takes the names from
here, the checks run with those of the other settings, and `worker.engines.factory` calls the factory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.settings.secret_files import unreadable

# Takes settings by the names of its parameters, and yields what is wrong with them.
Check = Callable[..., Iterator[str]]


@dataclass(frozen=True, slots=True)
class EngineKind:
    """One engine."""

    factory: str  # "module:function" below `worker.engines`: imported only if used, for vLLM takes seconds
    reads_prompt: bool  # it has a model, whose answers depend on the wording
    is_remote: bool = False  # other machines answer: that they are away says nothing about this process
    checks: tuple[Check, ...] = ()  # between settings
    files: tuple[Check, ...] = ()  # that are named and not there


def _no_vllm_options(vllm_options: dict[str, Any]) -> Iterator[str]:
    if vllm_options:
        yield "vllm_options: engine vllm-server takes none; the servers' own flags say how they run"


def _no_dtype(dtype: str) -> Iterator[str]:
    if dtype != "auto":
        yield "dtype: engine vllm-server takes none; the servers' own flags say how they run"


def _no_lora(lora: Path | None) -> Iterator[str]:
    if lora is not None:
        yield (
            "lora: engine vllm-server takes none: serve it with --enable-lora --lora-modules NAME=FOLDER, and set"
            " model=NAME and tokenizer=BASE"
        )


def _some_server(server_urls: list[str]) -> Iterator[str]:
    if not server_urls:
        yield "server_urls: engine vllm-server needs at least one, such as http://gpu-1:8000"


def _two_passes(passes: int) -> Iterator[str]:
    if passes == 1:
        yield "passes: want 2 with engine vllm-server, which takes no more than four stop strings"


def _server_auth(server_auth_file: Path | None) -> Iterator[str]:
    if server_auth_file and (why := unreadable(server_auth_file)):
        yield f"server_auth_file: {why}; want a file with the bearer token"


ENGINES = {
    "vllm": EngineKind("worker.engines.local.vllm:make", reads_prompt=True),
    "vllm-server": EngineKind(
        "worker.engines.remote.vllm_server:make",
        reads_prompt=True,
        is_remote=True,
        checks=(_some_server, _two_passes, _no_vllm_options, _no_dtype, _no_lora),
        files=(_server_auth,),
    ),
    "choice-model": EngineKind("worker.engines.choice_model:make", reads_prompt=False),
}
