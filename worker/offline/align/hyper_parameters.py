"""The hyper-parameters of training, one YAML file; `reference.yaml` beside this file is the default."""

from functools import cache
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.core.errors import ODD_YAML, BadSettings, yaml_problem
from worker.core.validation_text import wanted
from worker.settings import packaged


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StageParameters(_Strict):
    """What both stages have; 0 epochs leaves a stage out."""

    epochs: float = Field(ge=0, le=100)
    learning_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(0.0, ge=0, le=1)
    warmup_steps: int = Field(0, ge=0)
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    batch_size: int = Field(1, ge=1)  # rows of one process in one forward pass
    accumulate: int = Field(4, ge=1)  # passes of one step
    max_grad_norm: float = Field(1.0, ge=0)  # 0: gradients are not clipped


class Dpo(StageParameters):
    """Direct preference optimisation."""

    beta: float = Field(0.1, gt=0)
    sft_weight: float = Field(0.0, ge=0)  # of the loss of SFT on the preferred draw, added to DPO's own; 0: none


class Lora(_Strict):
    """A low-rank adapter."""

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | list[str] = "all-linear"


class HyperParameters(_Strict):
    """All of them."""

    name: str
    method: Literal["full", "lora"] = "full"
    lora: Lora = Lora()
    dtype: Literal["bfloat16", "float32"] = "bfloat16"  # of the arithmetic; a CPU without bfloat16 wants float32
    max_length: int = Field(8192, ge=64)  # tokens of prompt and answer; longer rows are left out and counted
    gradient_checkpointing: bool = True
    save_steps: int = Field(100, ge=1)  # between checkpoints
    seed: int = Field(0, ge=0)
    threads: int | None = Field(None, ge=1)  # of torch on a CPU: sums depend on it in their last bits
    sft: StageParameters
    dpo: Dpo


@cache
def load(name_or_path: str) -> HyperParameters:
    """Load `reference`, or a file by its path.  Raises `BadSettings` with all problems."""
    place = f"hyper-parameters {name_or_path}"
    try:
        content: Any = yaml.safe_load(packaged.read("worker.offline.align", name_or_path))
        return HyperParameters.model_validate(content)
    except OSError as error:
        raise BadSettings(f"{place}: {error.strerror}; want `reference` or a YAML file") from error
    except ValidationError as error:
        found = (f"{'.'.join(map(str, one['loc'])) or 'the file'}: {wanted(dict(one))}" for one in error.errors())
        raise BadSettings(f"{place}: {'; '.join(found)}; nothing was trained") from error
    except (yaml.YAMLError, *ODD_YAML) as error:
        raise BadSettings(f"{place}: is not YAML: {yaml_problem(error)}; nothing was trained") from error
