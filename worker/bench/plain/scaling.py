"""The gain from two, four and eight workers: the choice model is slowed down, so waiting is the limit, not the CPU.

    efficiency of n workers = rate of n / (n x rate of one), within one round

Real workers wait for their GPUs; here each worker sleeps.  That shows the cost of sharing a group, a topic and a
broker, as long as the machine has free CPU: a run that used more than half of it is void.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from worker.bench.harness import traffic
from worker.bench.harness.processes import Contending, interruptible, machine_cpu, running
from worker.bench.harness.rounds import Measured
from worker.bench.harness.steady_stretch import Stretch
from worker.bench.harness.topics import new_name, plain_client, topics
from worker.bench.plain.contenders import Run
from worker.bench.plain.outputs import Outputs
from worker.core.errors import Fatal

SIZES = (1, 2, 4, 8)
PARTITIONS = 24  # the same share for each worker at every size
LATENCY_S = 1.0
WINDOW_RECORDS = 24  # a worker answers about this many per LATENCY_S and flush
EVENTS = 400  # per worker: about 18 s
LAST_SHARE = 0.15  # workers do not all finish at the same time
MAX_CPU = 0.5  # of the machine, including the broker and all other processes
SCALED = tuple(f"scaling_{size}" for size in SIZES[1:])
VOID = f"void: more than {MAX_CPU:.0%} of the CPU was used in every round"
_JOIN_S = 60.0
_ANSWER_S = 5.0  # for one look at the group: a broker that is new has no coordinator for it yet

Say = Callable[[str], None]


def run_scaling(bootstrap: str, measured: list[Measured], *, rounds: int, say: Say) -> None:
    """Measure 1, 2, 4 and 8 workers in every round, in reverse order in every second one; append to `measured`.

    Raises `Fatal` if a worker ends.
    """
    with interruptible():
        for number in range(rounds):
            for size in SIZES if number % 2 == 0 else SIZES[::-1]:
                measured.append(_measure(bootstrap, size, number))
                say(_line(measured[-1]))
    for one in filter(is_void, measured):
        say(f"void: {_line(one)}: more than {MAX_CPU:.0%} of the CPU was used")


def figures_of(measured: Sequence[Measured]) -> dict[str, list[float]]:
    """Return the figures, one value per round."""
    figures = {name: efficiency(measured, size) for name, size in zip(SCALED, SIZES[1:], strict=True)}
    return figures | {"scaling_machine_cpu_share": [one.figures["machine_cpu_share"] for one in measured]}


def efficiency(measured: Iterable[Measured], size: int) -> list[float]:
    """Return the efficiency of `size` workers, 1 for `size` times the rate of one, per round that is not void.

    >>> def run(size, events, share): return Measured(f"workers_{size}", 0, events, 10.0, {"machine_cpu_share": share})
    >>> efficiency([run(1, 100, 0.2), run(2, 190, 0.3)], 2), efficiency([run(1, 100, 0.2), run(2, 190, 0.6)], 2)
    ([0.95], [])
    """
    speed = {(one.contender, one.number): one.events_per_s for one in measured if not is_void(one)}
    pairs = [((f"workers_{size}", number), one) for (name, number), one in speed.items() if name == "workers_1"]
    return [speed[many] / (size * one) for many, one in pairs if many in speed]


def is_void(one: Measured) -> bool:
    """Return True if more than `MAX_CPU` of the machine's CPU was used: the rate is not valid."""
    return one.figures["machine_cpu_share"] > MAX_CPU


def _measure(bootstrap: str, size: int, number: int) -> Measured:
    """Start the workers on an empty topic, wait until they share its partitions, then send events."""
    name = f"{new_name()}-{size}"
    run = Run(bootstrap, f"{name}-in", name, f"{name}.dlq")
    impressions = list(traffic.impressions(EVENTS * size))  # generated in advance, so that sending is fast
    command = run.worker(choice_latency_s=LATENCY_S, window_max_records=WINDOW_RECORDS)
    with ExitStack() as stack:
        partitions = {run.topic: PARTITIONS, run.output: PARTITIONS, run.dead_letters: 1}
        stack.enter_context(topics(plain_client(bootstrap), partitions))
        outputs = stack.enter_context(closing(Outputs(bootstrap, run.output)))
        workers = [stack.enter_context(running(command)) for _ in range(size)]
        _await_shares(bootstrap, run.output, workers)
        expected = traffic.publish(bootstrap, run.topic, impressions, partitions=PARTITIONS)
        stretch = Stretch(len(expected), last_share=LAST_SHARE)
        used_s, had_s = machine_cpu()
        outputs.follow(stretch, *workers)
        share = (machine_cpu()[0] - used_s) / (machine_cpu()[1] - had_s)
    if not stretch.passed:
        raise Fatal(f"{size} workers: {stretch.total} responses arrived at the same time; want more to measure a rate")
    figures = {"machine_cpu_share": share, "cpu_s_per_event": stretch.cpu_s * traffic.QUESTIONS_AN_EVENT / stretch.num}
    return Measured(
        f"workers_{size}", number, round(stretch.num / traffic.QUESTIONS_AN_EVENT), stretch.seconds, figures
    )


def _await_shares(bootstrap: str, group: str, workers: Sequence[Contending]) -> None:
    """Wait until every worker has its share of the partitions.  Raises `Fatal` after `_JOIN_S`."""
    admin = AdminClient(plain_client(bootstrap))
    deadline_s = time.monotonic() + _JOIN_S
    while _shares(admin, group) != [PARTITIONS // len(workers)] * len(workers):
        for worker in workers:
            worker.raise_if_ended()
        if time.monotonic() > deadline_s:
            raise Fatal(
                f"{PARTITIONS} partitions were not assigned evenly to {len(workers)} workers within {_JOIN_S:.0f} s"
            )
        time.sleep(0.5)


def _shares(admin: AdminClient, group: str) -> list[int]:
    """Return the number of partitions of each member; [] if the group does not exist yet, or nobody knows it now."""
    try:
        asked = admin.describe_consumer_groups([group], request_timeout=_ANSWER_S)
        found = asked[group].result(2 * _ANSWER_S)
    except (KafkaException, TimeoutError):
        return []
    return [len(member.assignment.topic_partitions) for member in found.members if member.assignment]


def _line(found: Measured) -> str:
    share = found.figures["machine_cpu_share"]
    return (
        f"round {found.number + 1}, {found.contender}: {found.events_per_s:.1f} events/s, {share:.0%} of the CPU in use"
    )
