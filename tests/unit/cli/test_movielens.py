"""The replay of a MovieLens folder: lists from the past alone, one event per burst, outcomes as they were."""

import math
import random
from collections import Counter
from pathlib import Path

import pytest

from worker.cli.movielens import BURST_GAP_S, NEIGHBOURS, NUM_LIKED, SHRINK, moments, read
from worker.core.errors import BadSettings, Fatal
from worker.core.outcomes import Action, ActionKind, Outcome
from worker.core.records import Domain, Impression, Role

Line = tuple[int, int, float, int]  # user, film, stars, seconds

NUM_FILMS = 100
NUM_RATED = 70  # of each user, so that more than NUM_LIKED are liked
SLATE_SIZE = 4
MIN_HISTORY = 5


def crowd(seed: int = 1) -> list[Line]:
    """Sixteen users on one grid of ten minutes, so that seconds are shared within and across users."""
    chance = random.Random(seed)
    lines = []
    for user in range(1, 17):
        at_s = 1_000_000 + 600 * chance.randrange(50)
        for film in chance.sample(range(1, NUM_FILMS + 1), NUM_RATED):
            lines.append((user, film, chance.choice((2.0, 3.5, 4.0, 5.0)), at_s))
            at_s += chance.choice((0, 0, 0, 0, 0, 0, 600, 600, 1_200, 1_200, 1_800, 9_000))
    return lines


def write(folder: Path, lines: list[Line]) -> Path:
    """Write a folder as MovieLens does."""
    films = "".join(f'{film},"Film, The {film} (1999)",Comedy|Drama\n' for film in range(1, NUM_FILMS + 1))
    rated = "".join(f"{user},{film},{stars},{at_s}\n" for user, film, stars, at_s in lines)
    (folder / "movies.csv").write_text("movieId,title,genres\n" + films, encoding="utf-8")
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + rated, encoding="utf-8")
    return folder


def replay(folder: Path, lines: list[Line], slate_size: int = SLATE_SIZE) -> list[tuple[Impression, Outcome]]:
    """All events of these lines."""
    return list(moments(read(write(folder, lines)), slate_size=slate_size, min_history=MIN_HISTORY))


def shown(impression: Impression, role: Role) -> list[int]:
    """The film ids of the slate in that role, by position."""
    (slate,) = (slate for slate in impression.slates if slate.role is role)
    assert [item.position for item in slate.items] == list(range(len(slate.items)))
    return [int(item.item_id) for item in slate.items]


def place(impression: Impression) -> tuple[int, int]:
    """User and second of an event."""
    return int(impression.user.user_id), impression.occurred_at // 1_000_000


def before(lines: list[Line], at_s: int) -> list[Line]:
    """The lines strictly before a second, by time, then user, then film."""
    return sorted((line for line in lines if line[3] < at_s), key=lambda line: (line[3], *line[:2]))


def slow_popular(lines: list[Line], user: int, at_s: int) -> list[int]:
    """Popularity as one would say it."""
    past = before(lines, at_s)
    mine = {film for who, film, _, _ in past if who == user}
    counts = Counter(film for _, film, _, _ in past if film not in mine)
    return sorted(counts, key=lambda film: (-counts[film], film))[:SLATE_SIZE]


def slow_near(lines: list[Line], user: int, at_s: int, neighbours: int = NEIGHBOURS) -> list[int]:
    """Item-kNN from sets of users, pair by pair."""
    past = before(lines, at_s)
    mine = {film for who, film, _, _ in past if who == user}
    fans: dict[int, set[int]] = {}
    for who, film, stars, _ in past:
        fans.setdefault(film, set()).update({who} if stars >= 4 else ())
    scores: dict[int, float] = {}
    for mine_liked in [film for who, film, stars, _ in past if who == user and stars >= 4][-NUM_LIKED:]:
        a = fans[mine_liked]
        alike = {
            film: len(a & b) / (math.sqrt(len(a) * len(b)) + SHRINK)
            for film, b in fans.items()
            if a & b and film not in mine
        }
        for film in sorted(alike, key=lambda film: (-alike[film], film))[:neighbours]:
            scores[film] = scores.get(film, 0.0) + alike[film]
    return sorted(scores, key=lambda film: (-scores[film], film))[:SLATE_SIZE]


def slow_begins(lines: list[Line]) -> set[tuple[int, int]]:
    """User and second of each burst's begin that has enough ratings before it."""
    begins = set()
    for user in {line[0] for line in lines}:
        times = sorted(line[3] for line in lines if line[0] == user)
        for at_s in times:
            earlier = [time for time in times if time < at_s]
            if len(earlier) >= MIN_HISTORY and at_s - max(earlier) >= BURST_GAP_S:
                begins.add((user, at_s))
    return begins


def test_neither_list_holds_a_film_that_the_user_rated_before(tmp_path: Path) -> None:
    """A user is never offered what lies in the own past."""
    lines = crowd()
    for impression, _ in replay(tmp_path, lines):
        user, at_s = place(impression)
        mine = {film for who, film, _, _ in before(lines, at_s) if who == user}
        assert not mine & {*shown(impression, Role.CONTROL), *shown(impression, Role.CANDIDATE)}


def test_control_is_the_slow_popularity_of_strictly_earlier_ratings(tmp_path: Path) -> None:
    """Ratings of the event's own second, of which the folder has many, do not count."""
    lines = crowd()
    events = replay(tmp_path, lines)
    num_users = Counter(at_s for _, at_s in {(user, at_s) for user, _, _, at_s in lines})
    assert any(num_users[place(impression)[1]] > 1 for impression, _ in events)
    for impression, _ in events:
        assert shown(impression, Role.CONTROL) == slow_popular(lines, *place(impression))


def test_candidate_is_the_slow_item_knn_of_strictly_earlier_ratings(tmp_path: Path) -> None:
    """Also where a film has more neighbours than count, and a user more liked films than count."""
    lines = crowd()
    slow, uncut = [], []
    for impression, _ in replay(tmp_path, lines):
        slow.append(slow_near(lines, *place(impression)))
        uncut.append(slow_near(lines, *place(impression), neighbours=NUM_FILMS))
        assert shown(impression, Role.CANDIDATE) == slow[-1]
    assert len(slow) > 50
    assert slow != uncut


def test_the_future_changes_no_list(tmp_path: Path) -> None:
    """With other films and stars from some second on, the events up to that second offer the same."""
    lines = crowd()
    events = replay(tmp_path, lines)
    cut_s = place(events[len(events) // 2][0])[1]
    past, kept = before(lines, cut_s), [impression for impression, _ in events if place(impression)[1] <= cut_s]
    rated = {line[:2] for line in past}
    free = {user: [film for film in range(NUM_FILMS, 0, -1) if (user, film) not in rated] for user in range(1, 17)}
    future = [(user, free[user].pop(0), 5.0, at_s) for user, _, _, at_s in lines if at_s >= cut_s]
    assert kept == [impression for impression, _ in replay(tmp_path, past + future)][: len(kept)]


def test_every_burst_with_history_gives_one_event_in_order_of_time(tmp_path: Path) -> None:
    """No burst is split or left out, and none without history gives an event."""
    lines = crowd()
    events = [place(impression) for impression, _ in replay(tmp_path, lines)]
    assert len(events) == len(set(events))
    assert events == sorted(events, key=lambda event: (event[1], event[0]))
    missing = slow_begins(lines) - set(events)  # only those for which a list is short
    assert set(events) <= slow_begins(lines)
    assert all(min(len(slow_popular(lines, *one)), len(slow_near(lines, *one))) < SLATE_SIZE for one in missing)


@pytest.mark.parametrize(("gap_s", "num_events"), [(BURST_GAP_S - 1, 0), (BURST_GAP_S, 1)])
def test_a_burst_ends_with_a_gap_of_thirty_minutes(tmp_path: Path, gap_s: int, num_events: int) -> None:
    """One second less is the same burst."""
    assert len(replay(tmp_path, watched([(1, 10, 5.0, 1_000 + gap_s)]), slate_size=2)) == num_events


def watched(then: list[Line], num_before: int = 5) -> list[Line]:
    """User 1 and user 2 like films 1 to 5; user 2 likes 10 and 11 too, which makes them both lists for user 1."""
    first = [(1, film, 4.0, 1_000) for film in range(1, num_before + 1)]
    return [*first, *((2, film, 5.0, 500) for film in (1, 2, 3, 4, 5, 10, 11)), *then]


def only(events: list[tuple[Impression, Outcome]]) -> tuple[Impression, Outcome]:
    """The one event."""
    (event,) = events
    return event


@pytest.mark.parametrize(
    ("then", "actions", "observed_at"),
    [
        pytest.param(
            [(1, 11, 4.0, 9_000)],
            (Action("11", 1, ActionKind.CLICK, occurred_at=9_000_000_000),),
            9_000_000_000,
            id="liked at the event's own second",
        ),
        pytest.param(
            [(1, 20, 3.5, 9_000), (1, 10, 4.0, 9_060)],
            (Action("10", 0, ActionKind.CLICK, occurred_at=9_060_000_000),),
            9_060_000_000,
            id="a film not liked is passed over",
        ),
        pytest.param([(1, 20, 4.5, 9_000), (1, 10, 5.0, 9_060)], (), 9_000_000_000, id="the next liked was not shown"),
        pytest.param([(1, 10, 3.5, 9_000), (1, 11, 1.0, 9_060)], (), 9_060_000_000, id="liked nothing any more"),
    ],
)
def test_the_outcome_is_a_click_only_if_control_showed_the_next_liked_film(
    tmp_path: Path, then: list[Line], actions: tuple[Action, ...], observed_at: int
) -> None:
    """And a closed window without an action is a real no."""
    impression, outcome = only(replay(tmp_path, watched(then), slate_size=2))
    assert shown(impression, Role.CONTROL) == [10, 11]
    assert (outcome.actions, outcome.observed_at, outcome.window_closed) == (actions, observed_at, True)
    assert (outcome.event_id, outcome.request_id) == (impression.event_id, impression.request_id)
    assert (outcome.user_id, outcome.variant, outcome.experiment_id) == ("1", "popularity", "movielens")


def test_an_impression_names_its_variants_and_shows_the_last_ratings(tmp_path: Path) -> None:
    """History is oldest first, in microseconds, and no more than twenty."""
    first = [(1, film, 3.5, 1_000 + film) for film in range(30, 60)]
    impression, _ = only(replay(tmp_path, watched([*first, (1, 10, 5.0, 9_000)]), slate_size=2))
    assert [(s.variant, s.policy_id, s.role, s.shown) for s in impression.slates] == [
        ("popularity", "popularity", Role.CONTROL, True),
        ("item-knn", "item-knn", Role.CANDIDATE, False),
    ]
    assert (impression.domain, impression.experiment_id, impression.user.profile) == (Domain.MOVIES, "movielens", {})
    item = impression.slates[0].items[0]
    assert (item.text, dict(item.attributes)) == (None, {"title": "Film, The 10 (1999)", "genres": "Comedy|Drama"})
    history = impression.user.history
    assert [entry.item.item_id for entry in history] == [str(film) for film in range(40, 60)]
    assert [(entry.rating, entry.occurred_at) for entry in history[:1]] == [(3.5, 1_040_000_000)]
    assert history[0].item.attributes["title"] == "Film, The 40 (1999)"


def test_no_event_without_history_or_with_a_short_list(tmp_path: Path) -> None:
    """Four ratings before are too few; so are two films for lists of three."""
    then = [(1, 10, 5.0, 9_000)]
    assert replay(tmp_path, watched(then, num_before=4), slate_size=2) == []
    assert replay(tmp_path, watched(then), slate_size=3) == []


def test_the_order_of_the_lines_changes_nothing(tmp_path: Path) -> None:
    """The same ratings give the same events with the same ids, and every id stands once."""
    lines = crowd()
    events = replay(tmp_path, lines)
    assert events == replay(tmp_path, random.Random(2).sample(lines, len(lines)))
    ids = {one_id for event, outcome in events for one_id in (event.event_id, event.request_id, outcome.outcome_id)}
    assert len(ids) == 3 * len(events)


def test_a_limit_gives_the_first_events(tmp_path: Path) -> None:
    """Of the same replay."""
    data = read(write(tmp_path, crowd()))
    assert list(moments(data, limit=3)) == list(moments(data))[:3]


@pytest.mark.parametrize("slate_size", [0, 201])
def test_a_slate_size_out_of_range_is_refused_at_once(tmp_path: Path, slate_size: int) -> None:
    """Before the first event is asked for."""
    data = read(write(tmp_path, []))
    with pytest.raises(BadSettings, match=rf"slate_size: {slate_size}, want 1\.\.200"):
        moments(data, slate_size=slate_size)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("movies.csv", None, r"movies\.csv: No such file"),
        ("ratings.csv", None, r"ratings\.csv: No such file"),
        ("movies.csv", "", r"movies\.csv line 1: columns , want movieId,title,genres"),
        ("movies.csv", "movieId,title\n", r"line 1: columns movieId,title, want movieId,title,genres"),
        ("movies.csv", "movieId,title,genres\n1,,Drama\n", "line 2: a title of 0 characters"),
        ("movies.csv", "movieId,title,genres\n1,A,B\n1,C,D\n", r"movies\.csv: 2 lines about 1, want one"),
        ("movies.csv", 'movieId,title,genres\n1,A,B\n2,"C,D\n3,E,F\n', "line 3: unexpected end of data"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0\n", "line 2: too few or too many values"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0,9,9\n", "line 2: too few or too many values"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0,9\nx,1,4.0,9\n", "line 3: invalid literal"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1,nan,9\n", "line 2: rating nan"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1,5.5,9\n", "line 2: rating 5.5"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0,-1\n", "line 2: timestamp -1, not in seconds"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,999,4.0,9\n", r"line 2: movieId 999 is not in movies\.csv"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0,9\n1,1,3.0,8\n", r"2 lines about \(1, 1\), want one"),
    ],
)
def test_a_bad_folder_stops_with_its_place(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    """Nothing is replayed from a folder that is not as MovieLens writes it."""
    path = write(tmp_path, []) / name
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(Fatal, match=rf"{message}.*nothing is replayed"):
        read(tmp_path)
