"""An input topic that is deleted and made again: another topic under an old name, never progress in the old one.

With on_data_loss=skip the worker reads it from its start; with stop it says why it answers nothing, ends, and does the
same at each restart, until an operator decides.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .ledger import Entry, Fate, Metric
from .play import Play
from .topics import SAID_S, draw_group, workers

ENDED_S = 60.0  # for a backfill
EXIT_S = 45.0  # a stopped worker ends by itself within 30 s


@dataclass(frozen=True, slots=True)
class Way:
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
    way = _draw(play)
    numbers = _answer_old(play, way)
    old, new = _replace(play, way, numbers)
    # Under `stop` the new topic's records wait for a decision, and are answered after it.
    waiting = _send_new(play, way)
    if not way.running:
        words = ("--until-end",) if way.backfill else ()
        numbers = [play.worker(*words, ends=way.stops or way.backfill) for _ in range(way.num_workers)]
    topic = play.topic("in")
    line = [re.escape(topic), old, new]
    metric = Metric("topic_changes", (("topic", topic), ("change", "made_anew")))
    if way.backfill:  # nobody waits for a job that is held up: it says why and fails
        play.expect("a topic that was made anew, for a backfill", *numbers, line=line)
        for number in numbers:
            play.ends(number, 1 if way.stops else 0, within_s=ENDED_S)
    elif way.stops:
        _stopped(play, numbers, line, metric, exits=play.chance.random() < 0.25)
    else:
        play.expect("a topic that was made anew, with skip", *numbers, line=line, metric=metric)
    if way.stops:
        _stopped(play, [play.worker(ends=True)], line, metric, exits=False)  # as an orchestrator restarts it
        play.none_yet([] if way.resent else waiting)
        _decide(play)


def _draw(play: Play) -> Way:
    chance = play.chance
    drawn = draw_group(play)
    num_old = chance.randint(5, 60)
    running = chance.random() < 0.6
    way = Way(
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
    return way


def _answer_old(play: Play, way: Way) -> list[int]:
    """Make the topics, answer what is in them, and return the workers that did."""
    inputs = f"^{play.name}-(in|other)$" if way.pattern else ",".join(map(play.topic, way.names))
    play.stage.overrides |= {"choice_latency_s": way.latency_s, "input_topics": inputs}
    play.make_outputs(play.chance.choice([1, 2]))
    for name in way.names:
        play.make(name, way.partitions)
    numbers = [] if way.backfill else workers(play, way.num_workers)
    for index, name in enumerate(way.names):
        play.send(name, range(1000 * index, 1000 * index + way.num_old))
    if way.backfill:
        play.stage.overrides["start_from"] = "earliest"
        numbers = [play.worker("--until-end", ends=True)]
    play.settle()
    if way.backfill:
        play.ends(*numbers, 0, within_s=ENDED_S)
    return numbers


def _replace(play: Play, way: Way, numbers: list[int]) -> tuple[str, str]:
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
    if way.twice:  # whoever runs may see either change, or both as one
        play.send("in", range(6000, 6000 + chance.randint(1, 20)), Fate.MAYBE, why="in a topic of a moment")
        between, new = map(id_pattern, play.recreate("in", partitions))
        old, new = f"({old}|{between})", f"({between}|{new})"
    return old, new


def _send_new(play: Play, way: Way) -> list[Entry]:
    """Send to the topic that is there now, and to the other one; return what was sent to the new one."""
    if way.running:
        play.rest(play.chance.choice([0.0, 0.5, 1.5]))
    start = 0 if way.resent else 2000
    waiting = play.send("in", range(start, start + way.num_new))
    if len(way.names) > 1:
        play.send("other", range(3000, 3000 + play.chance.randint(1, 20)))
    return waiting


def _decide(play: Play) -> None:
    """Decide as an operator does, in one of the two ways."""
    if play.chance.random() < 0.7:
        play.say("decision: on_data_loss=skip")
        play.worker(on_data_loss="skip")
    else:
        play.reset_offsets("in")
        play.worker()


def _stopped(play: Play, numbers: list[int], line: list[str], metric: Metric, *, exits: bool) -> None:
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
