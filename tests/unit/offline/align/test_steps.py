"""Collect and select on files: what is asked, what is kept, what a kill leaves, what is refused."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.full_disk import files_of_at_most
from worker.core.errors import BadSettings, EngineDead, Fatal
from worker.core.prompts.prompt import Prompt
from worker.core.seeding import unit
from worker.core.simulation.draws import Ask, Drawn, EngineCard
from worker.core.simulation.questions import Status
from worker.demo import changed_tastes
from worker.demo.scenes import name as _name
from worker.offline.align import files, steps
from worker.offline.align.choice_source import ChoiceSource, hashed
from worker.offline.align.select import By
from worker.offline.evaluate.reading import Files
from worker.settings import Settings, load

USERS = 160
DIVISION = steps.Division(held_out_users=0.5, later_share=0.5)
WHOLE = (
    " I wait.\nStimulus Factors: Boredom\nKnowledge: a\nKnowledge Factors: Price, Quality\n"
    "Evaluation: b\nEvaluation Style: Logical\n"
)


class FakeEngine:
    """Answers by a hash of prompt and seed; the weak one is less sure.  Dies after `lives` draws."""

    def __init__(self, settings: Settings, *, lives: int = 10**9) -> None:
        self.sure = 6.0 if settings.model == "strong" else 1.0
        self.card = EngineCard("fake", "1", settings.model, None, {}, reads_prompt=True, max_prompt_tokens=100_000)
        self.lives, self.prompts = lives, list[str]()

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def probe(self) -> None:
        pass

    def on_step(self, report: Callable[[int, int], None], /) -> None:
        pass

    def tokenise(self, prompt: Prompt) -> tuple[int, ...]:
        self.prompts.append(prompt.user)
        return tuple(prompt.user.encode())

    async def draw(self, ask: Ask) -> Drawn:
        self.lives -= 1
        if self.lives < 0:
            raise EngineDead("gone")
        weights = [2 ** (self.sure * unit(str(hash(ask.prompt_ids)), str(ask.seed), str(at))) for at in ask.order]
        letters = tuple(one / sum(weights) for one in weights)
        return Drawn(Status.OK, letters, letter_mass=1.0, text=WHOLE)


def choices(folder: Path, *more: dict[str, Any], users: int = USERS) -> ChoiceSource:
    path = folder / "choices.jsonl"
    own = [json.dumps(one).encode() for one in more]
    lines = [*changed_tastes.lines(changed_tastes.events(1, users=users)), *own]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return ChoiceSource(Files(path))


def arms(**more: str) -> dict[str, Settings]:
    return {name: load(None, {"model": name, "draws": "4"} | more) for name in ("strong", "weak")}


def collected(folder: Path, source: ChoiceSource, **more: Any) -> steps.Collected:
    return steps.collect(folder / "work", source, arms(), DIVISION, **{"make": FakeEngine} | more)


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return list(files.read(folder / "work" / name, "collect")[1])


def test_all_draws_of_a_scene_answer_one_prompt_with_the_options_in_one_order(tmp_path: Path) -> None:
    source = choices(tmp_path)
    found = collected(tmp_path, source)
    strong, weak = lines(tmp_path, "strong.jsonl"), lines(tmp_path, "weak.jsonl")
    assert len(strong) == len(weak) == found.read.parts["train"] > 30
    assert found.statuses["strong"] == {"OK": 4 * len(strong)}
    events = {one.impression.event_id: one for one in changed_tastes.events(1, users=USERS)}
    titles = {_name(item) for one in events.values() for item in one.impression.slates[0].items}
    for mine, theirs in zip(strong, weak, strict=True):
        assert mine["prompt"] == theirs["prompt"]
        assert len(mine["draws"]) == 4
        assert sum(title in mine["prompt"]["user"] for title in titles) >= 4
    # The real choice has its own letter: the line that it stands for is the item that was clicked.
    one = strong[0]
    event = list(events.values())[(one["line"] - 1) // 2]
    title = _name(event.impression.slates[0].items[event.chosen])
    letter = "ABCD"[one["chosen"][0]]
    assert title in one["prompt"]["user"].split(f"[{letter}] ")[1].split("\n")[0]
    assert len({tuple(line["chosen"]) for line in strong}) == 4


def test_no_file_holds_a_users_id(tmp_path: Path) -> None:
    collected(tmp_path, choices(tmp_path))
    steps.select(tmp_path / "work", by=By.UNCERTAINTY, keep=0, seed=0)
    for path in (tmp_path / "work").iterdir():
        assert b"user-1-" not in path.read_bytes()


def test_a_run_that_was_killed_anywhere_leaves_the_same_bytes(tmp_path: Path) -> None:
    """What stands in the file after a kill is a beginning of what an undisturbed run writes; ten of them are tried."""
    source = choices(tmp_path)
    collected(tmp_path, source)
    place = tmp_path / "work" / "strong.jsonl"
    whole, rng = place.read_bytes(), random.Random(1)
    for _ in range(10):
        place.unlink()
        place.with_name("strong.jsonl.part").write_bytes(whole[: rng.randrange(len(whole))])
        collected(tmp_path, source)
        assert place.read_bytes() == whole


def test_what_was_answered_before_the_engine_died_is_kept(tmp_path: Path) -> None:
    source = choices(tmp_path, users=400)  # more than one chunk to train on
    with pytest.raises(EngineDead):
        collected(tmp_path, source, make=lambda settings: FakeEngine(settings, lives=4 * 70))
    assert not (tmp_path / "work" / "strong.jsonl").exists()
    made: list[FakeEngine] = []

    def make(settings: Settings) -> FakeEngine:
        made.append(FakeEngine(settings))
        return made[-1]

    found = collected(tmp_path, source, make=make)
    assert len(made[0].prompts) < len(made[1].prompts) == 4 * found.read.parts["train"]
    assert made[0].lives > made[1].lives  # the first chunk was not asked again


def test_a_step_that_is_done_starts_no_engine(tmp_path: Path) -> None:
    source = choices(tmp_path)
    first = collected(tmp_path, source)

    def make(settings: Settings) -> FakeEngine:
        raise AssertionError(settings)

    assert collected(tmp_path, source, make=make) == first


def test_files_of_other_choices_or_settings_are_not_mixed(tmp_path: Path) -> None:
    collected(tmp_path, choices(tmp_path))
    with pytest.raises(BadSettings, match=r"strong.jsonl: is of another run, which differs in choices"):
        collected(tmp_path, choices(tmp_path, users=USERS + 1))
    with pytest.raises(BadSettings, match="differs in settings; want another --work folder, or delete it"):
        steps.collect(tmp_path / "work", choices(tmp_path), arms(temperature="0.5"), DIVISION, make=FakeEngine)


def test_a_forgotten_user_is_in_nothing(tmp_path: Path) -> None:
    source = choices(tmp_path)
    collected(tmp_path, source)
    trained = lines(tmp_path, "strong.jsonl")
    event = changed_tastes.events(1, users=USERS)[(trained[0]["line"] - 1) // 2]
    user = event.impression.user.user_id
    found = steps.select(tmp_path / "work", by=By.RANDOM, keep=0, seed=0, forget=frozenset({user}))
    assert (found.left_out["forgotten"], found.unknown) == (1, ())
    (tmp_path / "again").mkdir()
    collected(tmp_path / "again", replace(source, forget=frozenset({user})))
    assert [one["digest"] for one in lines(tmp_path / "again", "strong.jsonl")] == [
        one["digest"] for one in trained[1:]
    ]


SCENE = {"text": {"profile": "p", "history": "A", "action_list": ["x", "y", "z"]}, "item_pos": 1}


def test_a_user_to_forget_who_is_in_no_choice_is_told(tmp_path: Path) -> None:
    """Such as a scene's user without the name of the data set; what a step has left out is no riddle to the next."""
    known = "user-1-000003"
    scenes = [
        {**SCENE, "dataset": name, "user_id": 7, "timestamp": "2026-01-01 00:00:00"} for name in ("MIND", "ml-1m")
    ]
    source = replace(choices(tmp_path, *scenes), forget=frozenset({"7", "nobody", known}))
    found = collected(tmp_path, source)
    assert list(map(str, found.read.unknown)) == [
        "--forget 7: is in no choice; did you mean MIND/7 or ml-1m/7?", "--forget nobody: is in no choice"
    ]  # fmt: skip
    assert sum(found.read.parts.values()) == USERS + 2 - 1
    work = tmp_path / "work"
    again = steps.select(work, by=By.RANDOM, keep=0, seed=0, forget=source.forget)
    assert [one.user_id for one in again.unknown] == ["7", "nobody"]
    header = files.read(work / "selected.jsonl", "select")[0]
    assert header["forgotten"] == sorted(map(hashed, source.forget))
    assert header["unknown"] == sorted(map(hashed, ("7", "nobody")))


def test_a_scenes_user_is_suggested_by_hashes_too(tmp_path: Path) -> None:
    """The files of `collect` have no ids; the id with the name of a data set has the hash of one that they have."""
    scenes = [
        {**SCENE, "dataset": "MIND", "user_id": number, "timestamp": "2026-01-01 00:00:00"} for number in range(40)
    ]
    collected(tmp_path, choices(tmp_path, *scenes))
    trained = {line["user"] for line in lines(tmp_path, "strong.jsonl")}
    number = next(one for one in range(40) if hashed(f"MIND/{one}") in trained)
    found = steps.select(tmp_path / "work", by=By.RANDOM, keep=0, seed=0, forget=frozenset({str(number)}))
    assert list(map(str, found.unknown)) == [f"--forget {number}: is in no choice; did you mean MIND/{number}?"]
    assert "forgotten" not in found.left_out


def test_a_user_who_was_left_out_of_the_file_of_topics_is_known(tmp_path: Path) -> None:
    source = replace(choices(tmp_path), forget=frozenset({"left out"}), gone=frozenset({hashed("left out")}))
    assert collected(tmp_path, source).read.unknown == ()


def test_a_disk_without_room_is_told_with_the_file_and_the_run_goes_on_later(tmp_path: Path) -> None:
    source = choices(tmp_path)
    collected(tmp_path, source)
    place = tmp_path / "work" / "strong.jsonl"
    whole = place.read_bytes()
    place.unlink()
    kept = "what was written before is kept, so the same command goes on from there"
    room = len(whole) // 2
    with files_of_at_most(room), pytest.raises(Fatal, match=rf"strong.jsonl.part: File too large; {kept}"):
        collected(tmp_path, source)
    assert not place.exists()
    collected(tmp_path, source)
    assert place.read_bytes() == whole


@pytest.mark.parametrize("name", ["strong.jsonl", "weak.jsonl.part", ".outcomes.sqlite"])
def test_a_folder_in_the_place_of_a_file_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "work" / name).mkdir(parents=True)
    with pytest.raises(BadSettings, match=rf"work/{name}: (is a folder|Is a directory); want a "):
        collected(tmp_path, choices(tmp_path))


def test_a_selection_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    collected(tmp_path, choices(tmp_path))
    path = tmp_path / "work" / "selected.jsonl"
    steps.select(tmp_path / "work", by=By.RANDOM, keep=20, seed=3)
    before = path.read_bytes()
    with files_of_at_most(len(before) // 2), pytest.raises(Fatal, match=r"selected.jsonl.part: File too large; "):
        steps.select(tmp_path / "work", by=By.UNCERTAINTY, keep=20, seed=3)
    assert path.read_bytes() == before
    assert not path.with_name("selected.jsonl.part").exists()


def test_redaction_is_what_the_engine_reads_and_what_is_kept(tmp_path: Path) -> None:
    made: list[FakeEngine] = []

    def make(settings: Settings) -> FakeEngine:
        made.append(FakeEngine(settings))
        return made[-1]

    def redact(text: str) -> str:
        return text.replace("Midnight", "[redacted]").replace("I wait", "[redacted]")

    collected(tmp_path, choices(tmp_path), make=make, redact=redact, redact_name="tests:redact")
    texts = (tmp_path / "work" / "strong.jsonl").read_text()
    assert "[redacted]" in texts
    assert "Midnight" not in texts
    assert "I wait" not in texts


def test_lines_that_are_no_choice_are_told_with_their_place_and_counted(tmp_path: Path) -> None:
    good = json.loads(next(changed_tastes.lines(changed_tastes.events(2, users=1))))
    late = {**good, "event_id": "late", "user": {**good["user"], "history": [
        {"item": {"item_id": "x", "text": "x"}, "occurred_at": good["occurred_at"]}]}}  # fmt: skip
    outcome = {"outcome_id": "o", "user_id": "u", "variant": "control", "observed_at": good["occurred_at"]}
    click = {"kind": "CLICK", "item_id": good["slates"][0]["items"][0]["item_id"]}
    source = choices(
        tmp_path,
        {**good, "event_id": "no outcome"},
        {**good, "event_id": "nothing"}, {**outcome, "event_id": "nothing", "actions": []},
        {**good, "event_id": "strange"}, {**outcome, "event_id": "strange", "actions": [{**click, "item_id": "?"}]},
        late, {**outcome, "event_id": "late", "actions": [click]},
        {**outcome, "event_id": "never asked", "actions": [click]},
        {"slates": 1},
    )  # fmt: skip
    found = collected(tmp_path, source)
    assert found.read.left_out == {
        "future_history": 1, "no_choice": 1, "no_event": 1, "no_outcome": 1, "not_offered": 1, "not_read": 1,
    }  # fmt: skip
    told = "\n".join(found.read.wrong)
    assert "line 324: the chosen item '?' is not offered" in told
    assert "line 326: user.history.0.occurred_at: is at or after the event, so it is refused" in told
    with pytest.raises(BadSettings, match=r"choices.jsonl, line 324: .*nothing more was"):
        collected(tmp_path / "strict", source, strict=True)


def test_a_file_without_choices_says_why(tmp_path: Path) -> None:
    path = tmp_path / "choices.jsonl"
    path.write_bytes(next(changed_tastes.lines(changed_tastes.events(2, users=1))) + b"\n")
    with pytest.raises(BadSettings, match=r"no choice is left to train on \(0 choices, 0 .*; 1 no_outcome\)"):
        collected(tmp_path, ChoiceSource(Files(path)))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"engine": "choice-model"}, "strong: engine choice-model writes no rationales to learn from"),
        ({"mode": "direct"}, "strong: mode=direct writes no rationales to learn from; want mode=default"),
    ],
)
def test_a_strong_engine_that_writes_nothing_is_refused(tmp_path: Path, more: dict[str, str], told: str) -> None:
    with pytest.raises(BadSettings, match=told):
        steps.collect(tmp_path, choices(tmp_path), arms(**more), DIVISION, make=FakeEngine)
    assert list(tmp_path.iterdir()) == [tmp_path / "choices.jsonl"]


def test_a_step_says_which_one_comes_before_it(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"strong.jsonl: is not there; run `mirrorstream align collect` first"):
        steps.select(tmp_path, by=By.RANDOM, keep=0, seed=0)
    (tmp_path / "strong.jsonl.part").touch()
    with pytest.raises(BadSettings, match=r"strong.jsonl: is not whole yet; run `mirrorstream align collect` first"):
        steps.select(tmp_path, by=By.RANDOM, keep=0, seed=0)


def test_a_damaged_line_is_told_with_its_place(tmp_path: Path) -> None:
    collected(tmp_path, choices(tmp_path))
    path = tmp_path / "work" / "weak.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"options": 4', b'"options": 5', 1))
    with pytest.raises(Exception, match=r"weak.jsonl, line 2: is damaged; delete the file and run the step again"):
        steps.select(tmp_path / "work", by=By.RANDOM, keep=0, seed=0)


def test_a_rejected_draw_of_the_weak_engine_has_its_own_text(tmp_path: Path) -> None:
    """Option counts are mixed: each scene has letters of its own number, and each number is a stratum."""

    class Wrong(FakeEngine):
        async def draw(self, ask: Ask) -> Drawn:
            found = await super().draw(ask)
            if self.card.model == "strong":
                return found
            letters = tuple(float(slot == 0) for slot in range(len(ask.order)))
            return replace(found, slot_probabilities=letters, text=WHOLE.replace("I wait", "I hurry"))

    source = choices(tmp_path, users=200)
    path = tmp_path / "choices.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    for number, one in enumerate(events):
        clicked = events[number + 1]["actions"][0]["item_id"] if "slates" in one else None
        if "slates" in one and number % 4 == 0:  # every other event has one option less
            items = one["slates"][0]["items"]
            items.remove(next(item for item in items if item["item_id"] != clicked))
            for place, item in enumerate(items):
                item["position"] = place
    path.write_text("".join(json.dumps(one) + "\n" for one in events))
    found = collected(tmp_path, source, make=Wrong)
    assert found.read.left_out == {}
    assert {(line["options"], len(line["draws"][0]["p"])) for line in lines(tmp_path, "strong.jsonl")} == {
        (3, 3), (4, 4),
    }  # fmt: skip
    steps.select(tmp_path / "work", by=By.UNCERTAINTY, keep=20, seed=0)
    picked = lines(tmp_path, "selected.jsonl")
    assert {line["options"] for line in picked} == {3, 4}
    rejected = [line["rejected"]["text"] for line in picked if line["rejected"]]
    assert "I hurry" in "".join(rejected)
    assert not any("I hurry" in line["chosen"]["text"] for line in picked)


def test_selecting_again_with_the_same_words_writes_the_same_bytes(tmp_path: Path) -> None:
    collected(tmp_path, choices(tmp_path))
    path = tmp_path / "work" / "selected.jsonl"
    found = []
    for by in (By.UNCERTAINTY, By.RANDOM, By.UNCERTAINTY):
        steps.select(tmp_path / "work", by=by, keep=20, seed=3)
        found.append(path.read_bytes())
    assert found[0] == found[2] != found[1]
    (path.with_name("selected.jsonl.part")).write_bytes(found[0][: len(found[0]) // 2])  # of a select that was killed
    path.unlink()
    steps.select(tmp_path / "work", by=By.UNCERTAINTY, keep=20, seed=3)
    assert path.read_bytes() == found[0]
