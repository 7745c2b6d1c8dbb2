"""Prompt profiles as files: the ones that ship with this package, and any by path.

A profile's SHA-256 is that of the file's bytes and goes into every response, so that readers can tell which
wording an answer came from.
"""

from functools import cache
from hashlib import sha256
from typing import Any

import yaml
from pydantic import ValidationError

from worker.core.errors import ODD_YAML, BadSettings, yaml_problem
from worker.core.prompts import template
from worker.core.prompts.prompt import DomainLayout, Profile, Writing
from worker.core.prompts.vocabulary import Words
from worker.core.validation_text import wanted
from worker.settings import packaged
from worker.settings.prompt_profiles.form import ProfileFile, problems

REFERENCE = "usermirror"  # in the names of the reference models, and of folders that hold one


@cache
def load(name_or_path: str) -> Profile:
    """Load a profile that ships with the package by its name, or any by its path.

    It is read once a process: all parts of a worker have the same, even if the file changes while it starts.
    Raises `BadSettings` if there is none or if the file is not a profile.
    """
    data = _read(name_or_path)
    try:
        content: Any = yaml.safe_load(data)
        parsed = ProfileFile.model_validate(content)
    except ValidationError as error:
        found = (f"{'.'.join(map(str, one['loc'])) or 'the file'}: {wanted(dict(one))}" for one in error.errors())
        raise BadSettings(f"prompt profile {name_or_path}: {'; '.join(found)}; the worker does not start") from error
    except (yaml.YAMLError, *ODD_YAML) as error:
        message = f"prompt profile {name_or_path}: is not YAML: {yaml_problem(error)}; the worker does not start"
        raise BadSettings(message) from error
    if unfit := list(problems(parsed)):
        message = f"prompt profile {name_or_path}: {'; '.join(unfit)}; the worker does not start"
        raise BadSettings(message)
    template.check(parsed.user, f"prompt profile {name_or_path}, user")
    for name, layout in parsed.domains.items():
        for part in (layout.profile, layout.item, layout.exposure, layout.history):
            template.check(part, f"prompt profile {name_or_path}, domain {name}")
    return Profile(
        name=parsed.name,
        sha256=sha256(data).hexdigest(),
        system=parsed.system,
        user=parsed.user,
        prefix=parsed.prefix,
        stop=parsed.stop,
        domains={name: DomainLayout(**layout.model_dump()) for name, layout in parsed.domains.items()},
        words=Words(tuple(parsed.labels.model_dump().values()), **parsed.vocabularies.model_dump()),
        writing=Writing(**parsed.sampling.model_dump()),
        imported_from=parsed.imported_from,
    )


def names() -> list[str]:
    """List the profiles that ship with the package."""
    return packaged.names(__name__)


def doubt(model: str, profile: Profile, *, reads_prompt: bool) -> str:
    """Return why a model's answers with this profile are not what it was trained for; "" if nothing speaks against it.

    An engine that reads no prompt has no wording.  One that was imported is taken for the trained one, whichever
    version of the reference's file it came from: only the model's authors know which one it was trained with.

    >>> doubt("mirror-tiny", load("mirror-v1"), reads_prompt=True)
    ''
    """
    if not reads_prompt or REFERENCE not in model.lower() or profile.imported_from:
        return ""
    return (
        f"{model} was trained with another wording than that of {profile.name}: run `mirrorstream prompts import` on a"
        " copy of the reference's template.py and set prompt_profile to the file it writes"
    )


def text(name: str) -> str:
    """Return the file of a profile that ships with the package."""
    return packaged.read(__name__, name).decode()


def _read(name_or_path: str) -> bytes:
    try:
        return packaged.read(__name__, name_or_path)
    except OSError as error:
        message = f"prompt profile {name_or_path}: {error.strerror}; wanted one of {', '.join(names())} or a path"
        raise BadSettings(message) from error
