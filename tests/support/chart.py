"""The chart, rendered by Helm itself: its objects, its pods, and the sets of values that it is shown with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "mirrorstream"
SETS = sorted((CHART / "ci").glob("*-values.yaml"))
OLDEST, NEWEST = "1.31", "1.37"  # Kubernetes; the oldest that is promised, the newest that can be checked

Values: TypeAlias = dict[str, Any]
Objects: TypeAlias = dict[str, Any]


def set_name(path: Path) -> str:
    """Return the name of a set of values."""
    return path.name.removesuffix("-values.yaml")


def set_values(path: Path) -> Values:
    """Return a set's values as Helm reads them, whose YAML has no dates."""
    found: Values = helm_python.values_from_yaml(path.read_text(encoding="utf-8"))
    return found


def rendered(chart: helm_python.Chart, values: Values) -> list[Objects]:
    """Return every object that a release `rel` in the namespace `ns` has."""
    files = chart.render(values, name="rel", namespace="ns").items()
    return [found for name, text in files if name.endswith(".yaml") for found in yaml.safe_load_all(text) if found]


def pod_specs(objects: list[Objects]) -> Iterator[tuple[Objects, Objects]]:
    """Yield the metadata and the spec of every pod, with those that a workload or a Job makes."""
    for found in objects:
        spec = found.get("spec", {})
        group = spec.get("leaderWorkerTemplate", {})
        templates = [
            one for one in (spec.get("template"), *map(group.get, ("leaderTemplate", "workerTemplate"))) if one
        ]
        if templates:
            yield from ((template["metadata"], template["spec"]) for template in templates)
        elif found["kind"] == "Pod":
            yield found["metadata"], found["spec"]
