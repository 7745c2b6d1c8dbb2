"""One scene of each model family through `run`: its architecture in vLLM, its tokenizer, its chat template."""

from pathlib import Path

import pytest

from tests.support import family_models
from tests.support.events import impression
from tests.support.harness import Stage, send
from tests.support.judge import Judge

QUICK = ("mistral-tekken",)  # its tokenizer comes with vLLM
FAMILIES = [pytest.param(one, marks=() if one in QUICK else pytest.mark.long) for one in family_models.ARCHITECTURES]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scene_of_each_family_is_answered(stage: Stage, judge: Judge, family: str, tmp_path: Path) -> None:
    model = family_models.folder(family, tmp_path / family)
    role = {"system_role": "user"} if family == "mistral-0.1" else {}
    stage.create(partitions=1)
    send(stage, [impression(1)])
    small = {"max_tokens": 16, "max_num_seqs": 8, "max_model_len": 2_048, "draws": 2}
    worker = stage.run("--until-end", engine="vllm", model=str(model), mode="direct", **small, **role)
    assert worker.exit_code() == 0
    judge.verdict().assert_exactly_once()
    answers = judge.answers()
    assert [answer["status"] for answer in answers] == ["OK"] * 3
    for answer in answers:
        assert sum(option["probability"] for option in answer["options"]) == pytest.approx(1)
        assert all(0 < draw["letter_mass"] <= 1 for draw in answer["draws"])
        assert answer["provenance"]["sampling"]["weights"]
