"""A MovieLens folder as impressions and outcomes, so that real data can be replayed through the worker.

The replay exercises the pipeline and is no evidence about any ranker: both lists are simple, nobody ever saw
either of them, and a click stands for "rated it well later", which users do for films they were never offered.

    one user's ratings    * **  *** ** *          ****  **        * **
                          burst, no history       burst           burst
                                                  ^ event         ^ event

Users rate in bulk, so an event stands at the begin of a burst: ratings of one user with gaps below BURST_GAP_S.
What the lists are made of lies strictly before the event, for everyone; films that the user has rated are in
neither.  Ties go to the lower film id, so a folder always gives the same events.

    control    popularity   most ratings so far
    candidate  item-knn     nearest to the user's last liked films, by the shrunk cosine of who liked both

The outcome looks at the next film that the user likes, at or after the event: a click if control showed it.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from numpy.typing import NDArray

from worker.core import outcomes, records
from worker.core.errors import BadSettings, Fatal

# The usual end of a web session.  On ml-latest-small, with the defaults of `moments`, it gives 6,522 events of
# 300 of the 610 users, from 1 to 1,046 of one user; 307 users rated in one sitting and never came back.
BURST_GAP_S = 1_800
MAX_STARS = 5.0
LIKED = 4.0  # stars
HISTORY = 20  # ratings that the impression shows, the last ones
NUM_LIKED = 20  # liked films that item-knn starts from, the last ones
NEIGHBOURS = 50  # films near each of them
SHRINK = 10.0  # likes; holds down the cosine of pairs with few likes, which is 1.0 for two films liked once by one user

_NAMESPACE = uuid5(NAMESPACE_URL, "https://grouplens.org/datasets/movielens/")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, order=True)
class Rating:
    """A line of ratings.csv; sorts by time, then user, then film."""

    at_s: int
    user_id: int
    film_id: int
    stars: float


@dataclass(frozen=True, slots=True)
class Ratings:
    """A folder; `ratings` are sorted, each user rated a film at most once, and each film rated is in `films`."""

    films: Mapping[int, records.Texts]  # title and genres ("Comedy|Drama") by film id
    ratings: tuple[Rating, ...]


@dataclass(frozen=True, slots=True)
class _Burst:
    """A user's ratings strictly before a burst, and from its begin on."""

    before: Sequence[Rating]
    after: Sequence[Rating]

    @property
    def begin(self) -> Rating:
        return self.after[0]


def read(folder: Path) -> Ratings:
    """Read movies.csv and ratings.csv; raises Fatal at the first line that is not as MovieLens writes it."""
    movies, ratings = folder / "movies.csv", folder / "ratings.csv"
    listed = list(_table(movies, ("movieId", "title", "genres"), _film))
    _check_once(movies, (film_id for film_id, _ in listed))
    films = dict(listed)
    rated = sorted(_table(ratings, ("userId", "movieId", "rating", "timestamp"), lambda row: _rating(row, films)))
    _check_once(ratings, ((rating.user_id, rating.film_id) for rating in rated))
    return Ratings(films, tuple(rated))


def moments(
    ratings: Ratings, *, slate_size: int = 10, min_history: int = 5, limit: int | None = None
) -> Iterator[tuple[records.Impression, outcomes.Outcome]]:
    """Yield the first `limit` events by time, then user; None is all.

    A burst with fewer than `min_history` ratings before it gives no event, nor does one for which either list
    is short of `slate_size` films: lists of two lengths would not be comparable.
    """
    if not 1 <= slate_size <= records.MAX_ITEMS:
        raise BadSettings(f"slate_size: {slate_size}, want 1..{records.MAX_ITEMS}; nothing is replayed")
    return islice(_moments(ratings, slate_size, min_history), limit)


def _moments(data: Ratings, size: int, min_history: int) -> Iterator[tuple[records.Impression, outcomes.Outcome]]:
    crowd, num_known = _Crowd(data.ratings), 0
    for burst in sorted(_bursts(data.ratings, min_history), key=lambda burst: burst.begin):
        while data.ratings[num_known].at_s < burst.begin.at_s:  # the burst's own ratings end this walk
            crowd.add(data.ratings[num_known])
            num_known += 1
        popular, near = crowd.popular(burst.before, size), crowd.near(burst.before, size)
        if len(popular) == len(near) == size:
            impression = _impression(data.films, burst, popular, near)
            yield impression, _outcome(impression, burst, popular)


def _bursts(ratings: Iterable[Rating], min_history: int) -> Iterator[_Burst]:
    by_user = defaultdict[int, list[Rating]](list)
    for rating in ratings:
        by_user[rating.user_id].append(rating)
    for mine in by_user.values():
        for place in range(max(1, min_history), len(mine)):
            if mine[place].at_s - mine[place - 1].at_s >= BURST_GAP_S:
                yield _Burst(mine[:place], mine[place:])


class _Crowd:
    """What everyone has rated so far, and the two rankers on it.

    Films are places in the sorted film ids, so the order of places is that of ids.  The likes are kept by user
    and by film; co-likes are counted when asked for, which needs memory for the ratings only, not for pairs.
    """

    def __init__(self, ratings: Iterable[Rating]) -> None:
        """Give each film its place, by id."""
        self._ids = sorted({rating.film_id for rating in ratings})
        self._place = {film_id: place for place, film_id in enumerate(self._ids)}
        self._num_ratings = np.zeros(len(self._ids))
        self._num_likes = np.zeros(len(self._ids))
        self._likes = defaultdict[int, NDArray[np.int64]](lambda: np.zeros(0, np.int64))  # places by user
        self._fans = defaultdict[int, list[int]](list)  # users by place

    def add(self, rating: Rating) -> None:
        """Learn one rating."""
        place = self._place[rating.film_id]
        self._num_ratings[place] += 1
        if rating.stars >= LIKED:
            self._num_likes[place] += 1
            self._likes[rating.user_id] = np.append(self._likes[rating.user_id], place)
            self._fans[place].append(rating.user_id)

    def popular(self, before: Sequence[Rating], num: int) -> list[int]:
        """Return up to `num` film ids that `before` does not hold, most ratings first."""
        return [self._ids[place] for place in _top(self._num_ratings * self._unrated(before), num)]

    def near(self, before: Sequence[Rating], num: int) -> list[int]:
        """Return up to `num` film ids that `before` does not hold, nearest to its liked films first."""
        unrated, scores = self._unrated(before), np.zeros(len(self._ids))
        for place in [self._place[rating.film_id] for rating in before if rating.stars >= LIKED][-NUM_LIKED:]:
            liked_too = np.concatenate([self._likes[user_id] for user_id in self._fans[place]])
            both = np.bincount(liked_too, minlength=len(self._ids))
            alike = unrated * both / (np.sqrt(self._num_likes * self._num_likes[place]) + SHRINK)
            nearest = _top(alike, NEIGHBOURS)
            scores[nearest] += alike[nearest]
        return [self._ids[place] for place in _top(scores, num)]

    def _unrated(self, before: Sequence[Rating]) -> NDArray[np.bool_]:
        unrated = np.ones(len(self._ids), np.bool_)
        unrated[[self._place[rating.film_id] for rating in before]] = False
        return unrated


def _top(scores: NDArray[np.float64], num: int) -> NDArray[np.int64]:
    """Return the places of the `num` highest scores above 0, highest first; a tie goes to the lower place.

    >>> _top(np.array([0.0, 2.0, 5.0, 2.0, 2.0]), 3).tolist()
    [2, 1, 3]
    """
    best = np.flatnonzero(scores > 0)
    if len(best) > num:  # sort only those at or above the num-th
        best = best[scores[best] >= np.partition(scores[best], -num)[-num]]
    return best[np.argsort(-scores[best], kind="stable")][:num]


def _impression(
    films: Mapping[int, records.Texts], burst: _Burst, popular: Sequence[int], near: Sequence[int]
) -> records.Impression:
    name = f"{burst.begin.user_id} {burst.begin.at_s}"
    control, candidate = _items(films, popular), _items(films, near)
    history = tuple(_history_entry(films, rating) for rating in burst.before[-HISTORY:])
    return records.Impression(
        event_id=str(uuid5(_NAMESPACE, f"event {name}")),
        request_id=str(uuid5(_NAMESPACE, f"request {name}")),
        occurred_at=burst.begin.at_s * 1_000_000,
        user=records.User(str(burst.begin.user_id), records.IdKind.USER, history=history),
        slates=(
            records.Slate("popularity", control, records.Role.CONTROL, shown=True, policy_id="popularity"),
            records.Slate("item-knn", candidate, records.Role.CANDIDATE, policy_id="item-knn"),
        ),
        domain=records.Domain.MOVIES,
        experiment=records.Experiment("movielens"),
    )


def _outcome(impression: records.Impression, burst: _Burst, popular: Sequence[int]) -> outcomes.Outcome:
    """Return whether control showed the next liked film; a user without further liked films clicks nothing."""
    liked = next((rating for rating in burst.after if rating.stars >= LIKED), None)
    observed_at = (liked or burst.after[-1]).at_s * 1_000_000
    actions: tuple[outcomes.Action, ...] = ()
    if liked and liked.film_id in popular:
        position, kind = popular.index(liked.film_id), outcomes.ActionKind.CLICK
        actions = (outcomes.Action(str(liked.film_id), position, kind, occurred_at=observed_at),)
    return outcomes.Outcome(
        outcome_id=str(uuid5(_NAMESPACE, f"outcome {impression.event_id}")),
        event_id=impression.event_id,
        user_id=impression.user.user_id,
        variant="popularity",
        observed_at=observed_at,
        request_id=impression.request_id,
        experiment_id=impression.experiment_id,
        actions=actions,
        window_closed=True,
    )


def _items(films: Mapping[int, records.Texts], film_ids: Sequence[int]) -> tuple[records.Item, ...]:
    return tuple(records.Item(str(film_id), i, attributes=films[film_id]) for i, film_id in enumerate(film_ids))


def _history_entry(films: Mapping[int, records.Texts], rating: Rating) -> records.HistoryEntry:
    item = records.HistoryItem(str(rating.film_id), attributes=films[rating.film_id])
    return records.HistoryEntry(item, rating=rating.stars, occurred_at=rating.at_s * 1_000_000)


def _table(path: Path, columns: Sequence[str], parse: Callable[[Mapping[str, str]], _T]) -> Iterator[_T]:
    """Yield each line of a CSV file, parsed; a ValueError of `parse` becomes a Fatal that names the line."""
    line, want = 1, f"want {','.join(columns)} as MovieLens writes them; nothing is replayed"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)  # strict: an open quote would swallow the rest of the file
            if not set(columns) <= set(reader.fieldnames or ()):
                raise ValueError(f"columns {','.join(reader.fieldnames or ())}")
            line = reader.line_num + 1
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError("too few or too many values")
                yield parse(row)
                line = reader.line_num + 1
    except OSError as error:
        raise Fatal(f"{path}: {error.strerror}, {want}") from error
    except (csv.Error, ValueError) as error:
        raise Fatal(f"{path} line {line}: {error}, {want}") from error


def _film(row: Mapping[str, str]) -> tuple[int, records.Texts]:
    if not 1 <= len(row["title"]) <= records.MAX_TEXT:
        raise ValueError(f"a title of {len(row['title'])} characters")
    return int(row["movieId"]), {"title": row["title"], "genres": row["genres"]}


def _rating(row: Mapping[str, str], films: Mapping[int, records.Texts]) -> Rating:
    rating = Rating(int(row["timestamp"]), int(row["userId"]), int(row["movieId"]), float(row["rating"]))
    if not 0 < rating.stars <= MAX_STARS:  # refuses NaN too
        raise ValueError(f"rating {rating.stars}")
    if not 0 <= rating.at_s <= records.MAX_TIME_US // 1_000_000:
        raise ValueError(f"timestamp {rating.at_s}, not in seconds")
    if rating.film_id not in films:
        raise ValueError(f"movieId {rating.film_id} is not in movies.csv")
    return rating


def _check_once(path: Path, keys: Iterable[object]) -> None:
    """Refuse a key that stands twice: it would be counted twice."""
    for key, num in Counter(keys).most_common(1):
        if num > 1:
            raise Fatal(f"{path}: {num} lines about {key}, want one; nothing is replayed")
