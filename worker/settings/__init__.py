"""All settings of a worker, read from where they are set; `groups` has each one's name, range and meaning.

They are frozen after start.

A value comes from, in rising priority: the default here, the YAML file (`--config`), an environment variable
(MIRRORSTREAM_ and the name in capitals), a flag of the command.  All problems are told in one message.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from worker.core.errors import ODD_YAML, BadSettings, masked, yaml_problem
from worker.core.suggestions import did_you_mean
from worker.core.validation_text import kind, wanted
from worker.settings import cross_checks
from worker.settings.groups import (
    BatchingSettings,
    EngineSettings,
    JoinSettings,
    KafkaClientSettings,
    KafkaSettings,
    OperationSettings,
    OutputSettings,
    PromptedEngineSettings,
    QuestionSettings,
    SamplingSettings,
)
from worker.settings.kafka_options import RESERVED_KAFKA_OPTIONS
from worker.settings.times import MAX_SEEN, is_day, parse_time

__all__ = ["ENV_PREFIX", "RESERVED_KAFKA_OPTIONS", "Settings", "is_day", "load", "parse_time"]

ENV_PREFIX = "MIRRORSTREAM_"
# Settings whose values may hold a password, or be one that YAML read as a number: never told.
_UNTOLD = frozenset({"bootstrap_servers", "kafka_options", "schema_registry_url", "server_urls", "vllm_options"})
_CHOICE = re.compile(r"'([^']*)'")
# Kubernetes gives such variables to every pod beside a service of our name; they are no typing errors.
_SERVICE_LINK = re.compile(r"_(SERVICE|PORT)(_|$)")


class Settings(
    KafkaClientSettings, PromptedEngineSettings, OperationSettings, OutputSettings, JoinSettings, BatchingSettings,
    EngineSettings, QuestionSettings, SamplingSettings, KafkaSettings, BaseSettings,
):  # fmt: skip
    """The settings of one worker: all groups, the last one's fields first."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, then the environment, then the file."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, data: Any, check: ModelWrapValidatorHandler["Settings"]) -> "Settings":
        """Check every setting, and between those that are right; tell everything at once."""
        problems: list[str] = []
        wrong: set[object] = set()
        try:
            found = check(data)
        except ValidationError as error:
            problems += [_problem(dict(problem)) for problem in error.errors()]
            wrong = {problem["loc"][0] for problem in error.errors()}
            found = check({name: value for name, value in data.items() if name not in wrong})
        right = {name: value for name, value in found if name not in wrong}
        problems += cross_checks.problems(right)
        if problems:
            raise BadSettings("\n".join([*problems, *cross_checks.missing(right)]))
        return found


def load(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    files: bool = False,
    problems: Sequence[str] = (),
) -> Settings:
    """Build the settings from a YAML file, the environment and flags.  Raises `BadSettings` with all problems.

    `files` is for who needs what they name; `problems` are those found before.
    """
    if config is not None:
        _check_file(config, problems)

    class FileSettings(Settings):
        model_config = SettingsConfigDict(yaml_file=config)

    told = [*problems, *_unknown_variables()]
    try:
        found = dict(FileSettings(**dict(overrides or {})))
    except BadSettings as error:
        raise BadSettings("\n".join([*told, str(error)])) from None
    if files or told:
        told += cross_checks.missing(found)
    if told:
        raise BadSettings("\n".join(told))
    return Settings.model_construct(**found)


def _unknown_variables() -> list[str]:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    found = sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)
    return [f"{name}: not a setting{did_you_mean(name, known)}" for name in found if not _SERVICE_LINK.search(name)]


class _Placed(yaml.SafeLoader):
    """A safe loader that says where a value is that cannot be read, such as the date 2026-13-01."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's own
        try:
            return super().construct_object(node, deep=deep)
        except RecursionError:
            raise
        except ODD_YAML as error:
            raise yaml.constructor.ConstructorError(None, None, yaml_problem(error), node.start_mark) from error


def _check_file(path: Path, problems: Sequence[str]) -> None:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Placed)  # noqa: S506 - a SafeLoader that tells places
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        message = f"{path}: cannot be read: {why}; want a YAML file of settings"
        raise BadSettings("\n".join([*problems, message])) from error
    except (yaml.YAMLError, *ODD_YAML) as error:
        message = f"{path}: is not YAML: {yaml_problem(error)}"
        raise BadSettings("\n".join([*problems, message])) from error
    if content is None:
        return  # an empty file, or one of comments alone, sets nothing
    if not isinstance(content, dict):
        message = f"{path}: holds {kind(content)}, want a mapping of settings, such as bootstrap_servers: kafka:9092"
        raise BadSettings("\n".join([*problems, message]))


def _problem(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"][:2])
    if error["type"] == "extra_forbidden":
        return f"{place}: not a setting{did_you_mean(place, Settings.model_fields)}"
    near = did_you_mean(str(error["input"]), _CHOICE.findall(wanted(error))) if error["type"] == "literal_error" else ""
    return f"{place}: {wanted(error)}{near}{'' if error['loc'][0] in _UNTOLD else _seen(error['input'])}"


def _seen(value: object) -> str:
    """Return what is told of a wrong value; of a list or map, which may hold anything, only that it is one."""
    if isinstance(value, Mapping):
        return "; seen a map"
    if isinstance(value, list | tuple | set):
        return "; seen a list"
    return f"; seen {masked(repr(value))[:MAX_SEEN]}"
