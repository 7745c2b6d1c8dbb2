"""The command as people meet it: what is wrong is said in words, what is away is waited for."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from typer.testing import CliRunner

from tests.support.events import impression
from tests.support.harness import WAIT_S, Stage, as_flags, environment, mirrorstream, send, until
from tests.support.judge import judge_of
from tests.support.kafka_broker import KafkaCluster
from tests.support.patience import patience
from tools.reference.cli import tree
from worker.cli.main import app

STOP_S = 5.0  # of a worker that holds nothing: 2 s, and time for a machine that is busy


def test_every_command_has_help_with_an_example() -> None:
    found = {words: one for words, one in tree(typer.main.get_command(app)) if not hasattr(one, "commands")}
    assert {("run",), ("check",), ("demo",), ("replay",), ("experiment", "report")} <= found.keys()
    for words, command in found.items():
        shown = CliRunner().invoke(app, [*words, "--help"])
        assert shown.exit_code == 0
        assert f"mirrorstream {' '.join(words)}" in (command.epilog or ""), f"{words}: want an example of itself"
        assert "Example: " in shown.stdout


def test_help_imports_neither_the_model_nor_kafka() -> None:
    code = """
import sys
from typer.testing import CliRunner
from tools.reference.cli import tree
from worker.cli.main import app
for words in ([], ["run"], ["demo"]):
    assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0
print(sorted({"vllm", "torch", "transformers", "confluent_kafka", "numpy"} & sys.modules.keys()))"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=patience(60),
        check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_all_problems_of_the_settings_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "worker.yaml"
    file.write_text("sample_rate: 2\nnot_a_setting: 1\ninput_topics: [responses]\n")
    flags = (
        "draws=0",
        "linger_s",
        f"kafka_secrets={tmp_path}/none",
        "prompt_profile=no-such",
        "static_membership=true",
    )
    words = [word for flag in flags for word in ("--set", flag)]
    done = mirrorstream("run", "--config", str(file), *words, MIRRORSTREAM_DRAW="2", MIRRORSTREAM_SAMPLE_RATES="{a:1}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    told = [
        "sample_rate: ", "not_a_setting: ", "draws: ", "MIRRORSTREAM_DRAW: ", "--set linger_s: want NAME=VALUE",
        "input_topics: responses is a topic this worker writes", "static_membership: needs worker_id",
        "sample_rates: want JSON", "kafka_secrets: ", "prompt profile no-such: ",
    ]  # fmt: skip
    assert [part for part in told if part not in done.stderr] == []


def test_a_flag_wins_over_the_environment_and_that_over_the_file(kafka: KafkaCluster, tmp_path: Path) -> None:
    file = tmp_path / "worker.yaml"
    file.write_text(f"prompt_profile: file\nbootstrap_servers: {kafka.bootstrap_servers}\n")
    words = ("check", "--json", "--config", str(file), "--set", "engine=choice-model")

    def profile(*more: str, **variables: str) -> str:
        lines = json.loads(mirrorstream(*words, *more, **variables).stdout)
        return str(next(line["detail"] for line in lines if line["what"] == "prompt profile"))

    assert "file" in profile()
    assert "environment" in profile(MIRRORSTREAM_PROMPT_PROFILE="environment")
    assert "mirror-v1" in profile("--set", "prompt_profile=mirror-v1", MIRRORSTREAM_PROMPT_PROFILE="environment")


def test_a_worker_waits_for_kafka_says_so_and_starts_by_itself(stage: Stage) -> None:
    later = KafkaCluster()  # its address is known, nothing listens there yet
    stage.bootstrap = later.bootstrap_servers
    with stage.worker() as worker:
        worker.until(lambda: "does not answer" in worker.page("/readyz")[1], "reason why it is not ready")
        assert worker.page("/readyz")[0] == 503
        assert worker.page("/startupz")[0] == 200
        assert worker.page("/livez") == (200, "ok\n")  # a restart would not bring Kafka back
        assert f"Kafka at {stage.bootstrap} does not answer" in worker.log
        with later:
            worker.until(lambda: "mirrorstream topics create" in worker.page("/readyz")[1], "reason of missing topics")
            names = {
                "input_topics": stage.topic,
                "output_topic": stage.responses,
                "dead_letter_topic": stage.dead_letters,
            }
            words = " ".join(f"--set {setting}={name}" for setting, name in names.items())
            command = f"mirrorstream topics create --bootstrap {stage.bootstrap} --partitions 12 {words}"
            assert worker.log.count(f"to create what is missing: {command}\n") == 1
            made = mirrorstream(*command.split()[1:], "--json")
            assert {"topic": stage.topic, "created": True, "partitions": 12} in json.loads(made.stdout)
            send(stage, map(impression, range(10)))
            worker.until_ready()
            judge = judge_of(stage)
            worker.until(judge.all_committed, "commit to the end")
            judge.verdict().assert_exactly_once()
            assert worker.stop() == 0


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_sigterm_ends_a_worker_that_waits_for_kafka(stage: Stage, protocol: str) -> None:
    with stage.worker(bootstrap_servers="127.0.0.1:1", group_protocol=protocol) as worker:
        worker.until(lambda: "nobody listens there" in worker.log, "line about Kafka")
        assert worker.stop(patience(STOP_S, below_s=10)) == 0
        assert "Traceback" not in worker.log


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_sigterm_ends_a_worker_that_asks_an_address_which_never_answers(stage: Stage, protocol: str) -> None:
    """A question is under way when the signal comes, and takes 10 s: nobody waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        with stage.worker(bootstrap_servers=f"{host}:{port}", group_protocol=protocol) as worker:
            silent.settimeout(patience(WAIT_S))
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(patience(WAIT_S))
                worker.until(lambda: "health and metrics" in worker.log, "start")
                connection.recv(1)  # the client asks
                assert worker.stop(patience(STOP_S, below_s=10)) == 0
        assert "Traceback" not in worker.log


def test_a_backfill_of_a_topic_that_is_not_there_ends_at_once(stage: Stage) -> None:
    worker = stage.run("--until-end")
    assert worker.exit_code() == 1
    assert "no topic" in worker.log
    assert stage.topic in worker.log
    assert "next try" not in worker.log


def test_a_backfill_says_what_it_has_done(stage: Stage) -> None:
    stage.create(partitions=2)
    send(stage, (impression(number) for number in range(3)))
    worker = stage.run("--until-end")
    assert worker.exit_code() == 0
    assert "worker done: 3 records received, 0 skipped, 9 responses, 0 dead letters" in worker.log


def impressions_file(folder: Path, num: int) -> Path:
    file = folder / "impressions.jsonl"
    file.write_text("".join(f"{json.dumps(impression(number))}\n" for number in range(num)))
    return file


def test_a_replay_says_what_kafka_took(stage: Stage, tmp_path: Path) -> None:
    file = impressions_file(tmp_path, 40)
    missing = stage.command("replay", str(file), "--json")
    assert missing.returncode == 1
    assert f"topic {stage.topic} does not exist" in missing.stderr
    stage.create(partitions=2)
    done = stage.command("replay", str(file), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["sent"] == {stage.topic: 40}
    assert "100%" in done.stderr
    assert "40 delivered" in done.stderr


def test_a_replay_of_outcomes_goes_to_their_topic_and_a_topic_without_any_is_told(stage: Stage, tmp_path: Path) -> None:
    stage.create(partitions=2)
    file = impressions_file(tmp_path, 2)
    topic = stage.responses  # any that is there
    told = stage.command("replay", str(file), "--outcomes-topic", topic)
    assert f"note: there was no outcome to send to {topic}" in told.stdout
    outcome = {
        "outcome_id": "o1",
        "event_id": "e1",
        "user_id": "u1",
        "variant": "A",
        "observed_at": 1_793_534_700_000_000,
    }
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(outcome))
    done = stage.command("replay", str(file), "--outcomes-topic", topic, "--json")
    assert json.loads(done.stdout)["sent"] == {stage.topic: 2, topic: 1}
    left = stage.command("replay", str(file))
    assert "note: outcomes not sent: 1" in left.stdout


def test_a_replay_to_a_broker_that_is_away_ends_with_a_line(tmp_path: Path) -> None:
    done = mirrorstream("replay", str(impressions_file(tmp_path, 3)), "-b", "127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Kafka at 127.0.0.1:1 does not answer: 127.0.0.1:1: nobody listens there")
    assert "delivered" not in done.stderr, "want no bar"


def test_a_replay_whose_broker_goes_away_ends_within_its_time(tmp_path: Path) -> None:
    """What was delivered before is counted, and what was not."""
    file = impressions_file(tmp_path, 1_000)
    with KafkaCluster() as kafka:
        flags = ["-b", kafka.bootstrap_servers, "--set", "transaction_timeout_s=2"]
        mirrorstream("topics", "create", *flags, "--partitions", "1")
        replay = [sys.executable, "-m", "worker", "replay", str(file), "--rate", "50", *flags]
        with subprocess.Popen(replay, stderr=subprocess.PIPE, text=True, env=environment()) as process:
            admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
            asked = {TopicPartition("impressions", 0): OffsetSpec.latest()}
            until(
                lambda: all(one.result(patience(WAIT_S)).offset > 99 for one in admin.list_offsets(asked).values()),
                "records",
            )
            kafka.kill(0)
            _, told = process.communicate(timeout=patience(WAIT_S))
    assert process.returncode == 1
    counts = re.search(r"error: ([\d,]+) of ([\d,]+) messages were delivered; the first that was not: no broker", told)
    assert counts, told
    delivered, sent = (int(one.replace(",", "")) for one in counts.groups())
    assert 0 < delivered < sent < 1_000


def test_check_says_ok_or_what_to_do(stage: Stage) -> None:
    def check() -> tuple[int, dict[str, tuple[bool, str]]]:
        done = stage.command("check", "--json")
        return done.returncode, {line["what"]: (line["ok"], line["detail"]) for line in json.loads(done.stdout)}

    code, lines = check()
    assert code == 1
    assert lines[f"topic {stage.topic}"] == (False, "run `mirrorstream topics create`")
    made = mirrorstream("topics", "create", "--partitions", "2", *as_flags(stage.settings()))
    assert made.returncode == 0
    assert f"{stage.topic}: created, 2 partitions" in made.stdout
    assert (
        f"{stage.topic}: is there, 2 partitions" in mirrorstream("topics", "create", *as_flags(stage.settings())).stdout
    )
    code, lines = check()
    assert (code, [what for what, (ok, _) in lines.items() if not ok]) == (0, [])
    assert lines[f"topic {stage.topic}"][1] == "2 partitions"
    assert {"settings", "prompt profile", "Kafka", "transactional id", "engine"} <= lines.keys()
    away = stage.command("check", bootstrap_servers="127.0.0.1:1")
    assert away.returncode == 1
    assert "FAIL Kafka: Kafka at 127.0.0.1:1 does not answer: 127.0.0.1:1: nobody listens there" in away.stdout


def test_a_compacted_topic_of_the_workers_own_is_refused_by_check_and_run(stage: Stage) -> None:
    """A broker refuses a dead letter without a key there, and the flush with it, for ever."""
    stage.create(config={"cleanup.policy": "compact"})
    done = stage.command("check", "--json")
    lines = {line["what"]: line["detail"] for line in json.loads(done.stdout) if not line["ok"]}
    assert list(lines) == [f"topic {stage.responses}", f"topic {stage.dead_letters}"]
    assert all("cleanup.policy is compact" in detail for detail in lines.values())
    worker = stage.run()
    assert worker.exit_code() == 1
    assert f"topic {stage.dead_letters}: cleanup.policy is compact" in worker.log


def test_an_option_of_the_users_is_the_one_that_brokers_see(stage: Stage) -> None:
    stage.create(partitions=1)
    with stage.worker(kafka_options={"client.id": "team-x"}) as worker:
        worker.until_ready()
        admin = AdminClient({"bootstrap.servers": stage.bootstrap})
        [member] = admin.describe_consumer_groups([stage.name])[stage.name].result(patience(30)).members
        assert member.client_id == "team-x"


def test_a_mounted_secret_may_hold_files_of_other_tools_and_no_unknown_ones(stage: Stage, tmp_path: Path) -> None:
    stage.create(partitions=1)
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "user.p12").write_bytes(bytes(range(128, 256)))
    (folder / "client.id").write_text("team-x\n")
    worker = stage.run("--until-end", kafka_secrets=str(folder))
    assert worker.exit_code() == 0
    assert "kafka_secrets: ignored user.p12" in worker.log
    (folder / "other.p12").write_bytes(bytes(range(128, 256)))
    worker = stage.run("--until-end", kafka_secrets=str(folder))
    assert worker.exit_code() == 2
    assert "kafka_secrets: other.p12 is not a text file" in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("replay",), "want a file of events or --movielens"),
        (("replay", "/nowhere.jsonl"), "/nowhere.jsonl"),
        (("replay", "--movielens", "/nowhere"), "/nowhere"),
        (("run", "--to", "2026-01-01T00:00Z"), "needs --until-end"),
        (("run", "--from", "yesterday"), "--from 'yesterday': want a time with its zone"),
        (("schemas", "register"), "schema_registry_url"),
        (("run", "--config", "/nowhere.yaml"), "/nowhere.yaml"),
    ],
)
def test_a_mistake_is_one_sentence_and_no_traceback(words: tuple[str, ...], problem: str) -> None:
    done = (
        mirrorstream(*words, "--set", "bootstrap_servers=127.0.0.1:1")
        if words[0] != "schemas"
        else mirrorstream(*words)
    )
    assert done.returncode in {1, 2}
    assert problem in done.stderr
    assert "Traceback" not in done.stderr
