"""Patterns of input topics: what the subscription takes in, and that no worker reads what it writes.

Under the classic protocol the client matches, with POSIX extended expressions that search; under the consumer protocol
the broker does, with RE2/J on the whole name.  What each takes in is worked out here by hand, for names of these
scenarios alone.
"""

import json
import re

from .ledger import Fate
from .play import Play
from .topics import SAID_S, SOON, draw_group, workers

REFUSED = 2  # exit code: settings
END_S = 30.0


def pattern(play: Play) -> None:
    """Draw one of the ways."""
    play.chance.choice([alternatives, alternatives, commas, commas, own_output, own_output, nothing, classes])(play)


def alternatives(play: Play) -> None:
    """`^a|b`: the second alternative is not anchored, so the client finds it anywhere and the broker nowhere else."""
    group = draw_group(play, kafka_options=SOON)
    searched = group["group_protocol"] == "classic"
    play.stage.overrides["input_topics"] = f"^{play.name}-in\\.eu|{play.name}-in\\.us"
    play.make_outputs()
    found = {"in.eu": True, "in.us": True, "in.eu.old": searched, "in.asia": False}
    _read(play, found)


def commas(play: Play) -> None:
    """A pattern with commas survives flags and environment, alone and in a list of names."""
    draw_group(play, kafka_options=SOON)
    expression = f"^{play.name}-in-[a-z]{{1,2}}$"
    way = play.chance.choice(["flag", "environment", "JSON"])
    play.say(f"the pattern comes as {way}")
    if way == "flag":
        play.stage.overrides["input_topics"] = expression
    elif way == "JSON":
        play.stage.overrides["input_topics"] = json.dumps([expression])
    else:
        play.stage.overrides["input_topics"] = None
        play.stage.variables["MIRRORSTREAM_INPUT_TOPICS"] = expression
    play.make_outputs()
    _read(play, {"in-a": True, "in-ab": True, "in-abc": False})


def classes(play: Play) -> None:
    """POSIX classes are known to both."""
    draw_group(play, kafka_options=SOON, input_topics=f"^{play.name}-in-[[:digit:]]+$")
    play.make_outputs()
    _read(play, {"in-1": True, "in-22": True, "in-x": False})


def _read(play: Play, found: dict[str, bool]) -> None:
    """Send to topics that the pattern finds, and to others; nothing of those is answered."""
    for index, (name, inside) in enumerate(found.items()):
        play.make(name, play.chance.choice([1, 2]), reads=inside)
        why = "" if inside else "a topic that the pattern does not find"
        play.send(name, range(100 * index, 100 * index + 10), Fate.ANSWERED if inside else Fate.NEITHER, why=why)
    play.stage.overrides["start_from"] = "earliest"
    workers(play, play.chance.choice([1, 2]))
    play.settle()
    play.send(next(iter(found)), range(5000, 5010))


def own_output(play: Play) -> None:
    """A pattern that finds the worker's own responses or dead letters is refused, or stops the worker.

    No record of the worker's own is answered or dead-lettered.  One of the expressions finds them by a search alone:
    under the consumer protocol the worker runs.
    """
    group = draw_group(play, kafka_options=SOON, start_from="earliest")
    which = play.chance.choice(["output_topic", "dead_letter_topic"])
    given, theirs = play.topic("in"), f"sim-{play.topic('in')}"
    expression, finds = play.chance.choice(
        [
            (f"^nothing-here|{given}", group["group_protocol"] == "classic"),
            (f"^.*{given}$", True),
            (f"^{given}|^sim-{play.name}-.*", True),
        ]
    )
    play.say(f"{which} is sim-X-in; {expression.replace(play.name, 'X')} finds it: {finds}")
    play.rename_output(which, theirs)
    play.stage.overrides["input_topics"] = expression
    play.make_outputs()
    play.make("in", 1, reads=not finds)
    if not finds:
        play.send("in", range(10))
        workers(play, 1)
        return
    play.send("in", range(10), Fate.MAYBE, why="a worker that is refused, or stops")
    number = play.worker(ends=True)
    play.expect("a pattern that finds the worker's own topic", number, line=[re.escape(theirs)], severe=False)
    one = play.watched[number]
    play.until(lambda: not one.alive, "refusal", within_s=END_S)
    if one.alive:
        play.problems.append(f"a worker whose pattern finds its own topic {theirs} runs on")
    play.stop(number, 1, REFUSED)


def nothing(play: Play) -> None:
    """A pattern that finds no topic is refused, or makes the worker unready."""
    draw_group(play, kafka_options=SOON, input_topics=f"^{play.name}-in-[a-z]+$")
    play.make_outputs()
    number = play.worker(ends=True)
    one = play.watched[number]
    words = [re.escape(f"{play.name}-in-[a-z]+")]

    def unready() -> bool:
        return any(re.search(words[0], text) for text in one.evidence.unready)

    play.until(lambda: not one.alive or unready(), "words about a pattern that finds no topic", within_s=SAID_S)
    if one.alive:
        play.expect("a pattern that finds no topic", number, line=words, unready=words)
    else:
        play.expect("a pattern that finds no topic", number, line=words, severe=False)
    play.stop(number, 1, REFUSED)
