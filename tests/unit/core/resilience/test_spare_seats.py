"""How many draws a shared server may have from us: at once none, and back in steps."""

import math
from itertools import pairwise

import pytest

from worker.core.resilience.spare_seats import STALE_S, HighMarks, ServerLoad, SpareSeats

EVERY_S = 0.5
MARKS = HighMarks(waiting=4, kv_usage=0.8, token_s=0.05)
IDLE = ServerLoad(waiting=0, kv_usage=0.1, token_s=0.01)
BUSY = ServerLoad(waiting=9, kv_usage=0.1, token_s=0.01)


class Scraped:
    """Seats that are all taken, and a clock that steps from scrape to scrape."""

    def __init__(self, most: int = 64, seed: str = "one") -> None:
        self.of, self.now_s = SpareSeats(MARKS, most=most, seed=seed), 0.0

    def see(self, *loads: ServerLoad | None) -> list[int]:
        found = []
        for load in loads:
            self.of.update(load, taken=self.of.seats, now_s=self.now_s)
            self.now_s += EVERY_S
            found.append(self.of.seats)
        return found


def grown(most: int = 64) -> Scraped:
    seats = Scraped(most)
    assert seats.see(*[IDLE] * 60)[-1] == most
    return seats


def test_there_is_no_seat_before_the_load_is_known() -> None:
    seats = Scraped()
    assert (seats.of.seats, seats.of.why) == (0, "its load is not known yet")


@pytest.mark.parametrize(
    ("load", "why"),
    [
        (BUSY, "9 requests wait there, want at most 4"),
        (ServerLoad(0, 0.81), "81% of its KV cache is in use, want at most 80%"),
        (ServerLoad(0, 0.1, 0.06), "a token takes 0.06 s there, want at most 0.05 s"),
    ],
)
def test_one_figure_above_its_mark_takes_all_seats_at_once(load: ServerLoad, why: str) -> None:
    seats = grown()
    assert seats.see(load) == [0]
    assert seats.of.why == why


def test_where_nothing_is_known_yet_one_seat_is_first() -> None:
    assert next(one for one in Scraped().see(*[IDLE] * 60) if one) == 1


def test_seats_return_an_eighth_first_and_in_steps() -> None:
    seats = grown()
    seats.see(*[IDLE] * 5)  # it bears all of them
    seats.see(BUSY)
    found = seats.see(*[IDLE] * 60)
    assert found[1] == 0  # not before a second of calm
    assert next(one for one in found if one) == 64 // 8
    assert all(after <= 2 * before for before, after in pairwise(found) if before)
    assert found[-1] == 64


def test_what_a_server_bore_until_others_came_is_back_in_a_few_steps() -> None:
    """From 8 to 64 in three doublings, each after one or two scrapes; growth by an eighth would take 18 steps."""
    seats = grown()
    seats.see(*[IDLE] * 5)  # longer than the last step takes to show
    seats.see(BUSY)
    found = seats.see(*[IDLE] * 60)
    assert found.index(64) - found.index(8) <= 3 * 2


def test_beyond_what_it_had_before_a_step_that_was_too_much_growth_is_slow() -> None:
    """The server is busy as soon as it has the last seats: they were too much."""
    seats = Scraped()
    while seats.see(IDLE) != [64]:
        pass
    seats.see(BUSY)
    found = seats.see(*[IDLE] * 60)
    steps = [(before, after) for before, after in pairwise(found) if before >= 32]
    assert all(after - before <= max(1, before // 8) for before, after in steps)
    assert (next(one for one in found if one), steps[0][0]) == (4, 32)


def test_what_swings_between_busy_and_idle_gets_no_seat_in_between() -> None:
    """Each scrape that is idle follows one that is busy: no second of calm."""
    seats = grown()
    assert set(seats.see(*[BUSY, IDLE] * 20)) == {0}


def test_between_the_marks_seats_stay_and_do_not_return() -> None:
    between = ServerLoad(0, 0.7)
    seats = grown(most=8)
    assert set(seats.see(*[between] * 20)) == {8}
    seats.see(BUSY)
    assert set(seats.see(*[between] * 20)) == {0}


def test_as_many_seats_go_as_requests_wait_below_the_mark() -> None:
    seats = grown(most=16)
    assert seats.see(ServerLoad(3, 0.1), ServerLoad(3, 0.1)) == [13, 10]
    assert seats.of.why == ""
    assert set(seats.see(*[ServerLoad(4, 0.1)] * 10)) >= {1}


@pytest.mark.parametrize(
    "load", [None, ServerLoad(math.nan, 0.1), ServerLoad(0, math.nan), ServerLoad(0, 0.1, math.inf)]
)
def test_a_load_that_cannot_be_read_is_chance_at_first_and_busy_after_two_seconds(load: ServerLoad | None) -> None:
    seats = grown(most=8)
    found = seats.see(*[load] * 5)
    assert found[0] == 8
    assert found[math.ceil(STALE_S / EVERY_S)] == 0
    assert seats.of.why == "it tells no load that can be read"


def test_one_lost_scrape_begins_the_second_of_calm_anew() -> None:
    seats = grown(most=8)
    seats.see(BUSY)
    assert set(seats.see(*[IDLE, None] * 10)) == {0}


def test_a_server_that_never_tells_its_load_gets_no_draw() -> None:
    assert set(Scraped().see(*[None] * 20)) == {0}


def test_seats_that_are_not_used_do_not_grow() -> None:
    seats = SpareSeats(MARKS, most=64, seed="one")
    for step in range(60):
        seats.update(IDLE, taken=0, now_s=EVERY_S * step)
    assert seats.seats == 1


def test_workers_do_not_return_together() -> None:
    def first(seed: str) -> int:
        return [bool(one) for one in Scraped(seed=seed).see(*[IDLE] * 20)].index(True)

    assert len({first(str(number)) for number in range(20)}) > 1
