"""The model that ships with the package: it finishes its rationales, and its choices are the choice model's."""

from itertools import islice
from statistics import fmean

import pytest

from worker.demo.mirror_tiny import corpus
from worker.demo.mirror_tiny.evaluate import FIVE, ask_twice
from worker.demo.scenes import lessons
from worker.engines.local.vllm import VllmEngine

NUM_SCENES = 60
COMPLETE, RIGHT = 0.95, 0.60  # the least that demo and tests can do with; its model card has what it reaches


@pytest.mark.asyncio(loop_scope="session")
async def test_rationales_are_complete_and_the_best_option_is_the_most_probable(vllm_engine: VllmEngine) -> None:
    scenes = (one for one in lessons(corpus.PROFILE, "held-out", options=(FIVE, FIVE)) if one.margin > 0)
    asked = await ask_twice(vllm_engine, list(islice(scenes, NUM_SCENES)))
    assert fmean(draw.complete for one in asked for draw in (one.first, one.second)) >= COMPLETE
    assert fmean(one.right for one in asked) >= RIGHT
