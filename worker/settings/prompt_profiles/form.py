"""The form of a prompt profile's file: what must be there, and nothing else may."""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Field

from worker.core.prompts import template
from worker.core.prompts.sanitise import visible
from worker.core.records import Domain


class LayoutPart(BaseModel):
    """The layouts of one domain."""

    model_config = ConfigDict(extra="forbid")
    profile: str = Field(description="Template of the user's profile")
    item: str = Field(description="Template of one option")
    exposure: str = Field(description="Template of the question: the options and what is asked")
    history: str = Field(description="Template of one past interaction")
    needs: str = Field(
        "", description="An attribute without which `generic` is used; empty: used if the layout shows none"
    )


class WritingPart(BaseModel):
    """How a rationale is sampled."""

    model_config = ConfigDict(extra="forbid")
    temperature: float = Field(gt=0, le=2, description="Sampling temperature of the rationale")
    top_p: float = Field(gt=0, le=1, description="Top-p of the rationale")
    max_tokens: int = Field(ge=16, le=8192, description="Maximum tokens of the rationale")


class LabelsPart(BaseModel):
    """The label of each section."""

    model_config = ConfigDict(extra="forbid")
    thought: str = Field(description="Heading of the rationale")
    stimulus: str = Field(description="Label of the stimulus")
    stimulus_factors: str = Field(description="Label of the stimulus' factors")
    knowledge: str = Field(description="Label of what the user knows")
    knowledge_factors: str = Field(description="Label of the factors of knowledge")
    evaluation: str = Field(description="Label of the evaluation")
    evaluation_style: str = Field(description="Label of the style of evaluation")
    behavior: str = Field(description="Label of the choice, before the letter")


class VocabulariesPart(BaseModel):
    """The closed vocabularies."""

    model_config = ConfigDict(extra="forbid")
    stimulus_factors: tuple[str, ...] = Field(description="Known stimulus factors; others are kept in `other`")
    knowledge_factors: tuple[str, ...] = Field(description="Known knowledge factors")
    evaluation_styles: tuple[str, ...] = Field(description="Known evaluation styles")
    groups: tuple[str, ...] = Field(description="Names of groups of factors, which are not factors themselves")


class ProfileFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(description="Name of the profile, as responses give it")
    system: Mapping[str, str] = Field(description="System message, by mode (`default`, `direct`)")
    user: str = Field(description="Template of the user message, with {profile?}, {history?} and {exposure?}")
    prefix: Mapping[str, str] = Field(description="Start of the assistant's answer, by mode")
    stop: str = Field(description="Text at which the rationale ends and the letter is read")
    labels: LabelsPart = Field(description="Labels of the rationale's sections")
    vocabularies: VocabulariesPart = Field(description="Closed vocabularies of the rationale")
    sampling: WritingPart = Field(description="How a rationale is sampled")
    domains: Mapping[str, LayoutPart] = Field(description="Layouts by domain; `generic` is required")
    imported_from: str | None = Field(None, description="SHA-256 of the file that it was imported from")


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
