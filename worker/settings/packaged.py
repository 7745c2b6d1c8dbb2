"""YAML files by the name under which they ship with a package, or by any path: prompt profiles, mappings of events."""

from importlib.resources import files
from pathlib import Path

ENDING = ".yaml"


def names(package: str) -> list[str]:
    """List the files of a package, without their ending."""
    return sorted(one.name.removesuffix(ENDING) for one in files(package).iterdir() if one.name.endswith(ENDING))


def read(package: str, name_or_path: str) -> bytes:
    """Return a file of the package by its name, else the file at a path.  Raises `OSError`."""
    if name_or_path in names(package):
        return files(package).joinpath(name_or_path + ENDING).read_bytes()
    return Path(name_or_path).read_bytes()
