"""The form of a prompt profile's file: what must be there, and nothing else may."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


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
