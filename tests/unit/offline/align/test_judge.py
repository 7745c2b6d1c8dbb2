"""Judging in a work folder: who is asked, what is promoted, what the card says; with engines that know the answer."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.full_disk import files_of_at_most
from tests.unit.offline.align.test_steps import DIVISION, FakeEngine, arms, choices
from worker.core.errors import BadSettings, Fatal
from worker.core.seeding import unit
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.questions import Status
from worker.demo import changed_tastes
from worker.engines.model_files import weights_digest
from worker.offline.align import files, hyper_parameters, judging, steps
from worker.offline.align.choice_source import ChoiceSource, hashed
from worker.offline.align.select import By
from worker.offline.align.split import Split, SplitPart
from worker.offline.align.verdict import Judgement
from worker.offline.evaluate.reading import Files
from worker.settings import Settings, load, prompt_profiles

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
        quality = (0.3 if Path(self.card.model).name == BASE else self.after) * (0.5 + unit(event, str(ask.seed)))
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
    base, candidate = base_of(found), found / "candidate"
    for folder, weights in ((base, b"base"), (candidate, b"candidate")):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(weights)
    (base / "config.json").write_text("{}")
    (candidate / "config.json").write_text("{}")
    about = {
        "identity": "0123456789abcdef", "base": BASE, "base_digest": "abcdef", "stage": "dpo", "steps": 3,
        "weights": {"base": weights_digest(base)}, "forgotten": [], "prompt": prompt_profiles.load("mirror-v1").sha256,
        "selected": files.digest(found / "selected.jsonl"),
        "hyper_parameters": hyper_parameters.load("reference").model_dump(mode="json"),
    }  # fmt: skip
    (candidate / "align.json").write_text(json.dumps(about))
    return found


def base_of(work: Path) -> Path:
    return work.parent / BASE


def judged(work: Path, given: Mapping[str, str] | None = None, **more: Any) -> judging.JudgedModels:
    source = more.pop("source", None) or choices(work.parent, users=USERS)
    settings = load(None, {"model": str(base_of(work)), "draws": "2", **(given or {})})
    return judging.judge(work, source, settings, licence="Apache-2.0", **{"make": Knowing} | more)


def judge(work: Path, **more: Any) -> Judgement:
    return judged(work, **more).verdict


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


def test_the_card_counts_users_who_were_really_left_out(work: Path) -> None:
    """Not those to forget of whom nothing was found."""
    note = work / "candidate" / "align.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"forgotten": ["a", "b", "c"], "unknown": ["b"]}))
    judge(work)
    assert "| users left out on request | 2 |" in (work / "promoted" / "README.md").read_text()


def test_nobody_who_was_trained_on_is_asked_nor_any_day_of_the_training(work: Path) -> None:
    judge(work)
    split = Split(**files.read(work / "selected.jsonl", "select")[0]["split"])
    events = {one.impression.event_id: one.impression for one in changed_tastes.events(1, users=USERS)}
    judged = [events[one] for one in Knowing.asked]
    assert len(judged) > 30
    assert {split.part(one.user.user_id, one.occurred_at) for one in judged} == {SplitPart.JUDGE}
    users = {str(line["user"]) for line in files.read(work / "selected.jsonl", "select")[1]}
    assert not users & {hashed(one.user.user_id) for one in judged}
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


KILLED = """
import os, signal, sys
from pathlib import Path
from worker.offline.align import files

def die(*words, **more):
    os.kill(os.getpid(), signal.SIGKILL)

rename, unlink = Path.rename, os.unlink
def dying(*words, **more):
    unlink(*words, **more)
    die()

if sys.argv[2] == "before":
    Path.rename = die
else:
    os.unlink = dying  # after the first of its files
files.remove(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_kill_while_a_promotion_is_taken_away_leaves_all_of_it_or_nothing(
    work: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Half a folder under that name looks promoted; and what a kill leaves beside goes with the next judgement."""
    judge(work)
    promoted = work / "promoted"
    whole = sorted(promoted.iterdir())
    done = subprocess.run([sys.executable, "-c", KILLED, str(promoted), when], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (sorted(promoted.iterdir()) if promoted.exists() else []) == (whole if when == "before" else [])
    if when == "within":
        assert 0 < len(list((work / ".promoted.old").iterdir())) < len(whole)
    (work / "after.jsonl").unlink()
    monkeypatch.setattr(Knowing, "after", 0.3)
    judge(work)
    assert list(work.glob("*promoted*")) == []


def test_what_is_not_promoted_is_gone_before_the_verdict_is_written(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between them must not leave a promoted folder that the verdict speaks against."""
    judge(work)
    (work / "after.jsonl").unlink()
    monkeypatch.setattr(Knowing, "after", 0.3)
    seen: list[bool] = []
    write = files.write_whole

    def noted(path: Path, content: Mapping[str, object]) -> None:
        seen.append((work / "promoted").exists())
        write(path, content)

    monkeypatch.setattr(files, "write_whole", noted)
    judge(work)
    assert seen == [False]


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


DAMAGED: Mapping[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "cut": (lambda about: json.dumps(about)[:40], "is no JSON"),
    "a deep nest": (lambda _: "[" * 100_000, "is no JSON"),
    "a list": (lambda _: [], "want a JSON object"),
    "missing": (lambda about: {one: about[one] for one in about.keys() - {"prompt"}}, "is damaged: prompt: "),
    "a text for weights": (lambda about: about | {"weights": "a"}, "is damaged: weights: "),
    "what the card needs": (lambda about: about | {"hyper_parameters": {}}, "is damaged: hyper_parameters.name: "),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_candidates_note_that_is_damaged_is_told(work: Path, name: str) -> None:
    """Before anybody is asked, with what to do."""
    note = work / "candidate" / "align.json"
    how, told = DAMAGED[name]
    found = how(json.loads(note.read_text()))
    note.write_text(found if isinstance(found, str) else json.dumps(found))
    again = "delete the file and run `mirrorstream align train` again"
    with pytest.raises((BadSettings, Fatal), match=f"align.json: {told}.*; {again}"):
        judge(work)
    assert not Knowing.asked


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
    source = ChoiceSource(choices(work.parent, users=USERS).files, frozenset({user}))
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
    base = str(base_of(work))
    assert seen == [(base, None), (str(work / "candidate"), None), (base, work / "candidate")]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"model": "mirror-tiny"},
            r"model mirror-tiny: has weights \w{12}, want what .*candidate was trained from, \w{12}",
        ),
        (
            {"model": "nosuch/model"},
            r"model nosuch/model: has weights \(none\), want what .* \(base base\); nothing was",
        ),
        ({"engine": "choice-model"}, "engine=choice-model: judge loads base and candidate itself; want engine=vllm"),
        (
            {"prompt_profile": "PROFILE"},
            r"prompt_profile .*own.yaml: is \w{12}, want what .*candidate was trained with",
        ),
        ({"lora": "LORA"}, r"lora .*adapter: has weights \w{12}, want what .*candidate was trained from, \(none\)"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_what_was_not_trained_is_no_before(work: Path, given: dict[str, str], told: str) -> None:
    """A gain over another model says nothing about the training; nothing is asked, and nothing written."""
    own, adapter = work.parent / "own.yaml", work.parent / "adapter"
    own.write_text(prompt_profiles.text("mirror-v1").replace("name: mirror-v1", "name: own"))
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 4}')
    (adapter / "adapter_model.safetensors").write_bytes(b"adapter")
    places = {"PROFILE": str(own), "LORA": str(adapter)}
    with pytest.raises(BadSettings, match=told):
        judged(work, {name: places.get(value, value) for name, value in given.items()})
    assert not Knowing.asked
    assert sorted(path.name for path in work.iterdir()) == ["candidate", "selected.jsonl", "strong.jsonl", "weak.jsonl"]


def test_an_adapter_that_was_trained_on_is_the_before(work: Path) -> None:
    """The candidate went on from an adapter: without that one, or once it was changed, there is no "before"."""
    adapter, note = work.parent / "adapter", work / "candidate" / "align.json"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 4}')
    (adapter / "adapter_model.safetensors").write_bytes(b"adapter")
    about = json.loads(note.read_text())
    about["weights"]["adapter"] = weights_digest(adapter)
    note.write_text(json.dumps(about))
    with pytest.raises(BadSettings, match=r"lora \(none\): has weights \(none\), want what .* from, \w{12}"):
        judged(work)
    assert judged(work, {"lora": str(adapter)}).verdict.choices > 30
    (adapter / "adapter_model.safetensors").write_bytes(b"trained again")
    with pytest.raises(BadSettings, match=r"lora .*adapter: has weights \w{12}, want"):
        judged(work, {"lora": str(adapter)})


def test_answers_to_another_wording_are_not_used(work: Path) -> None:
    """The candidate was trained anew with another profile: the answers of the base to the old one are no "before"."""
    judge(work)
    own, note = work.parent / "own.yaml", work / "candidate" / "align.json"
    own.write_text(prompt_profiles.text("mirror-v1").replace("name: mirror-v1", "name: own"))
    about = json.loads(note.read_text())
    note.write_text(json.dumps(about | {"prompt": prompt_profiles.load(str(own)).sha256}))
    with pytest.raises(BadSettings, match=r"before.jsonl: is of another run, which differs in prompt"):
        judged(work, {"prompt_profile": str(own)})


def test_what_is_not_judged_on_is_counted_with_its_reason(work: Path) -> None:
    """Every time, also when all answers are there: the file may have other mistakes than the one of the training."""
    good = json.loads(next(changed_tastes.lines(changed_tastes.events(2, users=1))))
    untimed = {**good["user"], "history": [{"item": {"item_id": "x", "text": "x"}}]}
    outcome = {"outcome_id": "o", "user_id": "u", "variant": "control", "observed_at": good["occurred_at"]}
    click = {"kind": "CLICK", "item_id": good["slates"][0]["items"][0]["item_id"]}
    source = choices(
        work.parent,
        {**good, "event_id": "no outcome"},
        {**good, "event_id": "strange"}, {**outcome, "event_id": "strange", "actions": [{**click, "item_id": "?"}]},
        {**good, "event_id": "untimed", "user": untimed}, {**outcome, "event_id": "untimed", "actions": [click]},
        users=USERS,
    )  # fmt: skip
    for _ in range(2):
        found = judged(work, source=source)
        assert found.read.left_out == {"no_outcome": 1, "not_offered": 1}
        assert found.read.parts["judge"] == found.verdict.choices
        assert sum(found.read.parts.values()) == USERS + 1
        assert found.read.history_not_checked == 1
        assert "line 482: the chosen item '?' is not offered" in found.read.wrong[0]
    told = json.loads((work / "verdict.json").read_text())
    assert (told["left_out"], told["parts"], told["history_not_checked"]) == (found.read.left_out, found.read.parts, 1)


def test_a_promotion_without_room_leaves_nothing(work: Path) -> None:
    (work / "candidate" / "model.safetensors").write_bytes(b"c" * 3_000_000)
    with (
        files_of_at_most(2_000_000),
        pytest.raises(Fatal, match="promoted: File too large; nothing of it was"),
    ):
        judge(work)
    assert not [path.name for path in work.iterdir() if "promoted" in path.name]
    assert judge(work).promoted
    assert (work / "promoted" / "model.safetensors").stat().st_size == 3_000_000


@pytest.mark.parametrize(("name", "is_folder"), [("verdict.json", True), ("promoted", False)])
def test_what_cannot_be_written_is_told_before_anything_is_asked(work: Path, name: str, is_folder: bool) -> None:
    if is_folder:
        (work / name).mkdir()
    else:
        (work / name).touch()
    with pytest.raises(BadSettings, match=rf"{name}: is a (folder|file or a link); want a"):
        judge(work)
    assert not Knowing.asked


def test_without_a_choice_to_judge_on_nothing_is_asked(work: Path) -> None:
    good = next(changed_tastes.lines(changed_tastes.events(2, users=1)))
    path = work.parent / "few.jsonl"
    path.write_bytes(good + b"\n")
    with pytest.raises(
        BadSettings, match=r"few.jsonl: no choice of a held-out user on a later day \(1 no_outcome\); noth"
    ):
        judge(work, source=ChoiceSource(Files(path)))
    assert not Knowing.asked
