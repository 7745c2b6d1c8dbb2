"""Records that cost more than others: batches that nobody can decompress, large headers, no times, many bad ones."""

import random

from tests.support.events import encode, impression

from .ledger import Fate, Metric
from .play import Play
from .topics import SAID_S, draw_group, workers

MIB = 1 << 20
TOPIC_BYTES = 1_048_588  # Kafka's default max.message.bytes
PASSED_OVER = 3
READABLE = 40_000_000  # bytes that the client decompresses; it refuses more than some 67 MB
MAX_LATENCY_S = 10_000.0  # summed up over the records of a run; a time of 1970 is 1.8e9 s old
FAIR_S = 20.0  # within which good records leave, however many bad ones come from elsewhere


def unreadable_batch(play: Play) -> None:
    """A record of zeros that zstd makes a few KB of: brokers take it, and the client cannot decompress it."""
    chance = play.chance
    drawn = draw_group(play, start_from="earliest")
    size = chance.choice([READABLE, 90_000_000, 90_000_000, 120_000_000])
    partitions = chance.choice([1, 2])
    play.make_outputs()
    play.make("in", partitions)
    running = chance.random() < 0.5
    if running:
        workers(play, 1)
    for number in range(partitions):
        play.send("in", range(100 * number, 100 * number + 10), partition=number)
    large = {"compression.type": "zstd", "message.max.bytes": 1_000_000_000, "queue.buffering.max.kbytes": 2_097_151}
    play.send_raw("in", [(b"k", b"\xc3\x01" + bytes(size))], Fate.DEAD, options=large, partition=0,
                            why=f"{size} bytes of zeros in zstd")  # fmt: skip
    for number in range(partitions):
        play.send("in", range(1000 + 100 * number, 1010 + 100 * number), partition=number)
    place = rf"{play.topic('in')}\[0\]"
    if size == READABLE:  # and bad: it has no schema that anybody knows
        workers(play, 1 - running)
        return
    if drawn["on_data_loss"] == "skip":
        numbers = [0] if running else workers(play, 1)
        play.expect("a batch that nobody can read, with skip", *numbers, line=[place])
        return
    number = 0 if running else play.worker(ends=True)
    play.may_end(number)
    stops = play.expect("a batch that nobody can read, with stop", number, line=[place], unready=[play.topic("in")])
    one = play.watched[number]
    play.until(lambda: play.said(stops) or not one.alive, "words about a batch", within_s=SAID_S)
    play.stop(number, 1)
    play.say("decision: on_data_loss=skip")
    play.worker(on_data_loss="skip")


def mixed(play: Play) -> None:
    """Tombstones, null keys, no timestamps, large headers: each is answered or passed over, and costs itself alone."""
    chance = play.chance
    draw_group(play, start_from="earliest")
    play.make_outputs()
    play.make("in", 2)
    if chance.random() < 0.5:
        workers(play, 1)
    every = [_tombstones, _skipped, _keyless, _timeless, _large_trace, _plain, _plain, _oversized, _bad]
    kinds = chance.sample(every, 5)
    for index, kind in enumerate(kinds):
        kind(play, 100 * index)
    if not play.watched:
        workers(play, 1)
    for kind, reason in ((_tombstones, "tombstone"), (_skipped, "test")):
        if kind in kinds:
            metric = Metric("records_skipped", (("reason", reason),), PASSED_OVER)
            play.expect(f"records passed over: {reason}", 0, metric=metric)
    play.settle()
    one = play.watched[0]
    play.until(lambda: all(map(play.said, play.notices)), "metrics", within_s=5)
    if one.metric("end_to_end_seconds_sum") > MAX_LATENCY_S:
        play.problems.append(f"end_to_end_seconds_sum is {one.metric('end_to_end_seconds_sum'):.0f} s")


def _plain(play: Play, first: int) -> None:
    play.send("in", range(first, first + 10))


def _bad(play: Play, first: int) -> None:
    play.send_raw("in", [(b"user", b"bad"), (None, b"worse")], Fate.DEAD, detail="magic")


def _tombstones(play: Play, first: int) -> None:
    play.send_raw("in", [(b"user", None)] * PASSED_OVER, Fate.NEITHER, why="tombstones")


def _skipped(play: Play, first: int) -> None:
    play.send("in", range(first, first + PASSED_OVER), Fate.NEITHER, why="marked is_test", is_test=True)


def _keyless(play: Play, first: int) -> None:
    events = [impression(number) for number in range(first, first + 5)]
    play.send_raw("in", [(None, encode(event)) for event in events], Fate.ANSWERED, events=events, why="no key")


def _timeless(play: Play, first: int) -> None:
    play.send("in", range(first, first + 3), start_ms=-1, why="no timestamp")


def _large_trace(play: Play, first: int) -> None:
    """A tracestate that goes on to the responses, which then are larger than their topic takes."""
    size = play.chance.choice([100_000, 900_000, 1_000_000, TOPIC_BYTES - 10_000])
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    state = b"vendor=" + random.Random(size).randbytes(size // 2).hex().encode()
    event = impression(first)
    play.send_raw(
        "in", [(b"user", encode(event))], Fate.EITHER, events=[event], why=f"{size} bytes of tracestate",
        headers=[("traceparent", trace), ("tracestate", state)], options={"message.max.bytes": 4 * MIB},
    )  # fmt: skip


def _oversized(play: Play, first: int) -> None:
    """A bad record as large as the topic takes: its dead letter has more headers than it."""
    value = random.Random(first).randbytes(TOPIC_BYTES - 1_000)
    play.send_raw("in", [(b"user", b"x" + value)], Fate.DEAD, options={"message.max.bytes": 4 * MIB}, why="1 MiB")


def noisy_source(play: Play) -> None:
    """Hundreds of bad records from one source: good ones of other sources are answered soon, and none is lost."""
    chance = play.chance
    draw_group(play, start_from="earliest")
    play.make_outputs()
    play.make("in", 3)
    [number] = workers(play, 1)
    bad = chance.choice([60, 200, 400])
    good = 0
    while bad > 0:
        num = chance.randint(10, 60)
        play.send_raw("in", [(b"noisy", b"bad")] * min(num, bad), Fate.DEAD, detail="magic", partition=0)
        bad -= num
        play.send("in", range(good, good + 8), partition=1)
        play.send("in", range(good + 8, good + 16), partition=2)
        good += 16
    fair = play.until(lambda: not play.missing(Fate.ANSWERED), "answers to good records", within_s=FAIR_S)
    if not fair:
        play.problems.append(
            f"{play.missing(Fate.ANSWERED)} of {good} good records not answered within {FAIR_S:.0f} s beside bad ones"
        )
    play.until(lambda: not play.missing(Fate.DEAD), "dead letters of bad records", within_s=3)
    held = play.missing(Fate.DEAD)
    if held:
        play.expect("dead letters that are held back", number, line=["breaker|held"], unready=["breaker|held|decoded"],
                    metric=Metric("breaker_open"))  # fmt: skip
        play.say(f"accept: {play.watched[number].post('/breaker/accept?next=1000')}")
