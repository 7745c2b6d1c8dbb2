"""The examples in the docstrings say what the code does."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import worker

ROOT = Path(worker.__file__).parent
# They import vLLM or torch where they stand; their examples, if any, need the model's environment.
NEED_VLLM = frozenset(
    {
        "worker.engines.local.vllm",
        "worker.demo.mirror_tiny.train",
        "worker.demo.mirror_tiny.evaluate",
        "worker.demo.mirror_tiny.qwen2",
    }
)


def modules() -> list[str]:
    """List the modules that hold an example."""
    found = {
        ".".join(("worker", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        for path in ROOT.rglob("*.py")
        if ">>> " in path.read_text(encoding="utf-8")
    }
    return sorted(found - NEED_VLLM)


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_hold(name: str) -> None:
    result = doctest.testmod(import_module(name), raise_on_error=False)
    assert result.attempted > 0
    assert result.failed == 0
