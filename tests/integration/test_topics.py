"""A topic is its id, not its name: what a worker and every other reader make of topics that change under them."""

import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.answered import responses, send as send_responses
from tests.support.events import encode, event_id, impression
from tests.support.harness import Stage, Worker, send, send_raw
from tests.support.judge import Judge
from tests.support.patience import patience
from worker.experiment.store.database import State

WAIT_S = 30.0


def events(*numbers: int) -> list[dict[str, object]]:
    return [impression(number) for number in numbers]


def delete(stage: Stage, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    admin.delete_topics([topic])[topic].result(patience(WAIT_S))


def make(stage: Stage, topic: str, partitions: int) -> None:
    """Make a topic whose namesake may still be on its way out."""
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    deadline_s = time.monotonic() + patience(WAIT_S)
    while True:
        try:
            admin.create_topics([NewTopic(topic, partitions)])[topic].result(patience(WAIT_S))
        except KafkaException:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        else:
            return


def make_anew(stage: Stage, topic: str, *, partitions: int = 1) -> None:
    delete(stage, topic)
    make(stage, topic, partitions)


def value(number: int) -> bytes:
    return encode(impression(number))


def answered(judge: Judge) -> list[str]:
    """Return the events that were answered, one entry an answer to the duel."""
    return sorted(one["event_id"] for one in judge.answers() if one["question"] == "DUEL")


def ids(numbers: Iterable[int]) -> list[str]:
    return sorted(map(event_id, numbers))


def until_answered(worker: Worker, judge: Judge, numbers: Iterable[int]) -> None:
    wanted = ids(numbers)
    worker.until(lambda: answered(judge) == wanted, f"{len(wanted)} events answered, each once")


@pytest.mark.parametrize(
    ("protocol", "before", "after", "num_new"),
    [
        pytest.param("classic", 1, 1, 20, id="shorter-classic"),
        pytest.param("classic", 1, 3, 60, id="wider-classic"),
        pytest.param("classic", 4, 1, 20, id="narrower-classic"),
        pytest.param("consumer", 1, 3, 60, id="wider-consumer"),
        pytest.param("consumer", 1, 1, 20, id="shorter-consumer", marks=pytest.mark.long),
        pytest.param("consumer", 4, 1, 20, id="narrower-consumer", marks=pytest.mark.long),
    ],
)
def test_a_topic_made_anew_under_a_worker_is_read_from_its_start(  # noqa: PLR0917 - two fixtures, four parameters
    stage: Stage, judge: Judge, protocol: str, before: int, after: int, num_new: int
) -> None:
    stage.create(partitions=before)
    with stage.worker(on_data_loss="skip", group_protocol=protocol, start_from="latest") as worker:
        worker.until_ready()
        send(stage, events(*range(30)))
        until_answered(worker, judge, range(30))
        make_anew(stage, stage.topic, partitions=after)
        send(stage, events(*range(100, 100 + num_new)))
        until_answered(worker, judge, [*range(30), *range(100, 100 + num_new)])
        worker.until(lambda: worker.page("/readyz")[0] == 200, "ready worker")
        assert worker.metric("topic_changes_total") >= 1
        assert f"{stage.topic} was recreated: its id is" in worker.log


@pytest.mark.parametrize("protocol", ["classic", pytest.param("consumer", marks=pytest.mark.long)])
def test_a_topic_made_anew_stops_a_worker_over_restarts_until_somebody_decides(
    stage: Stage, judge: Judge, protocol: str
) -> None:
    """`start_from=latest` is what skipped the new topic's records at the second start."""
    stage.create(partitions=1)
    stage.module = "tests.support.hasty"
    own = {"on_data_loss": "stop", "group_protocol": protocol, "start_from": "latest"}
    with stage.worker(**own) as worker:
        worker.until_ready()
        send(stage, events(*range(30)))
        until_answered(worker, judge, range(30))
        make_anew(stage, stage.topic)
        send(stage, events(*range(100, 120)))
        worker.until(lambda: worker.metric("topic_held") == 1, "held topic")
        status, why = worker.page("/readyz")
        assert status == 503
        assert f"topic {stage.topic} was recreated" in why
        assert worker.exit_code(patience(WAIT_S)) == 1
    stage.variables = {"TOLD_S": "0.1"}  # nobody looks at what it says
    for _ in range(2):
        assert stage.run(**own).process.returncode == 1
    assert answered(judge) == ids(range(30))
    with stage.worker(**{**own, "on_data_loss": "skip"}) as worker:
        until_answered(worker, judge, [*range(30), *range(100, 120)])
        assert worker.stop() == 0
    with stage.worker(**own) as worker:  # decided: it stays so
        worker.until_ready()
        send(stage, events(200))
        until_answered(worker, judge, [*range(30), *range(100, 120), 200])


def test_a_topic_made_anew_between_two_starts_is_no_first_start(stage: Stage, judge: Judge) -> None:
    """Kafka deletes the group's offsets with the topic: nothing of it is left but the group's memory."""
    stage.create(partitions=2)
    with stage.worker(start_from="latest") as worker:
        worker.until_ready()
        send(stage, events(*range(10)))
        until_answered(worker, judge, range(10))
        assert worker.stop() == 0
    make_anew(stage, stage.topic, partitions=2)
    send(stage, events(*range(100, 130)))
    with stage.worker(start_from="latest", on_data_loss="skip") as worker:
        until_answered(worker, judge, [*range(10), *range(100, 130)])


@pytest.mark.parametrize("made_anew", ["dead_letters", "responses"])
def test_the_memory_of_topics_outlives_one_of_the_two_that_it_stands_on(
    stage: Stage, judge: Judge, made_anew: str
) -> None:
    stage.create(partitions=1)
    with stage.worker(start_from="latest") as worker:
        worker.until_ready()
        send(stage, events(*range(5)))
        until_answered(worker, judge, range(5))
        assert worker.stop() == 0
    before = [] if made_anew == "responses" else list(range(5))
    make_anew(stage, getattr(stage, made_anew))
    make_anew(stage, stage.topic)
    send(stage, events(*range(100, 110)))
    with stage.worker(start_from="latest", on_data_loss="skip") as worker:
        until_answered(worker, judge, [*before, *range(100, 110)])


def test_deleted_dead_letters_keep_no_partition_from_being_read(stage: Stage, judge: Judge) -> None:
    """The group's memory goes with them; a rebalance writes it again."""
    stage.create(partitions=2)
    with stage.worker() as worker, stage.worker() as other:
        other.until(lambda: other.metric("assigned_partitions") == 1, "a partition of its own")
        delete(stage, stage.dead_letters)
        assert other.stop() == 0  # its partition moves at once, not after its session
        send(stage, events(*range(20)))
        until_answered(worker, judge, range(20))


@pytest.mark.parametrize("where", ["below the start", "beyond the end"])
def test_a_position_that_is_gone_is_said_and_what_is_there_is_answered(stage: Stage, judge: Judge, where: str) -> None:
    stage.create(partitions=1)
    send(stage, events(*range(10)))
    assert stage.run("--until-end", "--to", "2000-01-01T00:00Z").process.returncode == 0  # commits the start
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    if where == "below the start":
        for future in admin.delete_records([TopicPartition(stage.topic, 0, 4)]).values():
            future.result(patience(WAIT_S))
    else:
        wanted = [ConsumerGroupTopicPartitions(stage.name, [TopicPartition(stage.topic, 0, 100)])]
        for future in admin.alter_consumer_group_offsets(wanted).values():
            future.result(patience(WAIT_S))
    first = 4 if where == "below the start" else 0
    with stage.worker(on_data_loss="skip") as worker:
        until_answered(worker, judge, range(first, 10))
        assert "its position no longer exists" in worker.log
        assert worker.metric("topic_changes_total") == 1


def test_a_deleted_topic_holds_up_no_other(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    other = f"{stage.name}-other"
    stage.create_topic(other)
    with stage.worker(input_topics=f"{stage.topic},{other}", on_data_loss="skip") as worker:
        worker.until(lambda: worker.metric("assigned_partitions") == 2, "both topics")
        send(stage, events(*range(10)))
        until_answered(worker, judge, range(10))
        delete(stage, other)
        worker.until(lambda: worker.page("/readyz") == (503, f"topic {other} does not exist\n"), "unready worker")
        assert worker.metric("topic_held") == 1
        send(stage, events(*range(10, 20)))
        until_answered(worker, judge, range(20))
        make(stage, other, 1)
        send_raw(stage, [(b"k", value(30))], topic=other)
        until_answered(worker, judge, [*range(20), 30])
        worker.until(lambda: worker.page("/readyz")[0] == 200, "ready worker")
        assert worker.metric("topic_held") == 0


def test_a_backfill_of_a_topic_made_anew_is_refused_or_reads_all_of_it(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    send(stage, events(*range(10)))
    assert stage.run("--until-end").process.returncode == 0
    make_anew(stage, stage.topic)
    send(stage, events(*range(100, 105)))
    refused = stage.run("--until-end")
    assert refused.process.returncode == 1
    assert "was recreated" in refused.log
    assert stage.run("--until-end", on_data_loss="skip").process.returncode == 0
    assert answered(judge) == ids([*range(10), *range(100, 105)])


def test_a_topic_that_is_born_later_under_a_pattern_is_read_from_its_start(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    own = {"input_topics": f"^{stage.name}-in.*", "start_from": "latest",
           "kafka_options": {"topic.metadata.refresh.interval.ms": "1000"}}  # fmt: skip
    with stage.worker(**own) as worker:
        worker.until_ready()
        assert f"input topics: {stage.topic}" in worker.log
        later = f"{stage.topic}-later"
        stage.create_topic(later)
        send_raw(stage, [(b"k", value(number)) for number in range(20)], topic=later)
        until_answered(worker, judge, range(20))
        assert worker.stop() == 0
    even_later = f"{stage.topic}-even-later"
    stage.create_topic(even_later)
    send_raw(stage, [(b"k", value(30))], topic=even_later)
    with stage.worker(**own) as worker:  # nor is it skipped if nobody ran when it was born
        until_answered(worker, judge, [*range(20), 30])


@pytest.mark.parametrize("lost", ["group", "topics"])
def test_a_memory_that_is_lost_under_a_worker_makes_no_topic_a_first_start(
    stage: Stage, judge: Judge, lost: str
) -> None:
    stage.create(partitions=1)
    own = {"input_topics": f"^{stage.name}-in.*", "start_from": "latest",
           "kafka_options": {"topic.metadata.refresh.interval.ms": "1000"}}  # fmt: skip
    with stage.worker(**own) as worker:
        worker.until_ready()
        if lost == "group":
            admin = AdminClient({"bootstrap.servers": stage.bootstrap})
            admin.delete_consumer_groups([f"{stage.name}-topics"])[f"{stage.name}-topics"].result(patience(WAIT_S))
        else:
            make_anew(stage, stage.dead_letters)
            make_anew(stage, stage.responses)
        later = f"{stage.topic}-later"
        stage.create_topic(later)
        send_raw(stage, [(b"k", value(number)) for number in range(20)], topic=later)
        until_answered(worker, judge, range(20))


@pytest.mark.parametrize("pattern", [True, False], ids=["pattern", "name"])
def test_a_topic_that_a_worker_waits_for_is_read_from_its_start(stage: Stage, judge: Judge, *, pattern: bool) -> None:
    for topic in (stage.responses, stage.dead_letters):
        stage.create_topic(topic)
    with stage.worker(start_from="latest", input_topics=f"^{stage.name}-i.*" if pattern else stage.topic) as worker:
        worker.until(lambda: "next try in" in worker.log, "a worker that waits")
        stage.create_topic(stage.topic)
        send_raw(stage, [(b"k", value(number)) for number in range(20)])
        until_answered(worker, judge, range(20))


def test_a_topic_born_while_the_patterns_were_edited_is_read_from_its_start(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    own = {"start_from": "latest"}
    with stage.worker(**own, input_topics=f"^{stage.name}-in.*") as worker:
        worker.until_ready()
        assert worker.stop() == 0
    for topic in (f"{stage.topic}-b", f"{stage.name}-other"):
        stage.create_topic(topic)
        send_raw(stage, [(b"k", value(1 if topic.endswith("other") else 2))], topic=topic)
    with stage.worker(**own, input_topics=f"^{stage.name}-in.*,{stage.name}-other") as worker:
        until_answered(worker, judge, [2])  # `other` is new to the group: it starts at its end


def test_offsets_that_somebody_deleted_are_a_start_from_the_beginning(stage: Stage, judge: Judge) -> None:
    """To delete a group is how people let a worker begin anew: `start_from` holds, not what the group remembers."""
    stage.create(partitions=1)
    send(stage, events(*range(5)))
    assert stage.run("--until-end", start_from="earliest").process.returncode == 0
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    admin.delete_consumer_groups([stage.name])[stage.name].result(patience(WAIT_S))
    with stage.worker(start_from="latest") as worker:
        worker.until_ready()
        send(stage, events(100))
        until_answered(worker, judge, [*range(5), 100])


def test_an_experiment_reader_tells_a_topic_made_anew_from_one_that_grew(stage: Stage, tmp_path: Path) -> None:
    stage.create_topic(stage.responses)
    assert send_responses(stage.bootstrap, stage.responses, responses(40)) == 120
    path = tmp_path / "shelf.db"
    state = ["--state", str(path)]

    def read(**settings: object) -> int:
        done = stage.command("experiment", "report", *state, **settings)
        assert done.returncode == 0, done.stderr
        state_file = State(path)
        try:
            return state_file.health()["read"]
        finally:
            state_file.close()

    assert read() == 120
    make_anew(stage, stage.responses)
    assert send_responses(stage.bootstrap, stage.responses, responses(60, seed=2)) == 180
    refused = stage.command("experiment", "report", *state)
    assert refused.returncode == 1
    assert f"topic {stage.responses} was recreated" in refused.stderr
    assert read(on_data_loss="skip") == 300
    assert read() == 300  # decided: it stays so


def test_a_replay_of_dead_letters_that_were_made_anew_puts_none_back_unasked(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    send_raw(stage, [(b"k", b"bad")])
    assert stage.run("--until-end").process.returncode == 0
    first = stage.command("dlq", "replay", "--from-start", "--json")
    assert first.returncode == 0, first.stderr
    make_anew(stage, stage.dead_letters)
    send_raw(stage, [(b"k", b"bad too")])
    assert stage.run("--until-end").process.returncode == 0
    second = stage.command("dlq", "replay")
    assert second.returncode == 1
    assert "has no position" in second.stderr
