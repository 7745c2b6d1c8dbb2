"""The first start of a group, and backfills, with members that are slow or die at their first assignment."""

from datetime import UTC, datetime

from .ledger import Fate
from .play import Play
from .topics import draw_group

OLD_MS = 1_795_000_000_000  # of the records that a backfill leaves out
HOUR_MS = 3_600_000
JOIN_S = 2.0  # from "worker ready" until all have asked to join; the broker's delay is as long


def first_start(play: Play) -> None:
    """start_from=latest: the past is not answered, whatever a member does; what comes later is, all of it."""
    chance = play.chance
    draw_group(play, start_from="latest")
    partitions = chance.choice([4, 6])
    play.make_outputs()
    play.make("in", partitions)
    play.send("in", range(10 * partitions), Fate.NEITHER, why="sent before the group's first start", num_users=1000)
    fault = chance.choice(["slow", "dies", "dies", "none"])
    numbers = [play.worker() for _ in range(chance.choice([2, 3]))]
    last = numbers[-1]
    play.until(lambda: all("worker ready" in play.watched[one].evidence.log for one in numbers), "started workers")
    if fault != "none":
        play.rest(chance.uniform(0.3, JOIN_S))
        play.freeze(last)
        others = numbers[:-1]
        play.until(lambda: any("assigned" in play.watched[one].evidence.log for one in others), "assignment",
                   within_s=15)  # fmt: skip
        play.rest(chance.uniform(0.2, 1.5))
        if fault == "slow":
            play.thaw(last)
        else:
            play.kill(last)
            numbers = others
    play.until(
        lambda: sum(play.watched[one].metric("assigned_partitions") for one in numbers) == partitions,
        "assignment of all partitions",
    )
    play.rest(0.5)
    play.send("in", range(1000, 1000 + 10 * partitions), num_users=1000)


def backfill(play: Play) -> None:
    """`run --until-end --from T`: what is older is not answered, whatever a member does; the rest is, all of it."""
    chance = play.chance
    draw_group(play)
    partitions = chance.choice([3, 4])
    play.make_outputs()
    play.make("in", partitions)
    for one in range(partitions):
        play.send(
            "in", range(100 * one, 100 * one + 20), Fate.NEITHER, why="older than --from",
            partition=one, start_ms=OLD_MS - HOUR_MS,
        )  # fmt: skip
        play.send("in", range(100 * one + 50, 100 * one + 50 + chance.randint(1, 10)), partition=one, start_ms=OLD_MS)
    when = datetime.fromtimestamp(OLD_MS / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    words = ("--until-end", "--from", when)
    fault = chance.choice(["slow", "slow", "dies"])
    numbers = [play.worker(*words) for _ in range(2)]
    for number in numbers:
        play.may_end(number)
    play.until(lambda: all("worker ready" in play.watched[one].evidence.log for one in numbers), "started workers")
    play.rest(chance.uniform(0.3, JOIN_S))
    play.freeze(numbers[1])
    play.until(lambda: "assigned" in play.watched[numbers[0]].evidence.log, "assignment", within_s=15)
    play.rest(chance.uniform(0.2, 1.2))
    if fault == "slow":
        play.thaw(numbers[1])
        ended = numbers
    else:
        play.kill(numbers[1])
        ended = numbers[:1]
    for number in ended:
        play.ends(number, 0, within_s=60)
    if play.findings().lost:  # an interrupted backfill goes on where it was
        play.ends(play.worker(*words), 0, within_s=60)
