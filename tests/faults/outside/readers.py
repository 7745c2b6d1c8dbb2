"""The readers beside the worker: the experiment reader with its state, and the replay of dead letters.

Their topic is made anew between two of their runs.  A position in the topic that is gone is never taken for progress:
with on_data_loss=stop they refuse and name the topic, with skip they read the new one from its start.
"""

import json
import re
import subprocess

from tests.support.answered import responses, send

from .ledger import Fate
from .play import Play
from .topics import draw_group, workers

REPLAYED = "ms-attempt"


def experiment(play: Play) -> None:
    """`experiment report --state FILE` twice; the topic of responses is made anew in between."""
    chance = play.chance
    drawn = draw_group(play)
    partitions = chance.choice([1, 3])
    play.make_outputs(partitions)
    state = str(play.stage.folder / "state.db")
    first = send(
        play.stage.bootstrap, play.responses, responses(chance.randint(5, 60), seed=play.chance.randint(1, 99))
    )
    _counts(play, state, first, "the first topic")
    num_events = chance.choice([chance.randint(1, 5), first // 3, first // 3 + chance.randint(1, 40)])
    play.recreate("out", chance.choice([partitions, partitions, 2]))
    second = send(play.stage.bootstrap, play.responses, responses(num_events, seed=100 + chance.randint(1, 99)))
    play.say(f"{first} responses in the old topic, {second} in the new one")
    play.forget_outcome()
    if drawn["on_data_loss"] == "stop":
        for _ in range(2):
            _refuses(play, play.stage.command("experiment", "report", "--json", "--state", state), play.responses)
    _counts(play, state, first + second, "both topics", on_data_loss="skip")
    _counts(play, state, first + second, "both topics, read again", on_data_loss="skip")


def _counts(play: Play, state: str, wanted: int, what: str, **settings: str) -> None:
    """Report, and hold what was counted against what was sent."""
    done = play.stage.command("experiment", "report", "--json", "--state", state, **settings)
    if done.returncode != 0:
        play.lost.append(f"experiment report of {what} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
        return
    counted = json.loads(done.stdout)["data_health"].get("read", 0)
    if counted != wanted:
        kind = play.lost if counted < wanted else play.duplicated
        kind.append(f"experiment report of {what} counted {counted} responses, want {wanted}")


def _refuses(play: Play, done: "subprocess.CompletedProcess[str]", topic: str) -> None:
    """Note it if a command did not refuse, or did not name the topic and that it is another one now."""
    said = " ".join(done.stderr.split())
    if done.returncode == 0:
        play.unsaid.append(f"a reader went on over a topic that was made anew: {done.stdout.strip()[:200]}")
    elif not re.search(re.escape(topic), said):
        play.unsaid.append(f"a reader refused without naming {topic}: {said[-300:]}")


def replay(play: Play) -> None:
    """`dlq replay` twice; the topic of dead letters is made anew in between."""
    chance = play.chance
    drawn = draw_group(play, start_from="earliest")
    partitions = chance.choice([1, 2])
    play.make_outputs(partitions)
    play.make("in", chance.choice([1, 2]))
    num_old = chance.randint(2, 20)
    num_new = chance.choice([chance.randint(1, num_old), num_old, num_old + chance.randint(1, 10)])
    _bad(play, num_old)
    [number] = workers(play, 1)
    play.settle()
    play.stop(number)
    _puts_back(play, num_old, "--from-start")
    play.recreate("dlq", chance.choice([partitions, partitions, 3]))
    _pass_over(play)  # or what was replayed would be new dead letters
    _bad(play, num_new)
    [number] = workers(play, 1)
    play.settle()
    play.stop(number)
    if drawn["on_data_loss"] == "stop":
        for _ in range(2):
            _refuses(play, play.stage.command("dlq", "replay", "--json"), play.dead_letters)
    _puts_back(play, num_new, on_data_loss="skip")
    _puts_back(play, 0, on_data_loss="skip")
    play.inputs.clear()  # what was replayed last is not read


def _bad(play: Play, num: int) -> None:
    play.send_raw("in", [(b"user", b"bad")] * num, Fate.DEAD, detail="magic")


def _puts_back(play: Play, wanted: int, *words: str, **settings: str) -> None:
    """Replay, and hold what stands in the input topic then against what must."""
    before = play.count_in("in", REPLAYED)
    done = play.stage.command("dlq", "replay", "--json", *words, **settings)
    if done.returncode != 0 and wanted and play.dead_letters in done.stderr:
        # The broker forgets a group's positions in a topic that is deleted; it asks, and an operator answers.
        play.say("dlq replay asks for --from-start")
        done = play.stage.command("dlq", "replay", "--json", "--from-start", **settings)
    if done.returncode != 0:
        play.lost.append(f"dlq replay ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    put_back = play.count_in("in", REPLAYED) - before
    play.say(f"dlq replay put {put_back} records back, want {wanted}")
    if put_back != wanted:
        kind = play.lost if put_back < wanted else play.duplicated
        kind.append(f"dlq replay put {put_back} records back, want {wanted}")


def _pass_over(play: Play) -> None:
    """Set the worker's group to the ends of the input."""
    play.reset_offsets("in", to_end=True)
