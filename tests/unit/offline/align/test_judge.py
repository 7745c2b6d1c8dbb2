"""Judging in a work folder: who is asked, what is promoted, what the card says; with engines that know the answer."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.offline.align.test_steps import DIVISION, FakeEngine, arms, choices
from worker.core.errors import BadSettings
from worker.core.seeding import unit
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.questions import Status
from worker.demo import changed_tastes
from worker.offline.align import files, hyper_parameters, steps
from worker.offline.align.select import By
from worker.offline.align.split import Split, SplitPart
from worker.settings import Settings, load

USERS = 240
BASE = "base"
RIGHT = {one.impression.event_id: f"item-{number}-{one.chosen}"
         for number, one in enumerate(changed_tastes.events(1, users=USERS))}  # fmt: skip
DAY = "2026-01-0"


class Knowing(FakeEngine):
    """Gives the real choice `quality`, about; the asked events are noted."""

    asked: set[str] = set()  # noqa: RUF012 - of all engines of one test, which clears it
    after = 0.6

    async def draw(self, ask: Ask) -> Drawn:
        event = ask.impression.event_id
        self.asked.add(event)
        quality = (0.3 if self.card.model == BASE else self.after) * (0.5 + unit(event, str(ask.seed)))
        rest = (1 - quality) / (len(ask.order) - 1)
        items = [ask.question.options[at].item_id for at in ask.order]
        letters = tuple(quality if item == RIGHT[event] else rest for item in items)
        return Drawn(Status.OK, letters, letter_mass=1.0, text="")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which everything before `judge` is done; the candidate's weights are a stand-in."""
    Knowing.asked.clear()
    monkeypatch.setattr(Knowing, "after", 0.6)
    found = tmp_path / "work"
    steps.collect(found, choices(tmp_path, users=USERS), arms(), DIVISION, make=FakeEngine)
    steps.select(found, by=By.UNCERTAINTY, keep=0, seed=0)
    candidate = found / "candidate"
    candidate.mkdir()
    (candidate / "config.json").write_text("{}")
    about = {
        "identity": "0123456789abcdef", "base": BASE, "base_digest": "abcdef", "stage": "dpo", "steps": 3,
        "weights": {"base": "abcdef"}, "forgotten": [], "prompt": "f" * 64,
        "selected": files.digest(found / "selected.jsonl"),
        "hyper_parameters": hyper_parameters.load("reference").model_dump(mode="json"),
    }  # fmt: skip
    (candidate / "align.json").write_text(json.dumps(about))
    return found


def judge(work: Path, **more: Any) -> Any:
    source = more.pop("source", None) or choices(work.parent, users=USERS)
    settings = load(None, {"model": BASE, "draws": "2"})
    return steps.judge(work, source, settings, licence="Apache-2.0", **{"make": Knowing} | more)


def trained(work: Path) -> set[str]:
    return {str(line["digest"]) for line in files.read(work / "selected.jsonl", "select")[1]}


def test_what_is_surely_better_is_promoted_with_its_card(work: Path) -> None:
    found = judge(work)
    assert found.promoted, found.reasons
    promoted = work / "promoted"
    card = (promoted / "README.md").read_text()
    assert f"judged on | {found.choices} choices of {found.users} users" in card
    assert "licence of the base model | Apache-2.0" in card
    assert "abcdef" in card
    assert f"trained on | {len(trained(work))} scenes, selected by uncertainty, {DAY}" in card
    assert "item-" not in card
    assert "user-1-" not in card
    assert (promoted / "config.json").is_file()
    assert json.loads((work / "verdict.json").read_text())["promoted"] is True


def test_nobody_who_was_trained_on_is_asked_nor_any_day_of_the_training(work: Path) -> None:
    judge(work)
    split = Split(**files.read(work / "selected.jsonl", "select")[0]["split"])
    events = {one.impression.event_id: one.impression for one in changed_tastes.events(1, users=USERS)}
    judged = [events[one] for one in Knowing.asked]
    assert len(judged) > 30
    assert {split.part(one.user.user_id, one.occurred_at) for one in judged} == {SplitPart.JUDGE}
    users = {str(line["user"]) for line in files.read(work / "selected.jsonl", "select")[1]}
    assert not users & {steps.hashed(one.user.user_id) for one in judged}
    last = max(line["at"] for line in files.read(work / "selected.jsonl", "select")[1])
    assert min(one.occurred_at for one in judged) > last


def test_what_is_no_better_is_not_promoted_and_an_older_promotion_is_taken_away(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(work)
    (work / "after.jsonl").unlink()
    monkeypatch.setattr(Knowing, "after", 0.3)
    found = judge(work)
    assert not found.promoted
    assert not (work / "promoted").exists()
    assert json.loads((work / "verdict.json").read_text())["reasons"] == list(found.reasons)


def test_a_judgement_that_was_killed_anywhere_leaves_the_same_bytes(work: Path) -> None:
    judge(work)
    whole = (work / "after.jsonl").read_bytes()
    for share in (0.1, 0.5, 0.9):
        (work / "after.jsonl").unlink()
        (work / "after.jsonl.part").write_bytes(whole[: int(share * len(whole))])
        judge(work)
        assert (work / "after.jsonl").read_bytes() == whole


def test_a_candidate_of_another_selection_or_of_another_try_is_refused(work: Path) -> None:
    judge(work)
    place = work / "candidate" / "align.json"
    about = json.loads(place.read_text())
    place.write_text(json.dumps(about | {"identity": "f" * 16}))
    with pytest.raises(BadSettings, match=r"after.jsonl: is of another run, which differs in weights"):
        judge(work)
    place.write_text(json.dumps(about))
    steps.select(work, by=By.RANDOM, keep=5, seed=0)
    with pytest.raises(BadSettings, match=r"candidate: was trained on another selected.jsonl than the one beside it"):
        judge(work)


def test_without_a_candidate_it_says_what_comes_before(work: Path) -> None:
    (work / "candidate").rename(work / "elsewhere")
    with pytest.raises(BadSettings, match=r"candidate: is not there; run `mirrorstream align train` first"):
        judge(work)


def test_later_choices_may_be_in_a_newer_file(work: Path) -> None:
    """The division is that of the training: who was held out then is held out now."""
    source = choices(work.parent, users=USERS - 10)
    found = judge(work, source=source)
    assert json.loads((work / "verdict.json").read_text())["newer_files"] == ["choices"]
    assert found.choices > 30


def test_a_forgotten_user_is_not_judged_on_either(work: Path) -> None:
    every = judge(work).choices
    events = {one.impression.event_id: one.impression for one in changed_tastes.events(1, users=USERS)}
    user = events[next(iter(Knowing.asked))].user.user_id
    for name in ("before.jsonl", "after.jsonl"):
        (work / name).unlink()
    source = steps.ChoiceSource(choices(work.parent, users=USERS).files, frozenset({user}))
    assert judge(work, source=source).choices == every - 1


def test_the_candidate_is_loaded_as_what_it_is(work: Path) -> None:
    """All weights are a model, an adapter is a LoRA of the base."""
    seen: list[tuple[str, Path | None]] = []

    def make(settings: Settings) -> Knowing:
        seen.append((settings.model, settings.lora))
        return Knowing(settings)

    judge(work, make=make)
    (work / "candidate" / "adapter_config.json").write_text("{}")
    (work / "after.jsonl").unlink()
    judge(work, make=make)
    assert seen == [(BASE, None), (str(work / "candidate"), None), (BASE, work / "candidate")]
