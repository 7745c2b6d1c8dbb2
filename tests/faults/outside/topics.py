"""Topics that are deleted, made anew, grown, or born while the worker runs or between two of its starts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .ledger import Entry, Fate, Metric
from .play import Play

SOON: dict[str, str] = {"topic.metadata.refresh.interval.ms": "1000"}  # librdkafka asks every 5 minutes by default
SAID_S = 20.0  # from a change until it is said
ENDED_S = 60.0  # for a backfill
EXIT_S = 45.0  # a stopped worker ends by itself within 30 s


def draw_group(play: Play, **more: Any) -> dict[str, Any]:
    """Draw the settings that every scenario about topics varies, and set them for all of its workers."""
    chance = play.chance
    drawn = {
        "group_protocol": chance.choice(["classic", "consumer"]),
        "on_data_loss": chance.choice(["stop", "skip"]),
        "start_from": chance.choice(["earliest", "latest"]),
        **more,
    }
    play.stage.overrides |= drawn
    play.say(", ".join(f"{name}={value}" for name, value in drawn.items()))
    return drawn


def workers(play: Play, num: int) -> list[int]:
    """Start workers and wait until they are ready."""
    started = [play.worker() for _ in range(num)]
    play.ready(*started)
    return started


@dataclass(frozen=True, slots=True)
class Anew:
    """How a topic is made anew in one run."""

    names: Sequence[str]  # of the input topics; the first is the one
    running: bool  # under a running worker, or between two starts
    stops: bool  # on_data_loss
    resent: bool  # the application sends the same events again
    partitions: int
    num_old: int
    num_new: int
    num_workers: int
    latency_s: float  # of a draw: with some, records are in flight when the topic goes
    pattern: bool  # the topics are given as a pattern
    twice: bool  # made anew a second time at once
    backfill: bool  # each start is a `run --until-end`


def made_anew(play: Play) -> None:
    """The input topic, or one of two, is deleted and made again, under a running worker or between two starts."""
    chance = play.chance
    drawn = draw_group(play)
    num_old = chance.randint(5, 60)
    running = chance.random() < 0.6
    way = Anew(
        names=chance.choice([["in"], ["in", "other"]]),
        running=running,
        stops=drawn["on_data_loss"] == "stop",
        resent=chance.random() < 0.3,
        partitions=chance.choice([1, 2, 3]),
        num_old=num_old,
        num_new=chance.choice([chance.randint(1, num_old), num_old, num_old + chance.randint(1, 40)]),
        num_workers=chance.choice([1, 1, 2]),
        latency_s=chance.choice([0.0, 0.0, 0.3]),
        pattern=chance.random() < 0.2,
        twice=chance.random() < 0.15,
        backfill=not running and chance.random() < 0.3,
    )
    play.say(str(way))
    inputs = f"^{play.name}-(in|other)$" if way.pattern else ",".join(map(play.topic, way.names))
    play.stage.overrides |= {"choice_latency_s": way.latency_s, "input_topics": inputs}
    play.make_outputs(chance.choice([1, 2]))
    for name in way.names:
        play.make(name, way.partitions)
    if not way.backfill:
        numbers = workers(play, way.num_workers)
    for index, name in enumerate(way.names):
        play.send(name, range(1000 * index, 1000 * index + way.num_old))
    if way.backfill:
        play.stage.overrides["start_from"] = "earliest"
        numbers = [play.worker("--until-end", ends=True)]
    play.settle()
    if way.backfill:
        play.ends(*numbers, 0, within_s=ENDED_S)
    old, new = _replace(play, way, numbers)
    start = 0 if way.resent else 2000
    # Under `stop` the new topic's records wait for a decision, and are answered after it.
    if way.running:
        play.rest(chance.choice([0.0, 0.5, 1.5]))
    waiting = play.send("in", range(start, start + way.num_new))
    if len(way.names) > 1:
        play.send("other", range(3000, 3000 + chance.randint(1, 20)))
    words = ("--until-end",) if way.backfill else ()
    if not way.running:
        numbers = [play.worker(*words, ends=way.stops or way.backfill) for _ in range(way.num_workers)]
    metric = Metric("topic_changes", (("topic", play.topic("in")), ("change", "made_anew")))
    line = [re.escape(play.topic("in")), old, new]
    if way.stops:
        _decide(play, numbers, line, metric, waiting=[] if way.resent else waiting)
    else:
        play.expect("a topic that was made anew, with skip", *numbers, line=line, metric=metric)


def _replace(play: Play, way: Anew, numbers: list[int]) -> tuple[str, str]:
    """Make the topic anew; return what finds its old and its new id."""
    chance = play.chance
    for number in () if way.running or way.backfill else numbers:
        if chance.random() < 0.8:
            play.stop(number)
        else:
            play.kill(number)
    for number in numbers if way.stops else ():
        play.may_end(number)
    if way.running and chance.random() < 0.4:
        play.send("in", range(5000, 5000 + chance.randint(1, 20)), Fate.MAYBE, why="just before its topic was deleted")
    partitions = chance.choice([way.partitions, way.partitions, chance.randint(1, 4)])
    old, new = map(id_pattern, play.recreate("in", partitions))
    if way.twice:
        play.send("in", range(6000, 6000 + chance.randint(1, 20)), Fate.MAYBE, why="in a topic of a moment")
        between, new = map(id_pattern, play.recreate("in", partitions))
        old = f"({old}|{between})"
    return old, new


def _decide(play: Play, numbers: list[int], line: list[str], metric: Metric, *, waiting: Sequence[Entry]) -> None:
    """See that workers stop, that a restart stops too and answers nothing that waits; then decide as an operator."""
    stopped(play, numbers, line, metric, exits=play.chance.random() < 0.25)
    stopped(play, [play.worker(ends=True)], line, metric, exits=False)  # as an orchestrator restarts it
    play.none_yet(waiting)
    if play.chance.random() < 0.7:
        play.say("decision: on_data_loss=skip")
        play.worker(on_data_loss="skip")
    else:
        play.reset_offsets("in")
        play.worker()


def stopped(play: Play, numbers: list[int], line: list[str], metric: Metric, *, exits: bool) -> None:
    """Expect that workers say why they answer nothing, in all three ways, and end; with `exits` wait for that."""
    topic = play.topic("in")
    held = Metric("topic_held", (("topic", topic),))
    asked = [
        play.expect("a topic that was made anew, with stop", *numbers, line=line, metric=metric, unready=[topic]),
        play.expect("a topic that holds the worker up", *numbers, metric=held),
    ]
    play.until(
        lambda: all(map(play.said, asked)) or not any(play.watched[number].alive for number in numbers),
        "words about a topic that was made anew", within_s=SAID_S,
    )  # fmt: skip
    for number in numbers:
        if exits:
            play.ends(number, 1, within_s=EXIT_S)
        else:
            play.stop(number, 1)


def id_pattern(topic_id: str) -> str:
    """Return what finds a topic's id, in either alphabet of Base64."""
    return re.escape(topic_id.rstrip("=")).replace(r"\+", "[+-]").replace("/", "[/_]").replace("-", "-")


def deleted(play: Play) -> None:
    """One of two input topics is deleted for good, or for a while; the other goes on."""
    chance = play.chance
    drawn = draw_group(play, choice_latency_s=chance.choice([0, 0, 0.5]))
    play.stage.overrides["input_topics"] = f"{play.topic('in')},{play.topic('gone')}"
    play.make_outputs()
    play.make("in", chance.choice([1, 2]))
    play.make("gone", chance.choice([1, 2]))
    numbers = workers(play, chance.choice([1, 1, 2]))
    play.send("in", range(20))
    play.send("gone", range(1000, 1020))
    play.settle()
    if chance.random() < 0.5:
        play.send("gone", range(1100, 1110), Fate.MAYBE, why="just before its topic was deleted")
    play.drop("gone")
    play.send("in", range(2000, 2000 + chance.randint(1, 30)))
    play.expect(
        "a topic that was deleted", *numbers, line=[re.escape(play.topic("gone"))], unready=[play.topic("gone")],
        metric=Metric("topic_changes", (("topic", play.topic("gone")), ("change", "deleted"))),
    )  # fmt: skip
    play.settle()  # the deleted one holds up no other
    play.until(lambda: all(map(play.said, play.notices)), "words about a deleted topic", within_s=SAID_S)
    play.send("in", range(2100, 2110))
    play.settle()
    for number in numbers:
        play.may_end(number)  # it is not ready at the end, and is not asked to be
    if chance.random() < 0.4:
        play.make("gone", chance.choice([1, 2]))
        play.send("gone", range(3000, 3020))
        if drawn["on_data_loss"] == "stop":
            for number in numbers:
                play.stop(number, 1)
            play.say("decision: on_data_loss=skip")
            numbers = [play.worker(on_data_loss="skip")]
        play.settle()
        play.ready(*numbers)
    for number in numbers:
        play.stop(number)


def outputs_anew(play: Play) -> None:
    """The topic of responses or of dead letters is deleted and made again; what comes later goes to the new one."""
    chance = play.chance
    draw_group(play)
    which = chance.choice(["out", "dlq"])
    running = chance.random() < 0.6
    partitions = chance.choice([1, 2])
    play.make_outputs(partitions)
    play.make("in", 2)
    numbers = workers(play, 1)
    play.send("in", range(20))
    play.send_raw("in", [(b"user", b"bad")] * 3, Fate.DEAD, detail="magic")
    play.settle()
    if not running:
        play.stop(*numbers)
    play.recreate(which, chance.choice([partitions, partitions, chance.randint(1, 3)]))
    play.rest(chance.choice([0.0, 1.0]))
    if not running:
        numbers = workers(play, 1)
    play.send("in", range(1000, 1000 + chance.randint(1, 30)))
    play.send_raw("in", [(b"user", b"bad")] * 2, Fate.DEAD, detail="magic")
    play.settle()


def grown(play: Play) -> None:
    """Partitions are added, under a running worker or between two starts; all that is in them is answered."""
    chance = play.chance
    draw_group(play, kafka_options=SOON)
    running = chance.random() < 0.7
    partitions = chance.choice([1, 2, 3])
    more = partitions + chance.randint(1, 3)
    play.make_outputs()
    play.make("in", partitions)
    numbers = workers(play, chance.choice([1, 2]))
    play.send("in", range(chance.choice([0, 1, 20])))
    play.settle()
    if not running:
        for number in numbers:
            play.stop(number)
    play.grow("in", more)
    for partition in range(partitions, more):
        first = 1000 * (partition + 1)
        play.send("in", range(first, first + chance.randint(1, 15)), partition=partition)
    if not running:
        workers(play, 1)
    play.settle()
    play.send("in", range(100, 120))


def born(play: Play) -> None:
    """Topics of a pattern are born later, with records at once: all of them are answered."""
    chance = play.chance
    draw_group(play, kafka_options=SOON, input_topics=f"^{re.escape(play.name)}-in-[a-z]+$")
    play.make_outputs()
    play.make("in-a", chance.choice([1, 2]))
    if chance.random() < 0.5:
        play.make("elsewhere", reads=False)
        play.send("elsewhere", range(9000, 9003), Fate.NEITHER, why="a topic outside the pattern")
    running = chance.random() < 0.7
    numbers = workers(play, chance.choice([1, 2]))
    play.send("in-a", range(chance.choice([1, 10])))
    play.settle()
    if not running:
        for number in numbers:
            play.stop(number)
    for index, name in enumerate(["in-b", "in-c"][: chance.choice([1, 2])]):
        play.make(name, chance.choice([1, 3]))
        first = 1000 * (index + 1)
        play.send(name, range(first, first + chance.randint(1, 25)))
    if not running:
        workers(play, 1)
    play.settle()
    play.send("in-b", range(5000, 5005))
