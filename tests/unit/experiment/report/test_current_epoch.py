"""Which epoch a reader is shown: a straggler or a rolling upgrade flips no verdict, and a rebuild changes nothing."""

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.support.experiment.made import answers, response
from worker.experiment.readout import Report
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.report.current_epoch import current
from worker.experiment.statistics.confidence import Verdict
from worker.experiment.store.database import State


def after(records: list[dict[str, object]]) -> Report:
    """Report on records, in the order in which they came."""
    state = State()
    found = answers(records)
    state.take(found, health={}, positions={})
    return report(state, Defaults())


def users(numbers: range, *, minute: int, fingerprint: str, share: float) -> Iterator[dict[str, object]]:
    """Answer one event of each of these users, one user per minute."""
    for place, user in enumerate(numbers):
        spread = 0.1 * (user % 2)
        yield response(user, minute + place, fingerprint=fingerprint, duel_share=share + spread)


def test_an_experiment_with_stragglers_prints_no_flip_in_400_runs() -> None:
    """1 to 30 late events of old configurations, anywhere among or after 400 users of the current one."""
    flips = 0
    for seed in range(400):
        rng = random.Random(seed)
        old = {user: rng.randrange(1_000) for user in range(300)}
        now = {user: 1_000 + rng.randrange(1_000) for user in rng.sample(range(600), 400)}
        late = {rng.randrange(700): 1_000 + rng.randrange(1_500) for _ in range(rng.randint(1, 30))}
        assert current([old, now]) == 1
        flips += current([now, old | late]) != 0
    assert flips == 0


def test_an_experiment_upgraded_pod_by_pod_turns_once() -> None:
    """The share of the new configuration grows from 0 to 1 over 2,000 users: it is current once most are there."""
    for seed in range(40):
        rng = random.Random(seed)
        epochs: list[dict[int, int]] = [{user: user for user in range(500)}, {}]
        shown = []
        for user in range(500, 2_500):
            epochs[rng.random() < (user - 500) / 2_000][user] = user
            if user % 100 == 0:
                shown.append(current(epochs))
        assert (shown[0], shown[-1], shown[5], shown[-3]) == (0, 1, 0, 1)
        assert sum(a != b for a, b in pairwise(shown)) == 1


def test_an_experiment_of_two_configurations_side_by_side_keeps_to_one() -> None:
    """Half of the users each, looked at every ten users."""
    for seed in range(20):
        rng = random.Random(seed)
        epochs: list[dict[int, int]] = [{user: user for user in range(300)}, {}]
        shown = set()
        for user in range(300, 3_000):
            epochs[rng.random() < 0.5][user] = user
            if user % 10 == 0:
                shown.add(current(epochs))
        assert shown == {0}


@pytest.mark.parametrize("minute", [0, 700, 5_000])
def test_an_experiment_keeps_its_verdict_when_an_old_worker_answers_one_more_event(minute: int) -> None:
    """Its event may be the newest of all; the epochs stay apart and the old one is not the last."""
    old = list(users(range(200), minute=0, fingerprint="old", share=0.2))
    new = list(users(range(200, 500), minute=300, fingerprint="new", share=0.7))
    straggler = [response(900, minute, fingerprint="old", duel_share=0.1)]
    found = after([*old, *new, *straggler]).readouts[0]
    assert (found.current.config_fingerprint, found.current.comparisons[0].verdict) == (
        "new",
        Verdict.CANDIDATE_PREFERRED,
    )
    assert {epoch.config_fingerprint for epoch in found.epochs} == {"old", "new"}


def test_an_experiment_has_the_same_current_epoch_in_whatever_order_it_was_read() -> None:
    """After a rebuild partitions come in another order, and users have other numbers."""
    records = [
        *users(range(150), minute=0, fingerprint="old", share=0.2),
        *users(range(100, 260), minute=150, fingerprint="new", share=0.7),
        response(7, 10_000, fingerprint="old"),
    ]
    before = after(records)
    for seed in range(3):
        random.Random(seed).shuffle(records)
        assert after(records) == before
