"""A table of finished tests becomes impressions of personas and real lifts, or the row that is wrong is named."""

import json
from pathlib import Path

import pytest

from tests.support.harness import mirrorstream
from worker.cli.finished_tests import FinishedTests, read_personas, read_tests, write_lifts
from worker.core.codec.avro_encoder import Encoder
from worker.core.errors import BadSettings
from worker.core.records import Domain, Impression, Role
from worker.experiment.real_clicks import real_lifts
from worker.system import parquet_files

HEADER = "test,arm,text,shown,clicked,start,domain\n"
BEES = """bees,b,Ten facts about bees,1010,52,2025-03-01,news
bees,control,Why bees matter,1000,31,2025-03-01T12:00:00+02:00,news
bees,c,Bees,500,0,2025-03-02,news
"""
CATS = "cats,first,Cats,80.0,48.0,2025-04-01,\ncats,second,Dogs,70,56,2025-04-01,\n"


def table(tmp_path: Path, content: str, name: str = "tests.csv") -> Path:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


def personas(tmp_path: Path, num: int) -> Path:
    lines = (json.dumps({"user_id": f"p{number}", "profile": {"age": "30"}}) for number in range(num))
    return table(tmp_path, "\n".join(lines), "personas.jsonl")


def impressions(tmp_path: Path, *, num: int = 3, users: int = 0, limit: int = 0) -> list[Impression]:
    tests = read_tests(table(tmp_path, HEADER + BEES + CATS))
    source = FinishedTests(tests, read_personas(personas(tmp_path, num)), users=users, limit=limit)
    return [one for one, _ in source if one is not None]


def test_each_test_is_an_experiment_whose_arms_every_persona_compares(tmp_path: Path) -> None:
    found = impressions(tmp_path)
    assert [(one.experiment_id, one.user.user_id) for one in found] == [
        (test, f"p{number}") for test in ("bees", "cats") for number in range(3)
    ]
    first = found[0]
    roles = [(one.variant, one.role, one.shown) for one in first.slates]
    assert roles == [
        ("control", Role.CONTROL, False),
        ("b", Role.CANDIDATE, False),
        ("c", Role.CANDIDATE, False),
    ]
    assert first.slates[0].items[0].text == "Why bees matter"
    assert (first.domain, first.is_test, first.user.profile) == (Domain.NEWS, False, {"age": "30"})
    assert first.occurred_at == 1_740_787_200_000_000, "want the earliest start of its arms"
    assert [one.variant for one in found[-1].slates] == ["first", "second"], "want the first arm as control"
    assert found[-1].domain is Domain.GENERIC
    assert len({Encoder("RecommendationImpression").encode(one) for one in found}) == 6


def test_the_ids_of_events_are_the_same_every_time_and_never_twice(tmp_path: Path) -> None:
    ids = [one.event_id for one in impressions(tmp_path)]
    assert ids == [one.event_id for one in impressions(tmp_path)]
    assert len(set(ids)) == 6


def test_fewer_users_are_a_part_of_more_and_differ_by_test(tmp_path: Path) -> None:
    def asked(users: int) -> list[set[str]]:
        found = impressions(tmp_path, num=40, users=users)
        return [{one.user.user_id for one in found if one.experiment_id == test} for test in ("bees", "cats")]

    few, more = asked(5), asked(10)
    assert [len(one) for one in few + more] == [5, 5, 10, 10]
    assert all(one < another for one, another in zip(few, more, strict=True))
    assert few[0] != few[1]
    assert len(impressions(tmp_path, num=40, users=5, limit=7)) == 7


def test_too_few_users_for_an_effect_are_told(tmp_path: Path) -> None:
    tests = read_tests(table(tmp_path, HEADER + CATS))
    found = {num: FinishedTests(tests, read_personas(personas(tmp_path, num)), users=0, limit=0) for num in (99, 100)}
    assert found[99].note(None) == "99 users per test: no test gets an effect, at least 100 users are needed for one"
    assert found[100].note(None) == ""


def test_the_real_lift_is_written_with_newcombes_interval(tmp_path: Path) -> None:
    """Newcombe (1998), example (a) by method 10: 56/70 and 48/80 differ by 0.2000 (0.0524 to 0.3339)."""
    path = tmp_path / "real.csv"
    assert write_lifts(path, read_tests(table(tmp_path, HEADER + BEES + CATS))) == 3
    with path.open(encoding="utf-8", newline="") as lines:
        found = real_lifts.read(lines)
    assert [(one.experiment, one.candidate, one.control) for one in found] == [
        ("bees", "b", "control"), ("bees", "c", "control"), ("cats", "second", "first"),
    ]  # fmt: skip
    cats, none_clicked = found[2], found[1]
    assert f"{cats.lift:.4f} ({cats.interval and cats.interval.low:.4f}" == "0.2000 (0.0524"
    assert cats.interval is not None
    assert f"{cats.interval.high:.4f}" == "0.3339"
    assert none_clicked.interval is not None
    assert none_clicked.interval.low < none_clicked.lift < none_clicked.interval.high


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("test,arm,shown,clicked\n", "has no column start, text or items; want a CSV or Parquet table"),
        (HEADER, "has no row"),
        (HEADER + "a,x,X,1,0,2025-01-01,\n", "line 2: test a: 1 rows, want one per arm, of 2 to 16 arms"),
        (HEADER + "a,x,X,1,0,2025-01-01,\na,x,Y,1,0,2025-01-01,\n", "line 2: test a: 2 rows, want one per arm"),
        (HEADER + "a,x,X,1,2,2025-01-01,\na,y,Y,1,0,2025-01-01,\n", "line 2: shown 1, clicked 2"),
        (HEADER + "a,x,X,0,0,2025-01-01,\na,y,Y,1,0,2025-01-01,\n", "line 2: shown 0, clicked 0"),
        (HEADER + "a,x,X,1,0,soon,\na,y,Y,1,0,2025-01-01,\n", "line 2: start 'soon': want a time with its zone"),
        (HEADER + "a,x,X,1,0,2025-01-01 10:00,\na,y,Y,1,0,2025-01-01,\n", "want a time with its zone"),
        (
            HEADER + "a,x,X,1e300,0,2025-01-01,\na,y,Y,1,0,2025-01-01,\n",
            "line 2: shown 1e300: want a whole number, 0 to",
        ),
        (
            'test,arm,items,shown,clicked,start\na,x,"[""\\ud800""]",1,0,2025-01-01\na,y,"[1]",1,0,2025-01-01\n',
            "line 2: items.0: holds half of a character",
        ),
        (HEADER + "a,x,X,many,0,2025-01-01,\na,y,Y,1,0,2025-01-01,\n", "line 2: shown many: want a whole number"),
        (HEADER + "a,x,,1,0,2025-01-01,\na,y,Y,1,0,2025-01-01,\n", "line 2: want a text, or items as a JSON list"),
        (HEADER + "a,x,X,1,0,2025-01-01,film\na,y,Y,1,0,2025-01-01,\n", "test a: domain: want 'movies', 'news'"),
        (HEADER + ",x,X,1,0,2025-01-01,\n", "line 2: test is empty"),
        (HEADER + "a,x,X,1\n", "line 2: too few or too many values"),
        (HEADER + 'a,x,"X,1\n', "is not CSV"),
    ],
)
def test_a_row_that_is_wrong_is_named(tmp_path: Path, content: str, problem: str) -> None:
    with pytest.raises(BadSettings, match=problem):
        read_tests(table(tmp_path, content))


def test_an_arm_may_show_several_items(tmp_path: Path) -> None:
    """A text is an item of its own id, the same in every arm; an object is an item as an impression has it."""
    items = '"[""Heat"", {""item_id"": ""m2"", ""attributes"": {""title"": ""Fargo""}}]"'
    rows = f'a,x,{items},1,0,2025-01-01\na,y,"[""Ronin"", ""Heat""]",1,0,2025-01-01\n'
    [test] = read_tests(table(tmp_path, "test,arm,items,shown,clicked,start\n" + rows))
    control, other = (arm.slate.items for arm in test.arms)
    assert [(one.text, one.position) for one in control] == [("Heat", 0), (None, 1)]
    assert control[1].item_id == "m2"
    assert control[0].item_id == other[1].item_id
    with pytest.raises(BadSettings, match=r"items.0: name: is no field of an item"):
        read_tests(table(tmp_path, 'test,arm,items,shown,clicked,start\na,x,"[{""name"": 1}]",1,0,2025-01-01\n'
                                   'a,y,"[""b""]",1,0,2025-01-01\n'))  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (['{"user_id": "a"}', '{"user_id": "a"}'], "line 2: user_id a stands twice"),
        (['{"id": "a"}'], "line 1: id: is no field of a user"),
        (['{"profile": {}}'], "line 1: user.user_id: is missing"),
        (["[1]"], "is a JSON array"),
        (["user_id,age"], "is CSV: want one JSON object per line, each a user"),
        (['{"user_id": "a", "history": [{"item": {}}]}'], "line 1: user.history.0.item.item_id: is missing"),
    ],
)
def test_a_persona_that_is_wrong_is_named(tmp_path: Path, lines: list[str], problem: str) -> None:
    with pytest.raises(BadSettings, match=problem):
        read_personas(table(tmp_path, "\n".join(lines), "personas.jsonl"))


def test_parquet_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "is_installed", lambda: False)
    with pytest.raises(BadSettings, match=r"tests.parquet: Parquet needs the package pyarrow, .* or give CSV"):
        read_tests(tmp_path / "tests.parquet")


def test_parquet_is_read_row_by_row(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [
        {"test": "a", "arm": arm, "items": [arm, "Z"], "shown": 10, "clicked": 1, "start": "2025-01-01"}
        for arm in ("x", "y")
    ]
    path = tmp_path / "tests.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), path)
    [test] = read_tests(path)
    assert [(arm.slate.variant, arm.shown, len(arm.slate.items)) for arm in test.arms] == [("x", 10, 2), ("y", 10, 2)]
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(BadSettings, match="cannot be read as Parquet"):
        read_tests(path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--finished-tests", "t.csv"), "--finished-tests and --personas need each other"),
        (("file.jsonl", "--personas", "p.jsonl"), "--finished-tests and --personas need each other"),
        (("file.jsonl", "--real-to", "r.csv"), "--users and --real-to need --finished-tests"),
        (("file.jsonl", "--finished-tests", "t.csv", "--personas", "p"), "--finished-tests FILE, one of them"),
        (("--finished-tests", "nosuch.csv", "--personas", "p"), "nosuch.csv: No such file or directory; want a CSV"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words: tuple[str, ...], told: str) -> None:
    done = mirrorstream("replay", *words)
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())
