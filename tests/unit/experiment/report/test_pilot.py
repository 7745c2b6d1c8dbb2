"""A pilot is read from a state file: its spread, its names, and why there is none."""

from pathlib import Path

import pytest

from tests.support.experiment.made import answers, response
from worker.core.errors import BadSettings
from worker.experiment.report.pilot import read
from worker.experiment.store.database import State

USERS, EVENTS = 60, 3


def draw(share: float, order: tuple[int, int]) -> dict[str, object]:
    return {"probabilities": [1 - share, share], "presented_order": list(order)}


def duel(user: int, event: int, **changes: object) -> dict[str, object]:
    """Answer a duel of two items: users differ by 0.2, events of one by 0.1, and both draws by 0.2."""
    share = 0.5 + (0.1 if user % 2 else -0.1) + 0.1 * (event - 1)
    options = [
        {"item_id": name, "position": 0, "variants": [variant], "kind": "ORGANIC", "probability": probability}
        for name, variant, probability in (("a", "control", 1 - share), ("b", "candidate", share))
    ]
    draws = [draw(share + 0.1, (0, 1)), draw(share - 0.1, (1, 0))]
    return response(user, event, **({"duel_share": share, "options": options, "draws": draws} | changes))  # type: ignore[arg-type]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state.db"
    opened = State(path)
    found = answers(duel(user, event) for user in range(USERS) for event in range(EVENTS))
    found += answers(duel(user, 0, experiment_id="few") for user in range(29))
    found += answers(response(user, 0, experiment_id="flat") for user in range(USERS))
    opened.take(found, health={"read": len(found)}, positions={})
    opened.close()
    return path


def test_a_pilot_is_read_with_its_parts(state: Path) -> None:
    found = read(state, "exp", metric="duel_share", draws=2)
    assert (found.candidate, found.candidates, found.control) == ("candidate", ("candidate",), "control")
    spread = found.spread
    assert (spread.users, spread.events, spread.differing) == (USERS, USERS * EVENTS, 1.0)
    assert spread.sd == pytest.approx(0.1, rel=0.02)
    assert spread.of_draw == pytest.approx(2 * 0.1**2, rel=0.02)  # half the difference of both draws is 0.1
    assert spread.within == pytest.approx(0.1**2 - 0.1**2, abs=1e-6)  # events differ as much as draws explain
    assert spread.inverse_events == pytest.approx(1 / EVENTS)


def test_one_draw_says_nothing_of_draws(state: Path) -> None:
    assert read(state, "exp", metric="duel_share", draws=1).spread.of_draw is None


@pytest.mark.parametrize(
    ("experiment", "told"),
    [
        ("few", "--pilot few, duel_share: fewer than 30 users with an answer"),
        ("flat", "--pilot flat, duel_share: all users have the same value"),
        ("ex", "no experiment ex; there are exp, few, flat; did you mean exp?"),
    ],
)
def test_a_pilot_that_says_nothing_is_refused(state: Path, experiment: str, told: str) -> None:
    with pytest.raises(BadSettings) as refused:
        read(state, experiment, metric="duel_share", draws=2)
    assert told in str(refused.value)


def test_a_state_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "nosuch.db"
    with pytest.raises(BadSettings, match="want the file that a reader keeps"):
        read(path, "exp", metric="duel_share", draws=2)
    assert not path.exists()
