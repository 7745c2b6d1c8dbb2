"""`align collect` from a real Kafka: the offsets are bounds, a killed run reads the same, what is wrong is counted."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import Stage, send_raw
from worker.core.codec.avro_encoder import Encoder, plain
from worker.core.errors import BadSettings
from worker.demo.real_choices import choices
from worker.offline.align import topic_choices
from worker.offline.align.choice_source import hashed
from worker.offline.align.topic_choices import FILE, TopicTime
from worker.offline.evaluate import signed_lines
from worker.offline.evaluate.reading import Files, RealChoices
from worker.settings import Settings, load

PAIRS = list(choices(1, num_users=30))  # two events of each user
MINUTE_MS = 60_000
START_MS = 1_767_225_600_000


class Killed(Exception):
    """The process died here."""


@pytest.fixture
def outcomes(stage: Stage) -> str:
    """Return the topic of outcomes; both topics have the first 40 choices, one per minute."""
    name = f"{stage.name}-outcomes"
    stage.create(partitions=2)
    stage.create_topic(name, partitions=2)
    send(stage, name, PAIRS[:40])
    return name


def send(stage: Stage, outcomes: str, pairs: Sequence[tuple[Any, Any]], *, start_ms: int = START_MS) -> None:
    both = (Encoder("RecommendationImpression"), Encoder("Outcome"))
    for at, (topic, encoder) in enumerate(zip((stage.topic, outcomes), both, strict=True)):
        keyed = [(pair[at].user_id if at else pair[at].user.user_id, pair[at]) for pair in pairs]
        records = [(key.encode(), encoder.encode(plain(one))) for key, one in keyed]
        send_raw(stage, records, topic=topic, start_ms=start_ms, step_ms=MINUTE_MS)


def settings(stage: Stage) -> Settings:
    return load(None, stage.settings())


def found(folder: Path) -> list[str]:
    """Return the events of the file that are real choices."""
    files = Files(folder / FILE)
    return sorted(one.impression.event_id for one in RealChoices(files, index=folder / "index"))


def test_topics_become_a_file_that_every_step_reads(stage: Stage, outcomes: str, tmp_path: Path) -> None:
    counts = topic_choices.write(tmp_path, settings(stage), TopicTime(outcomes))
    assert (counts.impressions, counts.outcomes, dict(counts.left_out)) == (40, 40, {})
    assert found(tmp_path) == sorted(shown.event_id for shown, _ in PAIRS[:40])
    by_event = {shown.event_id: outcome.actions[0].item_id for shown, outcome in PAIRS}
    for one in RealChoices(Files(tmp_path / FILE), index=tmp_path / "index"):
        assert {item for item, _ in one.chosen} == {by_event[one.impression.event_id]}
    again = topic_choices.write(tmp_path, settings(stage), TopicTime(outcomes))
    assert again == counts  # nothing is read again


def test_a_run_that_was_killed_reads_the_same_offsets_again(
    stage: Stage, outcomes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More choices arrive meanwhile: they are of another run."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    topic_choices.write(whole, settings(stage), TopicTime(outcomes))
    monkeypatch.setattr(topic_choices, "TELL_EVERY", 1)
    for at in (1, 25, 60):

        def die(_: str, number: int, at: int = at) -> None:
            if number == at:
                raise Killed

        with pytest.raises(Killed):
            topic_choices.write(killed, settings(stage), TopicTime(outcomes), tell=die)
        assert not (killed / FILE).exists()
    send(stage, outcomes, PAIRS[40:])
    topic_choices.write(killed, settings(stage), TopicTime(outcomes))
    assert (killed / FILE).read_bytes() == (whole / FILE).read_bytes()


def test_a_time_bounds_the_impressions_and_their_outcomes_come_along(
    stage: Stage, outcomes: str, tmp_path: Path
) -> None:
    time = TopicTime(outcomes, START_MS + 10 * MINUTE_MS, START_MS + 20 * MINUTE_MS)
    counts = topic_choices.write(tmp_path, settings(stage), time)
    assert counts.impressions == 10
    assert counts.outcomes == 30  # of that minute and of the day after
    assert found(tmp_path) == sorted(shown.event_id for shown, _ in PAIRS[10:20])


def test_a_clock_that_is_ahead_hides_nothing_of_a_time(stage: Stage, outcomes: str, tmp_path: Path) -> None:
    """Of a producer that writes microseconds: Kafka would end the time at its first record, and later ones are in it.

    A clock that is late is in no time but its own.
    """
    send(stage, outcomes, PAIRS[40:44], start_ms=START_MS * 1_000)
    send(stage, outcomes, PAIRS[44:48], start_ms=START_MS // 1_000)
    send(stage, outcomes, PAIRS[48:], start_ms=START_MS + 40 * MINUTE_MS)
    time = TopicTime(outcomes, START_MS + 30 * MINUTE_MS, START_MS + 50 * MINUTE_MS)
    counts = topic_choices.write(tmp_path, settings(stage), time)
    assert counts.impressions == 20
    assert found(tmp_path) == sorted(shown.event_id for shown, _ in [*PAIRS[30:40], *PAIRS[48:58]])


def test_two_collections_do_not_write_one_file(stage: Stage, outcomes: str, tmp_path: Path) -> None:
    """The second would cut what the first has written."""
    (tmp_path / f"{FILE}.part").write_text("half")
    with (tmp_path / f"{FILE}.part").open("ab") as other:
        signed_lines.lock(other, tmp_path)
        with pytest.raises(BadSettings, match=r"choices.jsonl.part: another process is writing to it"):
            topic_choices.write(tmp_path, settings(stage), TopicTime(outcomes))
    assert (tmp_path / f"{FILE}.part").read_text() == "half"
    assert topic_choices.write(tmp_path, settings(stage), TopicTime(outcomes)).impressions == 40
    assert len(found(tmp_path)) == 40


def test_forgotten_users_are_not_written_and_another_list_is_another_run(
    stage: Stage, outcomes: str, tmp_path: Path
) -> None:
    """The hashes of those who were met are noted, so that `collect`, which reads the file, does not miss them."""
    user = PAIRS[0][0].user.user_id
    for _ in range(2):
        counts = topic_choices.write(tmp_path, settings(stage), TopicTime(outcomes), forget=frozenset({user, "typo"}))
        assert counts.gone == {hashed(user)}
    assert user not in (tmp_path / FILE).read_text()
    assert user not in (tmp_path / topic_choices.NOTE).read_text()
    assert len(found(tmp_path)) == 40 - sum(shown.user.user_id == user for shown, _ in PAIRS[:40])
    with pytest.raises(BadSettings, match=r"choices.topics.json: is of other choices, which differ in forgotten"):
        topic_choices.write(tmp_path, settings(stage), TopicTime(outcomes))


def test_records_that_are_nothing_are_counted_and_told_with_their_place(
    stage: Stage, outcomes: str, tmp_path: Path
) -> None:
    """Nothing else is lost for them: not an impression, no Avro at all, no value, and an outcome of another schema."""
    send_raw(stage, [(b"k", b"nonsense"), (b"k", None)])
    send_raw(stage, [(b"k", Encoder("RecommendationImpression").encode(plain(PAIRS[0][0])))], topic=outcomes)
    counts = topic_choices.write(tmp_path, settings(stage), TopicTime(outcomes))
    assert (counts.impressions, counts.outcomes) == (40, 40)
    assert sum(counts.left_out.values()) == 3
    assert counts.left_out["tombstone"] == 1
    assert len(counts.told) == 2
    assert any(one.startswith(f"{stage.topic}[") for one in counts.told)
    assert any(one.startswith(f"{outcomes}[") for one in counts.told)
    assert len(found(tmp_path)) == 40


def test_records_that_have_expired_since_a_killed_run_are_told(stage: Stage, outcomes: str, tmp_path: Path) -> None:
    topic_choices.write(tmp_path, settings(stage), TopicTime(outcomes))
    (tmp_path / FILE).unlink()
    note = tmp_path / topic_choices.NOTE
    content = json.loads(note.read_text())
    content["spans"] = [[topic, number, first, end + 1_000] for topic, number, first, end in content["spans"]]
    note.write_text(json.dumps(content))
    with pytest.raises(BadSettings, match=r"were to be read, and the topic has 0 to \d+: records have expired"):
        topic_choices.write(tmp_path, settings(stage), TopicTime(outcomes))
    assert not (tmp_path / FILE).exists()


def test_somebodys_own_file_is_not_written_over(stage: Stage, outcomes: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("mine")
    with pytest.raises(BadSettings, match="is there, and was not read from topics; want another --work folder"):
        topic_choices.write(tmp_path, settings(stage), TopicTime(outcomes))
    assert (tmp_path / FILE).read_text() == "mine"
