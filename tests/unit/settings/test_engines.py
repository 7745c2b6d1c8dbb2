"""One registry of engines: its names are those of the setting, and each can be made and is checked."""

from collections.abc import Iterator

import pytest

from worker.core.errors import BadSettings
from worker.engines import factory
from worker.engines.choice_model import ChoiceModel
from worker.settings import Settings
from worker.settings.engines import ENGINES, EngineKind

URLS = {"vllm-server": ["http://gpu-1:8000"]}


@pytest.mark.parametrize("name", ENGINES)
def test_each_engine_is_made_from_its_name(name: str) -> None:
    """What is made says that it is that engine, and reads prompts or not as the registry has it."""
    assert ENGINES[name].factory.startswith("worker.engines.")
    card = factory.make(Settings(engine=name, server_urls=URLS.get(name, []))).card
    assert (card.engine, card.reads_prompt) == (name, ENGINES[name].reads_prompt)


def test_an_engine_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(BadSettings, match="engine: want one of vllm, vllm-server, choice-model; seen 'gpt'"):
        Settings(engine="gpt")


def test_an_engine_is_added_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is taken, its check runs with the other settings, and its factory is called."""

    def slow_enough(choice_latency_s: float) -> Iterator[str]:
        if choice_latency_s < 1:
            yield f"choice_latency_s: {choice_latency_s:g}, want 1 or more with engine slow"

    made_by = ENGINES["choice-model"].factory
    monkeypatch.setitem(ENGINES, "slow", EngineKind(made_by, reads_prompt=False, checks=(slow_enough,)))
    with pytest.raises(BadSettings) as refused:
        Settings(engine="slow", draws=0)
    assert str(refused.value) == (
        "draws: want at least 1; seen 0\nchoice_latency_s: 0, want 1 or more with engine slow"
    )
    assert isinstance(factory.make(Settings(engine="slow", choice_latency_s=2)), ChoiceModel)
    assert Settings(engine="choice-model").choice_latency_s == 0, "a check of another engine ran"
