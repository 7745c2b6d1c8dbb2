"""What an event waits for: the engine, those before it in its partition, and the commit."""

from worker.bench.model.engine import Noted
from worker.bench.model.latency import InputPlace, percentiles, times


def noted(event: str, done_s: float) -> Noted:
    return Noted(
        event, second=True, prompt_tokens=1, cached_tokens=0, completion_tokens=1, known_tokens=0, done_s=done_s
    )


def test_an_event_is_in_order_when_all_before_it_in_its_partition_are_answered() -> None:
    places = {"a": InputPlace(0, 0), "b": InputPlace(0, 1), "c": InputPlace(1, 0)}
    answers = [noted("a", 5.0), noted("b", 2.0), noted("b", 3.0), noted("c", 1.0)]
    found = times(dict.fromkeys("abc", 0.0), answers, places, dict.fromkeys("abc", 6.0))
    assert [found[name].engine_s for name in "abc"] == [5.0, 3.0, 1.0]
    assert [found[name].ordered_s for name in "abc"] == [5.0, 5.0, 1.0]


def test_the_cost_of_order_is_apart_from_that_of_kafka() -> None:
    places = {"a": InputPlace(0, 0), "b": InputPlace(0, 1)}
    found = times({"a": 0.0, "b": 0.0}, [noted("a", 2.0), noted("b", 1.0)], places, {"a": 2.1, "b": 2.1})
    figures = percentiles(found.values())
    assert figures["engine_p50_ms"] == 1500
    assert figures["ordered_p50_ms"] == 2000
    assert round(figures["p99_over_ordered_engine_ms"]) == 100
