"""A micro-batch closes by count, tokens or age: `MicroBatcher` against the whole story of what was added."""

from dataclasses import dataclass, field

from hypothesis import given, settings, strategies as st

from worker.core.delivery.micro_batcher import BatchEnd, MicroBatcher

MAX_RECORDS, MAX_TOKENS, LINGER_S = 4, 100, 5.0
QUICK = settings(max_examples=60, deadline=None)
Step = tuple[str, int, float]
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "due", "close"]), st.integers(0, 120), st.sampled_from([0.0, 1.0, 6.0])),
    max_size=40,
)


@dataclass
class Run:
    """What went in, what came out, and what waited at each moment."""

    added: list[tuple[int, int, float]] = field(default_factory=list)  # item, tokens, time
    batches: list[list[int]] = field(default_factory=list)
    waiting: list[tuple[int, int, float]] = field(default_factory=list)
    now_s: float = 0.0


def play(steps: list[Step]) -> Run:
    """Drive a batcher and hold every answer against the list of what waits."""
    batcher, run = MicroBatcher[int](max_records=MAX_RECORDS, max_tokens=MAX_TOKENS, linger_s=LINGER_S), Run()
    for step, tokens, wait_s in steps:
        run.now_s += wait_s
        if step == "add":
            run.added.append((len(run.added), tokens, run.now_s))
            run.waiting.append(run.added[-1])
            batch = batcher.add(len(run.added) - 1, tokens=tokens, now_s=run.now_s)
        else:
            batch = batcher.due(now_s=run.now_s) if step == "due" else batcher.close()
        full = len(run.waiting) >= MAX_RECORDS or sum(tokens for _, tokens, _ in run.waiting) >= MAX_TOKENS
        old = bool(run.waiting) and run.now_s - run.waiting[0][2] >= LINGER_S
        wanted = step == "close" or old or (full and step == "add")
        assert batch == ([item for item, _, _ in run.waiting] if wanted else None)
        if batch is not None:
            run.batches.append(batch)
            run.waiting = []
        assert len(batcher) == len(run.waiting)
    run.batches.append(batcher.close())
    return run


@QUICK
@given(STEPS)
def test_every_item_is_in_exactly_one_batch_in_the_order_of_adding(steps: list[Step]) -> None:
    run = play(steps)
    assert [item for batch in run.batches for item in batch] == list(range(len(run.added)))


@QUICK
@given(STEPS)
def test_a_batch_keeps_its_limits_but_for_the_item_that_closes_it(steps: list[Step]) -> None:
    run = play(steps)
    for batch in run.batches:
        assert len(batch) <= MAX_RECORDS
        assert sum(run.added[item][1] for item in batch[:-1]) < MAX_TOKENS


def test_an_item_above_the_token_limit_leaves_by_itself_and_at_once() -> None:
    batcher = MicroBatcher[str](max_records=9, max_tokens=100, linger_s=1.0)
    assert batcher.add("long", tokens=500, now_s=0.0) == ["long"]


def test_the_linger_runs_from_the_first_item_of_each_batch() -> None:
    batcher = MicroBatcher[str](max_records=9, max_tokens=100, linger_s=1.0)
    assert batcher.add("a", tokens=1, now_s=0.0) is None
    assert batcher.add("b", tokens=1, now_s=1.0) == ["a", "b"]
    assert batcher.add("c", tokens=1, now_s=1.5) is None
    assert batcher.due(now_s=2.4) is None
    assert batcher.due(now_s=2.5) == ["c"]


def test_a_batch_says_why_it_closed() -> None:
    batcher = MicroBatcher[str](max_records=2, max_tokens=100, linger_s=1.0)
    batcher.add("a", tokens=1, now_s=0.0)
    assert (batcher.add("b", tokens=1, now_s=0.0), batcher.ended_by) == (["a", "b"], BatchEnd.RECORDS)
    assert (batcher.add("c", tokens=100, now_s=0.0), batcher.ended_by) == (["c"], BatchEnd.TOKENS)
    batcher.add("d", tokens=1, now_s=0.0)
    assert (batcher.due(now_s=1.0), batcher.ended_by) == (["d"], BatchEnd.LINGER)
    batcher.add("e", tokens=1, now_s=1.0)
    assert (batcher.close(), batcher.ended_by) == (["e"], BatchEnd.STOP)
