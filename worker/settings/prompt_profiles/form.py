"""The form of a prompt profile's file: what must be there, and nothing else may."""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Field

from worker.core.prompts import template
from worker.core.prompts.sanitise import visible
from worker.core.records import Domain


class LayoutPart(BaseModel):
    """The layouts of one domain."""

    model_config = ConfigDict(extra="forbid")
    profile: str
    item: str
    exposure: str
    history: str
    needs: str = ""


class WritingPart(BaseModel):
    """How a rationale is sampled."""

    model_config = ConfigDict(extra="forbid")
    temperature: float = Field(gt=0, le=2)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(ge=16, le=8192)


class LabelsPart(BaseModel):
    """The label of each section."""

    model_config = ConfigDict(extra="forbid")
    thought: str
    stimulus: str
    stimulus_factors: str
    knowledge: str
    knowledge_factors: str
    evaluation: str
    evaluation_style: str
    behavior: str


class VocabulariesPart(BaseModel):
    """The closed vocabularies."""

    model_config = ConfigDict(extra="forbid")
    stimulus_factors: tuple[str, ...]
    knowledge_factors: tuple[str, ...]
    evaluation_styles: tuple[str, ...]
    groups: tuple[str, ...]


class ProfileFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")
    name: str
    system: Mapping[str, str]
    user: str
    prefix: Mapping[str, str]
    stop: str
    labels: LabelsPart
    vocabularies: VocabulariesPart
    sampling: WritingPart
    domains: Mapping[str, LayoutPart]
    imported_from: str | None = None


def problems(parsed: ProfileFile) -> Iterator[str]:
    """Yield what makes a profile unfit for work."""
    if "generic" not in parsed.domains:
        yield "no domain `generic`, which every other falls back to"
    if unknown := sorted(parsed.domains.keys() - set(Domain)):
        yield f"unknown domains {', '.join(unknown)}"
    if template.names(parsed.user) != {"profile", "history", "exposure"}:
        yield "`user` wants the places {profile?}, {history?} and {exposure?}, all of them and no other"
    if unseen := [section for section, label in parsed.labels.model_dump().items() if not visible(label).strip()]:
        yield f"`labels` wants a text for {', '.join(unseen)}"
    for part, texts in (("system", parsed.system), ("prefix", parsed.prefix)):
        if texts.keys() != {"default", "direct"}:
            yield f"`{part}` wants a text for default and one for direct"
    if not parsed.stop or parsed.prefix.get("direct") != parsed.stop:
        yield "`stop` and the prefix of direct mode want to be the same text: the letter is read after it"
    for name, layout in parsed.domains.items():
        if layout.needs and layout.needs not in template.names(layout.exposure):
            yield f"domain {name} needs `{layout.needs}`, which its exposure does not show"
