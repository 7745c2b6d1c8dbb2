"""A Dockerfile as its stages and their steps, for tests; BuildKit's own reading is `tools/dockerfile`.

>>> text = 'FROM a AS b\\n# why\\nRUN --mount=type=cache,target=/c \\\\\\n    make it\\nCOPY --from=x /y /z\\n'
>>> [(step.name, step.flags, step.text) for step in stages(text)["b"].steps]
[('RUN', ['--mount=type=cache,target=/c'], 'make it'), ('COPY', ['--from=x'], '/y /z')]
"""

import re
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: its name, its flags, and the rest as it is written, on one line."""

    name: str
    flags: list[str]
    text: str

    @property
    def words(self) -> list[str]:
        """The rest, as words."""
        return self.text.split()

    @property
    def stages(self) -> list[str]:
        """The stages that the flags take something from."""
        return re.findall(r"from=([\w-]+)", " ".join(self.flags))


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: what it starts from, and its steps."""

    base: str
    steps: list[Step] = field(default_factory=list)


def stages(text: str) -> dict[str, Stage]:
    """Return the stages by name; each has one."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    found: dict[str, Stage] = {}
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            base, stage = rest.split(" AS ")
            found[stage] = Stage(base)
        elif name and found:
            flags = re.match(r"(?:--\S+\s+)*", rest)
            assert flags
            [*found.values()][-1].steps.append(Step(name, flags[0].split(), rest[flags.end() :]))
    return found


def of_target(found: dict[str, Stage], target: str) -> list[str]:
    """Return the stages that a target needs, each after what it needs itself."""
    needed: list[str] = []
    stage = found[target]
    for name in [stage.base, *(name for step in stage.steps for name in step.stages)]:
        if name in found:
            needed += [one for one in of_target(found, name) if one not in needed]
    return [*needed, target]
