"""Topics that are deleted, grown or born, and outputs made anew, while the worker runs or between two of its starts."""

import re
from typing import Any

from .ledger import Fate, Metric
from .play import Play

SOON: dict[str, str] = {"topic.metadata.refresh.interval.ms": "1000"}  # librdkafka asks every 5 minutes by default
SAID_S = 20.0  # from a change until it is said


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
