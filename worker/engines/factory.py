"""Makes the engine that the settings name, by the registry `worker.settings.engines`."""

from collections.abc import Callable
from importlib import import_module
from typing import cast

from worker.pipeline.ports import Engine
from worker.settings.engines import ENGINES
from worker.settings.groups import PromptedEngineSettings


def make(settings: PromptedEngineSettings) -> Engine:
    """Return the engine that the settings name, not started; only its own module is imported."""
    module, name = ENGINES[settings.engine].factory.split(":")
    factory = cast("Callable[[PromptedEngineSettings], Engine]", getattr(import_module(module), name))
    return factory(settings)
