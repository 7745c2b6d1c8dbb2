"""Stacks as py-spy writes them, summed up."""

import pytest

from worker.bench.harness.profile import costs, stages

LOOP = "run (asyncio/base_events.py:1);_run (worker/pipeline/loop.py:90)"


@pytest.mark.parametrize(
    ("stack", "stage"),
    [
        (f"{LOOP};encode (worker/core/codec/impression.py:190);write (fastavro/_write.py:1)", "7 produce"),
        (f"{LOOP};decode (worker/core/codec/impression.py:120);read (fastavro/_read.py:1)", "2 decode"),
        (f"{LOOP};seed (worker/core/seeding.py:9)", "the loop itself"),
        (f"{LOOP};prepare (worker/core/simulation/prepare.py:9);seed (worker/core/seeding.py:9)", "4 prompt"),
        ("_run (worker/kafka/deadline_executor.py:80);send_offsets (worker/kafka/offset_sender.py:20)", "8 commit"),
        ("run (worker/runtime/app.py:60);output_handler (vllm/v1/async_llm.py:7)", "libraries alone"),
    ],
)
def test_a_stack_counts_for_the_stage_of_its_innermost_function_that_has_one(stack: str, stage: str) -> None:
    assert stages([f"{stack} 7"]) == {stage: 1.0}


def test_the_stages_share_out_all_samples_and_so_do_the_functions() -> None:
    stacks = [
        f"{LOOP} 1",
        f"{LOOP};decode (worker/core/codec/impression.py:120) 2",
        "poll (worker/kafka/source.py:70) 3",
        "main (x.py:1) 4",
    ]
    assert sum(stages(stacks).values()) == pytest.approx(1.0)
    assert sum(one.share for one in costs(stacks)) == pytest.approx(1.0)
