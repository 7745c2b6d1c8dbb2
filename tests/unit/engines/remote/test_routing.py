"""A user stays with one server unless that is down or busy, whatever becomes of the others."""

from collections import Counter

from hypothesis import given, strategies as st

from worker.engines.remote.routing import MORE, TIMES, choose

URLS = [f"http://gpu-{number}:8000" for number in range(5)]
USERS = [f"user-{number}" for number in range(1_000)]
pending = st.dictionaries(st.sampled_from(URLS), st.integers(0, 500), min_size=1)


def idle(*urls: str) -> dict[str, int]:
    return dict.fromkeys(urls, 0)


def test_users_are_spread_evenly() -> None:
    found = Counter(choose(user, idle(*URLS)) for user in USERS)
    assert min(found.values()) > 150 < max(found.values()) < 250


def test_a_server_that_goes_moves_its_own_users_alone_and_spreads_them() -> None:
    moved = [user for user in USERS if choose(user, idle(*URLS)) == URLS[0]]
    for user in USERS:
        stays = choose(user, idle(*URLS)) == choose(user, idle(*URLS[1:]))
        assert stays == (user not in moved)
    assert len({choose(user, idle(*URLS[1:])) for user in moved}) == 4


@given(pending, st.sampled_from(USERS))
def test_nobody_is_sent_to_one_that_is_notably_busier_than_the_least_busy(
    num_pending: dict[str, int], user: str
) -> None:
    chosen = choose(user, num_pending)
    assert num_pending[chosen] <= TIMES * min(num_pending.values()) + MORE
    assert chosen == choose(user, dict(reversed(num_pending.items())))


def test_draws_that_come_together_fill_no_server_far_beyond_the_others() -> None:
    num_pending = idle(*URLS)
    for user in USERS[:100]:
        for _ in range(6):
            num_pending[choose(user, num_pending)] += 1
    assert max(num_pending.values()) <= TIMES * min(num_pending.values()) + MORE + 1
