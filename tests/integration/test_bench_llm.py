"""The bench with a real vLLM and a real Kafka, in its short form: that it reports, not what it reports."""

import json
from pathlib import Path

import pytest

from tests.support.harness import mirrorstream
from tests.support.kafka_broker import KafkaCluster

RATIOS = ("ratio_to_async_engine", "ratio_to_generate", "ratio_to_barrier")


@pytest.mark.long
def test_two_small_rounds_beside_the_engine_report_every_figure(kafka: KafkaCluster, tmp_path: Path) -> None:
    chart = tmp_path / "bench.svg"
    small = ["--parts", "llm,latency", "--rounds", "2", "--events", "6", "--tokens", "8", "--latency-s", "1"]
    contenders = ["--contenders", "generate,async,barrier,worker", "--no-profile"]
    done = mirrorstream(
        "bench", "--bootstrap", kafka.bootstrap_servers, *small, *contenders, "--chart", str(chart), "--json",
        "--set", "max_num_seqs=8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    for name in (*RATIOS, "second_pass_cached_share", "pair_prompt_token_share", "ordering_cost_ms"):
        assert report[name]["low"] <= report[name]["middle"] <= report[name]["high"], name
    assert 0 < report["second_pass_cached_share"]["middle"] <= 1
    for contender in ("generate", "async", "worker"):
        figures = report["figures"]["by_contender"][contender]
        assert figures["prompt_tokens_cached"] > figures["prompt_tokens_computed"] > 0
        assert figures["cpu_s_per_event"] > 0
        assert figures["peak_bytes"] > 100 << 20
    assert report["goals"]["ratio_to_async_engine"]["goal"] == ">= 0.92"
    assert "events/s" in chart.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--parts", "llm,speed"], "--parts llm,speed: want llm, latency, repeat, plain, scaling"),
        (["--parts", "llm", "--chart", "/no/such/folder/x.svg"], "--chart /no/such/folder/x.svg: No such file"),
        (["--parts", "llm", "--peers", "/no/such/python"], "--peers /no/such/python: want the Python of"),
        (["--parts", "llm", "--peers", "/"], "--peers /: want the Python of"),
        (["--parts", "llm", "--latency-s", "inf"], "--latency-s"),
        (["--parts", "plain"], "want --bootstrap HOST:PORT"),
    ],
)
def test_what_cannot_be_measured_or_written_is_refused_before_anything_starts(words: list[str], said: str) -> None:
    done = mirrorstream("bench", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_kafka_that_does_not_answer_is_named_before_anything_starts() -> None:
    done = mirrorstream("bench", "--parts", "plain", "--bootstrap", "127.0.0.1:1")
    assert done.returncode == 1
    assert "--bootstrap: Kafka at 127.0.0.1:1 does not answer" in done.stderr
    assert "Traceback" not in done.stderr
