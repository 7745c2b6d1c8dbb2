"""The table of what traces cost."""

from worker.bench.harness.rounds import Measured
from worker.bench.plain.tracing import GOALS, table


def test_each_contender_is_compared_with_the_worker_without_traces_of_its_own_round() -> None:
    rates = {"off": 1_000, "one": 995, "all": 700, "refused": 1_000, "silent": 990}
    found = [
        Measured(name, number, rate * (1 + number), 1.0, {"stop_s": 1.0 + number, "cpu_s_per_event": 0.97 / rate})
        for number in range(3)
        for name, rate in rates.items()
    ]
    lines = {line.split("|")[1].strip(): line for line in table(found).splitlines()}
    assert {"off", *GOALS} <= lines.keys()
    assert "0.995" in lines["one"]
    assert "(0.995 to 0.995): met" in lines["one"]
    assert lines["all"].count("(0.700 to 0.700): missed | ") == 2, "by time and by CPU"
    assert "3.0 s at most" in lines["silent"]
