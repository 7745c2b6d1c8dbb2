"""Mappings of foreign events as files: those that ship with this package, and any by path (`core.codec.mapping`)."""

from functools import cache
from typing import Any

import yaml

from worker.core.codec.mapping import EventMapping
from worker.core.codec.mapping_compiler import compile_mapping
from worker.core.errors import ODD_YAML, BadSettings, yaml_problem
from worker.core.suggestions import did_you_mean
from worker.settings import packaged


@cache
def load(name_or_path: str) -> EventMapping:
    """Load a mapping that ships with the package by its name, or any by its path; it is read once a process.

    Raises `BadSettings` if there is none, or if the file is no mapping.
    """
    try:
        content: Any = yaml.safe_load(_read(name_or_path))
    except (yaml.YAMLError, *ODD_YAML) as error:
        raise BadSettings(f"mapping {name_or_path}: is not YAML: {yaml_problem(error)}") from error
    return compile_mapping(name_or_path, content)


def names() -> list[str]:
    """List the mappings that ship with the package."""
    return packaged.names(__name__)


def _read(name_or_path: str) -> bytes:
    try:
        return packaged.read(__name__, name_or_path)
    except OSError as error:
        wanted = f"want one of {', '.join(names())} or a path{did_you_mean(name_or_path, names())}"
        raise BadSettings(f"mapping {name_or_path}: {error.strerror}; {wanted}") from error
