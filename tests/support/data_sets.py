"""Files in the formats of public data sets, as their own pages document them; every value is made up."""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

MAPPINGS = Path(__file__).parents[2] / "worker" / "settings" / "mappings"


@dataclass(frozen=True, slots=True)
class DataSet:
    """Files of one data set: events, and items if it has such a file."""

    mapping: str
    events: Path
    items: Path | None = None


def _write(path: Path, rows: Sequence[Sequence[object]], separator: str = "\t") -> Path:
    path.write_text("".join(separator.join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return path


def mind(folder: Path, rows: Sequence[tuple[str, str]] = (("N1 N2", "N3-1 N4-0"), ("", "N1-0 N2-0"))) -> DataSet:
    """behaviors.tsv and news.tsv; a row has history and impressions."""
    behaviours = [
        (number, f"U{number}", f"11/1{1 + number % 5}/2019 8:{number % 60:02}:22 AM", *one)
        for number, one in enumerate(rows, 1)
    ]
    titles = {
        "N1": ("sports", 'The "best" of the cup'), "N2": ("lifestyle", "Fall recipes"),
        "N3": ("news", "Storm reaches the coast"), "N4": ("finance", "Markets rise again"),
    }  # fmt: skip
    news = [(name, one[0], "sub", one[1], "An abstract.", "https://x", "[]", "[]") for name, one in titles.items()]
    return DataSet("mind", _write(folder / "behaviors.tsv", behaviours), _write(folder / "news.tsv", news))


def kuairand(folder: Path, clicks: Sequence[int] = (1, 0)) -> DataSet:
    """A log, with statistics of videos."""
    head = (
        "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
        "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
    )
    rows = [
        (number, number % 2, 20220408, 2100, 1_649_422_800_000 + number, click, 0, 0, 0, 0, 0, click, 5_000 * click,
         9_000, 0, 0, 0, number % 2, 1)
        for number, click in enumerate(clicks)
    ]  # fmt: skip
    stats = [("video_id", "counts", "show_cnt", "play_cnt", "like_cnt", "comment_cnt", "share_cnt"),
             (0, 9, 900, 1_250, 310, 12, 4), (1, 9, 900, 80, 3, 0, 0)]  # fmt: skip
    return DataSet(
        "kuairand",
        _write(folder / "log_random_4_22_to_5_08.csv", [head.split(","), *rows], ","),
        _write(folder / "video_features_statistic.csv", stats, ","),
    )


def kuairec(folder: Path) -> DataSet:
    """A matrix, with captions."""
    rows = [("user_id", "video_id", "play_duration", "video_duration", "time", "date", "timestamp", "watch_ratio"),
            (14, 148, 4381, 1000, "2020-07-05 05:27:48.378", 20200705, 1593898068.378, 4.381),
            (14, 183, 500, 9000, "2020-07-05 05:28:00", 20200705, 1593898080.0, 0.0555)]  # fmt: skip
    head = ("video_id", "manual_cover_text", "caption", "topic_tag", "first_level_category_id",
            "first_level_category_name", "second_level_category_id", "second_level_category_name",
            "third_level_category_id", "third_level_category_name")  # fmt: skip
    none = (-124, "UNKNOWN", -124, "UNKNOWN")
    captions = [
        head,
        (148, "UNKNOWN", "猫咪晚安", "[]", 1, "萌宠", *none),
        (183, "火锅", "吃火锅", "[]", 2, "美食", *none),
    ]
    return DataSet(
        "kuairec",
        _write(folder / "small_matrix.csv", rows, ","),
        _write(folder / "kuairec_caption_category.csv", captions, ","),
    )


def open_bandit(folder: Path, rows: Sequence[tuple[int, int, float]] = ((4, 1, 0.0125), (7, 0, 0.0125)), *,
                candidate: Sequence[tuple[int, float]] = ()) -> DataSet:  # fmt: skip
    """A campaign's log: item, click, propensity; `candidate` adds what an own policy does there."""
    head = ["", "timestamp", "item_id", "position", "click", "propensity_score"]
    head += [f"user_feature_{number}" for number in range(4)]
    affinities = [f"user-item_affinity_{number}" for number in range(34)]  # of "men"; "all" has 80 and "women" 46
    head += affinities
    table: list[Sequence[object]] = [[*head, "candidate_item_id", "candidate_propensity"] if candidate else head]
    for number, (item, click, propensity) in enumerate(rows):
        at = f"2019-11-24 00:{number // 60 % 60:02}:{number % 60:02}.004101+00:00"
        row: list[object] = [number, at, item, 1 + number % 3, click, propensity, "cef3", "03a5", "2723", "c2e5"]
        row += [0.0] * len(affinities)
        table.append([*row, *candidate[number]] if candidate else row)
    items = [("", "item_id", "item_feature_0", "item_feature_1", "item_feature_2", "item_feature_3")]
    items += [(str(n), str(n), "-0.67", "3c6d4f1e", "7a9b8c2d", "5e1f0a3b") for n in range(80)]
    return DataSet(
        "open-bandit",
        _write(folder / "men.csv", table, ","),
        _write(folder / "item_context.csv", items, ","),
    )


def recbole(folder: Path) -> DataSet:
    """Atomic files of MovieLens; the tokens of a sequence have blanks between them."""
    inter = [("user_id:token", "item_id:token", "rating:float", "timestamp:float"),
             (196, 242, 3, 881250949), (196, 302, 5, 891717742)]  # fmt: skip
    item = [("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"),
            (242, "Kolya", 1996, "Comedy"), (302, "L.A. Confidential", 1997, "Crime Thriller")]  # fmt: skip
    return DataSet("recbole", _write(folder / "ml-100k.inter", inter), _write(folder / "ml-100k.item", item))


def amazon_reviews(folder: Path) -> DataSet:
    """Reviews and what they are of, compressed as they are offered."""
    review = {"rating": 5.0, "title": "Great", "text": "Works.", "images": [], "asin": "B00YQ6X8EO",
              "parent_asin": "B00YQ6X8EO", "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ", "timestamp": 1588687728923,
              "helpful_vote": 0, "verified_purchase": True}  # fmt: skip
    early = review | {"timestamp": 870_000_000_000, "rating": 3.0}
    meta = {"main_category": "All Beauty", "title": "Hair &amp; Body Wash", "average_rating": 4.8, "rating_number": 10,
            "features": [], "price": 12.99, "categories": ["Beauty", "Bath"], "parent_asin": "B00YQ6X8EO"}  # fmt: skip
    events, items = folder / "All_Beauty.jsonl.gz", folder / "meta_All_Beauty.jsonl.gz"
    events.write_bytes(gzip.compress("\n".join(map(json.dumps, (review, early))).encode()))
    items.write_bytes(gzip.compress(json.dumps(meta).encode()))
    return DataSet("amazon-reviews", events, items)


RATINGS = ((196, 242, 3, 881250949), (196, 302, 5, 891717742))


def movielens_100k(folder: Path) -> DataSet:
    """u.data and u.item, made UTF-8."""
    flags = ["0"] * 18
    comedy, crime = [*flags], [*flags]
    comedy[4] = crime[5] = crime[15] = "1"
    films = [(242, "Kolya (1996)", "24-Jan-1997", "", "http://x", "0", *comedy),
             (302, "L.A. Confidential (1997)", "01-Jan-1997", "", "http://x", "0", *crime)]  # fmt: skip
    return DataSet("movielens-100k", _write(folder / "u.data", RATINGS), _write(folder / "u.item", films, "|"))


def movielens_1m(folder: Path) -> DataSet:
    """ratings.dat and movies.dat."""
    films = [(242, "Kolya (1996)", "Comedy"), (302, "L.A. Confidential (1997)", "Crime|Thriller")]
    events, items = _write(folder / "ratings.dat", RATINGS, "::"), _write(folder / "movies.dat", films, "::")
    return DataSet("movielens-1m", events, items)


def movielens_latest(folder: Path) -> DataSet:
    """ratings.csv and movies.csv."""
    rows = [("userId", "movieId", "rating", "timestamp"), (196, 242, 3.5, 881250949), (196, 302, 4.5, 891717742)]
    films = [("movieId", "title", "genres"), (242, '"Kolya, the film (1996)"', "Comedy"),
             (302, "L.A. Confidential (1997)", "Crime|Thriller")]  # fmt: skip
    events, items = _write(folder / "ratings.csv", rows, ","), _write(folder / "movies.csv", films, ",")
    return DataSet("movielens-latest", events, items)


def snowplow_tsv(folder: Path) -> DataSet:
    """Two enriched events of 131 columns, one of which is meant."""
    columns = yaml.safe_load((MAPPINGS / "snowplow-tsv.yaml").read_text())["table"]["columns"]
    iglu = "iglu:com.snowplowanalytics.snowplow"
    products = [
        {"id": "P125", "name": "Baseball T", "category": "Mens/Apparel", "price": 200, "currency": "USD"},
        {
            "id": "P126",
            "name": "Cap",
            "category": "Mens/Apparel",
            "price": 20.5,
            "currency": "EUR",
            "brand": "Snowplow",
        },
    ]
    entities = [{"schema": f"{iglu}.ecommerce/product/jsonschema/1-0-0", "data": one} for one in products]
    page = {"schema": f"{iglu}/web_page/jsonschema/1-0-0", "data": {"id": "x"}}
    shown = {
        "app_id": "shop", "platform": "web", "event": "unstruct", "event_id": "c6ef3124-b53a-4b13-a233-0088f79dcbcb",
        "event_name": "snowplow_ecommerce_action", "collector_tstamp": "2026-11-01 00:00:01.000",
        "derived_tstamp": "2026-11-01 00:00:00.500", "domain_userid": "d1", "dvce_type": "Mobile", "br_lang": "en",
        "contexts": json.dumps({"schema": f"{iglu}/contexts/jsonschema/1-0-1", "data": [page, *entities]}),
        "unstruct_event": json.dumps({"schema": f"{iglu}/unstruct_event/jsonschema/1-0-0", "data": {
            "schema": f"{iglu}.ecommerce/snowplow_ecommerce_action/jsonschema/1-0-2",
            "data": {"type": "list_view", "name": "t-shirts"}}}),
    }  # fmt: skip
    other = {"event_id": "x", "event_name": "page_view", "collector_tstamp": "2026-11-01 00:00:01.000"}
    rows = [[one.get(name, "") for name in columns] for one in (other, shown)]
    return DataSet("snowplow-tsv", _write(folder / "enriched.tsv", rows))


MAKERS: dict[str, Callable[..., DataSet]] = {
    make.__name__.replace("_", "-"): make
    for make in (mind, kuairand, kuairec, open_bandit, recbole, amazon_reviews, movielens_100k, movielens_1m,
                 movielens_latest, snowplow_tsv)
}  # fmt: skip
