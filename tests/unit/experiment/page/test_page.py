"""What the page of an experiment says, to whom, and what it refuses; over HTTP, without a browser."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from urllib.parse import quote

import jsonschema
import pytest
from hypothesis import given, strategies as st
from rich.console import Console
from starlette.testclient import TestClient

from tests.support.experiment import page_examples as made
from tests.support.experiment.page_client import BASE, Elements, client
from worker.experiment.page import document, text
from worker.experiment.page.addresses import find, key, page_of
from worker.experiment.page.app import create_app
from worker.experiment.page.views import HEADLINES
from worker.experiment.page.where_tables import where_tables
from worker.experiment.readout import List, OutlyingItem, Readout, Report, Segment
from worker.experiment.report.terminal import render
from worker.experiment.statistics.confidence import Estimate, Verdict

NO_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
ODD_IDS = ["a/b", "../x", "..", ".", "", "~", "~YQ", None, "None", "a?b#c", "%2F", 'q"uo<te', "ü\u202e", " ", "x" * 300]


def everything() -> list[Readout]:
    """Return experiments in every state that the page can be in."""
    same = made.comparison(0.5, verdict=Verdict.NO_DIFFERENCE, reason="the interval lies within 0.02 of 0.5")
    return [
        made.readout("wins"),
        made.readout("loses", made.epoch(made.losing())),
        made.readout("waits", made.epoch(made.waiting()), definition=None),
        made.readout("failed", made.epoch(made.untrusted())),
        made.readout("same", made.epoch(same)),
        made.readout("several", made.epoch(made.untrusted(), hour=9), made.epoch(made.comparison(), made.losing())),
        made.readout("unpaired", made.epoch()),
        made.readout("empty", epochs=()),
        made.hostile(),
        made.readout(None),
    ]


@pytest.mark.parametrize("readout", everything(), ids=lambda readout: str(readout.experiment_id)[:9])
def test_an_experiment_page_says_the_verdict_with_its_reason_and_estimand(readout: Readout) -> None:
    """Whatever state an experiment is in, the first heading after its name is the verdict of its current epoch."""
    page = Elements(client(readout).get(page_of(readout.experiment_id)).raise_for_status().text)
    comparisons = readout.current.comparisons if readout.epochs else ()
    if not comparisons:
        assert "Nothing to compare yet" in page.text
        return
    one = comparisons[0]
    assert HEADLINES[one.verdict] in page.text
    assert text.visible(text.sentence(one.reason)) in page.text
    assert f"{one.primary.overall.users:,} of {readout.planned_users:,} planned" in page.text
    assert page.text.count("simulated") > len(one.effects)


def test_an_experiment_page_says_what_is_known_of_the_simulator() -> None:
    """Skill stands in the verdict's box in words, with what is worse in red, and no outcomes is said too."""
    page = Elements(client(made.readout()).get(page_of("home-ranker-7")).text).text
    assert (
        "At predicting real clicks (log loss), simulated users are better than chance by 21 % (19 to 23); "
        "better than position alone by 11 % (9 to 13); worse than popularity alone by 4 % (2 to 6)."
    ) in page
    assert "effective sample size: 1,804 events" in page.lower()
    assert "items that both lists offer 31.2" in page
    assert "rank correlation of their positions -0.25" in page
    assert '<span class="worse">worse than popularity' in client(made.readout()).get(page_of("home-ranker-7")).text
    blind = replace(made.epoch(made.comparison()), calibration=None)
    assert (
        "not identified: no outcomes were read"
        in Elements(client(made.readout("x", blind)).get(page_of("x")).text).text
    )


def test_an_experiment_page_shows_every_part_of_a_readout() -> None:
    """Segments, reasons, guardrails, checks, pairs, the state of the data and what it cannot tell are all there."""
    page = Elements(client().get("/experiments/home-ranker-7").text).text
    for words in (
        "went to B (51.6 to 55.2)", "In brackets: the 95 % interval", "country: DE", "stands out", "novelty", "entropy",
        "pair completeness", "Not known yet", "53.1 % to 53.7 %", "timeout 70", "repeated 87",
        "Largest wins of B", "Largest losses of B", "A new title by a director", "What these figures do not show",
        *made.readout().cannot_tell,
    ):  # fmt: skip
        assert words in page, words


def test_an_experiment_page_invents_no_figure() -> None:
    """Where there is no interval, no point and no pair, the page says so and shows neither 0 nor NaN in its place."""
    nothing = Estimate(0, None, None, "0 users so far, at least 100 needed")
    effect = replace(made.comparison().primary, overall=nothing, triggered=nothing, p_value=None)
    one = made.comparison(
        verdict=Verdict.KEEP_RUNNING, reason=nothing.withheld, effects=(effect,), timeline=(), trigger_share=None,
        contested_mass=None, worst_case=None, statuses={}, segments=(), events=0, missing=0, missing_share=0.0,
    )  # fmt: skip
    page = Elements(client(made.readout("e", made.epoch(one))).get("/experiments/e").text).text
    assert "Not known yet no users yet" in page
    assert "Choices that go to B over time" in page
    assert "No points yet." in page
    assert page.count("not identified: 0 users so far, at least 100 needed") == 3
    assert not re.search(r"\b(nan|inf|None|Undefined)\b", page)


def test_an_experiment_page_links_each_segment_and_activity_to_an_event_of_it() -> None:
    """The first that is shown; a dash where none is."""
    german = replace(made.example(1, 0.9), segments={"country": "DE"}, user_events=1)
    busy = replace(made.example(2, 0.1), segments={"country": "FR"}, user_events=9)
    one = made.comparison(wins=(german,), losses=(busy,))
    page = client(made.readout("e", made.epoch(one))).get("/experiments/e").text
    links = {"segment country=DE": "wins-1", "segment country=FR": "losses-1", "segment device=tv": None,
             "activity light": "wins-1", "activity medium": None, "activity heavy": "losses-1"}  # fmt: skip
    for row, link in links.items():
        (body,) = re.findall(rf'<tbody data-key="{row}">.*?</tbody>', page, re.DOTALL)
        assert re.findall(r'href="#([^"]*)"', body) == ([link] if link else []), row
        assert link is None or f'id="{link}"' in page


def test_an_experiment_page_shows_text_from_outside_as_text() -> None:
    """Tags are escaped, templates are not run twice, and what is invisible or turns the line round is written out."""
    for path in ("/", page_of(made.hostile().experiment_id)):
        answer = client(made.hostile(), made.readout()).get(path).text
        page = Elements(answer)
        assert not NO_CONTROLS.search(answer)
        assert "⟨U+202E⟩gnp.exe" in page.text
        assert all(attributes.get("src", "/static/") != "x" for _, attributes in page.tags)
        assert "img" not in {tag for tag, _ in page.tags}
    assert "{{ 7 * 7 }}" in page.text
    assert all(words in page.text for words in made.HOSTILE[:2])


@pytest.mark.parametrize("path", ["/", "/api", "/nowhere", *(page_of(one.experiment_id) for one in everything())])
def test_an_experiment_page_needs_nothing_from_elsewhere_and_runs_nothing_inline(path: str) -> None:
    """No script, style or handler stands in a page, every address is of the page itself, and no id comes twice."""
    page = Elements(client(*everything()).get(path).text)
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        assert tag != "style"
        assert tag != "script" or (attributes["src"] or "").startswith("/static/")
        for name in ("src", "href", "action"):
            assert re.match(r"/(?!/)|#", attributes.get(name) or "/"), (tag, attributes)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"main", "header", "footer", "h1"} <= {tag for tag, _ in page.tags}


def test_an_experiment_page_asks_for_no_file_that_is_not_there() -> None:
    """Everything that a page links to in `static` is served."""
    page = client()
    found = {
        address
        for _, attributes in Elements(page.get("/api").text).tags
        for address in (attributes.get("src"), attributes.get("href"))
        if address and address.startswith("/static/")
    }
    assert len(found) >= 7
    assert {address: page.get(address).status_code for address in found} == dict.fromkeys(found, 200)


@pytest.mark.parametrize("experiment_id", ODD_IDS)
def test_an_experiment_of_any_name_has_a_page(experiment_id: str | None) -> None:
    """The index links to it, the JSON has it by its key and by its id, and no other experiment is taken for it."""
    page = client(made.readout(experiment_id), made.readout("other"), made.readout("another"))
    links = [attributes.get("href") for _, attributes in Elements(page.get("/").text).tags]
    address = page_of(experiment_id)
    assert address in links
    assert page.get(address).status_code == 200
    assert page.get(f"/api/experiments/{key(experiment_id)}").json()["experiment_id"] == experiment_id
    if experiment_id not in {None, "", ".", "..", "~", "%2F"}:  # the test client decodes the last one twice
        raw = page.get(f"/api/experiments/{quote(str(experiment_id), safe='')}")
        assert raw.json()["experiment_id"] == experiment_id


@given(st.lists(st.one_of(st.none(), st.text(min_size=1), st.text("~ab./")), min_size=1, max_size=5, unique=True))
def test_an_experiment_is_found_by_its_key_alone(ids: list[str | None]) -> None:
    """Keys are plain, no two ids share one, and an id that looks like the key of another never hides it."""
    readouts = [Readout(each or None, 0.05, 5_000, ()) for each in dict.fromkeys(each or None for each in ids)]
    for readout in readouts:
        name = key(readout.experiment_id)
        assert re.fullmatch(r"[A-Za-z0-9~][A-Za-z0-9._~-]*", name)
        assert find(readouts, name) is readout


def test_an_experiment_alone_is_shown_at_once_and_several_are_listed() -> None:
    """The first address leads to the only experiment; with more it is an index, and with none it says so."""
    alone = client().get("/", follow_redirects=False)
    assert alone.headers["location"] == "/experiments/home-ranker-7"
    assert "3 experiments" in client(*everything()[:3]).get("/").text
    empty = made.Changing(replace(made.report(), readouts=()))
    assert "No responses yet." in TestClient(create_app(empty), base_url=BASE).get("/").text


def test_an_experiment_of_several_epochs_says_so_and_pools_none() -> None:
    """A banner names them; the current one is shown, another one when asked for, and an unknown one is not there."""
    old, new = made.epoch(made.untrusted(), fingerprint="old", hour=9), made.epoch(made.comparison(), fingerprint="new")
    page = client(made.readout("e", old, new))
    now = page.get("/experiments/e").text
    before = page.get("/experiments/e?epoch=old.9c41d2aa07be").text
    assert "2 epochs" in now
    assert HEADLINES[Verdict.CANDIDATE_PREFERRED] in now
    assert HEADLINES[Verdict.DO_NOT_TRUST] in before
    assert "You see another one than recent users are in" in before
    assert page.get("/experiments/e?epoch=gone").status_code == 404
    assert "2 epochs" not in client().get("/experiments/home-ranker-7").text


def test_an_experiment_of_several_candidates_shows_the_one_that_is_asked_for() -> None:
    """Each candidate has an address of its own."""
    page = client(made.readout("e", made.epoch(made.comparison(), made.losing())))
    assert HEADLINES[Verdict.CANDIDATE_PREFERRED] in page.get("/experiments/e").text
    assert HEADLINES[Verdict.CONTROL_PREFERRED] in page.get("/experiments/e?candidate=late").text
    assert page.get("/experiments/e?candidate=none").status_code == 404


def test_an_experiment_page_follows_its_source() -> None:
    """After a change the version is another, and the page and the JSON have the new figures."""
    source = made.Changing(made.report())
    page = TestClient(create_app(source), base_url=BASE)
    before = page.get("/api/version").json()
    source.change(made.report(made.readout("home-ranker-7", made.epoch(made.losing()))))
    assert page.get("/api/version").json() != before
    assert HEADLINES[Verdict.CONTROL_PREFERRED] in page.get("/experiments/home-ranker-7").text
    assert 'data-version="2"' in page.get("/experiments/home-ranker-7").text


def test_experiment_json_is_the_report_and_keeps_to_its_openapi_document() -> None:
    """Every figure of a readout is in the JSON as `Report.as_json` has it, and the document describes each answer."""
    readouts = everything()
    page = client(*readouts)
    document = page.get("/api/openapi.json").json()
    wanted = json.loads(json.dumps(made.report(*readouts).as_json()))["readouts"]
    for readout, want in zip(readouts, wanted, strict=True):
        answer = page.get(f"/api/experiments/{key(readout.experiment_id)}").json()
        assert answer == want
        keeps_to(document, "/api/experiments/{key}", answer)
    keeps_to(document, "/api/version", page.get("/api/version").json())
    listed = page.get("/api/experiments").json()
    keeps_to(document, "/api/experiments", listed)
    assert [one["experiment_id"] for one in listed["experiments"]] == [one.experiment_id for one in readouts]
    assert listed["data_health"]["repeated"] == 87
    assert page.get("/api/experiments/none").json() == {"detail": "no such experiment"}


def keeps_to(document: Mapping[str, object], path: str, answer: object) -> None:
    """Check an answer against the document, in which no field may be left out of a shape."""
    pointer = path.replace("/", "~1")
    where = f"#/paths/{pointer}/get/responses/200/content/application~1json/schema"
    jsonschema.validate(answer, {**document, "$ref": where}, cls=jsonschema.Draft202012Validator)


def test_the_experiment_reference_names_every_path_of_the_document() -> None:
    """The page for people is made from the document for programs."""
    page = client()
    document, shown = page.get("/api/openapi.json").json(), Elements(page.get("/api").text).text
    assert all(f"GET {path}" in shown for path in document["paths"])
    assert all(name in shown for name in document["components"]["schemas"])
    assert "422" not in shown
    assert page.get("/docs").status_code == 404


def test_the_words_of_an_experiment_page_name_no_private_terms() -> None:
    """Readers found these unclear; a warning says that it is one, at the terminal too."""
    page = Elements(client().get("/experiments/home-ranker-7").text).text
    terminal = at_terminal(made.report())
    for words in (
        "blurs",
        "forbids",
        "contested mass",
        "all lost, all won",
        "moves by",
        "Not to be said",
        "want more",
        "presented late",
        "asked again",
        "Given the head",
        "standard deviation",
    ):
        assert words not in page + terminal, words
    assert "position profile warning only" in page
    assert "FAILED (warning only): of 3 options, the one listed last gets 44 % of the choices" in terminal


def test_an_experiment_shows_its_users_by_activity_beside_the_headline() -> None:
    """A row per group with its events, users and interval, on the page, in the file and at the terminal; in words."""
    page = client().get("/experiments/home-ranker-7").text
    for shown in (page, document.render(made.report(), written_at=made.AT_US)):
        words = Elements(shown).text
        assert "light 1 to 2 events 1,040 52 % (48 to 57) – medium 3 to 6 events 1,040 53 % (49 to 58)" in words
        assert "heavy stands out 7 to 212 events 1,040 56 % (52 to 61)" in words
        assert "all 3 intervals together hold at 95 %. Heavy users are seen first" in words
    assert page.index("</section>") < page.index('id="activity-table"') < page.index('<dl class="facts">')
    terminal = at_terminal(made.report())
    assert "light: 52 % (48 to 57); 1,040 users with 1 to 2 events" in terminal
    assert "heavy: 56 % (52 to 61); 1,040 users with 7 to 212 events; stands out" in terminal
    alone = made.report(made.readout("e", made.epoch(made.waiting())))
    for words in (Elements(document.render(alone, written_at=made.AT_US)).text, at_terminal(alone)):
        assert "the users came about equally often (1 event each), so nothing is known about users who" in words.lower()
        assert "activity-table" not in document.render(alone, written_at=made.AT_US)


def at_terminal(report: Report) -> str:
    """Return what the terminal shows."""
    console = Console(file=StringIO(), width=200, record=True)
    console.print(render(report))
    return console.export_text()


def test_an_experiment_page_says_which_items_made_the_difference() -> None:
    """By their titles and with an example; who has none has its id.  Sortable, marked, with an interval each."""
    page = client().get("/experiments/home-ranker-7").text
    shown = Elements(page).text
    assert (
        "Silent Harbour (1994) in list B, chosen more often +1.21 Iron Road (2001) in list A, chosen more often +0.83"
        in shown
    )
    assert "Silent Harbour (1994) stands out B 900 24.8 % 20.0 % +4.8 points (+2.8 to +6.8) +1.21 event" in shown
    assert "a-2-1 A 600" in shown
    assert 'href="#wins-1"' in page
    assert 'id="wins-1"' in page
    assert page.count('<button type="button" data-sort') >= 14 + 4
    none = made.comparison(items=(), positions=(), categories=(), providers=())
    assert "Where B wins" not in client(made.readout("e", made.epoch(none))).get("/experiments/e").text


def test_an_experiment_names_the_items_that_win_unusually_often_under_data_health() -> None:
    """On the page of all and in the terminal, by title, or by id without one; nothing is said where there is none."""
    found = (OutlyingItem("i7", "Pick me", 120, 0.874, 0.143, 0.52), OutlyingItem("i9", "", 80, 0.7, 0.143, 0.52))
    one = made.readout("e", made.epoch(made.comparison(outlying_items=found)))
    shown = Elements(client(one).get("/experiments/e").text).text
    said = "chosen in 87.4 % of its lists, by chance 14.3 %, over 120 users; the others stay below 52.0 %."
    assert f"Pick me in e: {said} i9 in e: chosen in 70.0 %" in shown
    terminal = at_terminal(made.report(one))
    assert "Pick me: chosen in 87% of its lists, by chance 14%, over 120 users; the others stay below 52%" in terminal
    assert "unusually often" not in at_terminal(made.report())
    assert "more often than all others" not in client().get("/").text


def test_an_experiment_page_says_where_b_wins_by_category_and_by_provider() -> None:
    """With a chart, a sortable table and an example each, as by item; one without rows is not there."""
    page = client().get("/experiments/home-ranker-7").text
    shown = Elements(page).text
    assert (
        "Categories that made the difference Drama in list B, chosen more often +1.30 "
        "Crime in list A, chosen more often +0.90 (none) in list B, chosen more often +0.50"
    ) in shown
    assert "an item of several counts in each with an equal part" in shown
    assert "Drama stands out B 900 25.0 % 20.0 % +5.0 points (+3.0 to +7.0) +1.30 event with Drama" in shown
    assert "Studio B stands out B 900 25.0 % 20.0 % +5.0 points (+3.0 to +7.0) +1.30 event with Studio B" in shown
    assert "Studio A A 800 25.0 % 20.0 % +5.0 points (+3.0 to +7.0) +0.90 –" in shown
    assert {"items-table", "categories-table", "providers-table", "positions-table"} <= {
        attributes.get("id") for tag, attributes in Elements(page).tags if tag == "table"
    }
    terminal = at_terminal(made.report())
    assert "Drama (in list B): +1.30 points for B; Crime (in list A): +0.90 points for B" in terminal
    assert "providers that made the difference" in terminal
    few = made.report(made.readout("e", made.epoch(made.comparison(categories=()))))
    assert "categories" not in at_terminal(few)
    assert "categories-table" not in client(*few.readouts).get("/experiments/e").text


def test_an_experiment_shows_an_example_also_of_what_has_no_name_and_of_a_position() -> None:
    """An item without a category or provider, in list A alone; before, rows "(none)" and positions had no example."""
    rows = (replace(made.groups("(none)")[0], side=List.A), replace(made.groups("1")[0], side=List.A))
    one = made.comparison(categories=rows[:1], providers=rows[:1], positions=rows[1:])
    tables = {table.name: table.examples for table in where_tables(one)}
    assert (tables["categories"], tables["providers"], tables["positions"]) == (("wins-1",),) * 3


@pytest.mark.parametrize(
    "table",
    ["candidates", "activity", "items", "categories", "providers", "positions", "segments", "effects", "reasons",
     "calibration"],
)  # fmt: skip
def test_an_experiment_table_is_sorted_by_buttons_that_say_their_order(table: str) -> None:
    """Every sortable column has a button in a header with `aria-sort`, and each of its rows a value to sort by."""
    several = made.readout("e", made.epoch(made.comparison(), made.losing()))
    page = client(several).get("/experiments/e").text
    found = page[page.index(f'id="{table}-table"') :]
    headers, *rows = found[: found.index("</table>")].split("<tbody")
    sortable = re.findall(r'<th scope="col"[^>]* aria-sort="none"><button type="button" data-sort="(\w+)"', headers)
    assert len(sortable) == headers.count("aria-sort") >= 2
    assert set(sortable) <= {"number", "text"}
    assert rows
    for row in rows:
        values = re.findall(r'data-value="([^"]*)"', row)
        assert len(values) == len(sortable)
        assert all(float(one) is not None for one, kind in zip(values, sortable, strict=True) if kind == "number")


def test_an_experiment_table_sorts_a_withheld_figure_by_nothing() -> None:
    """Its value is neither shown nor in what the row is sorted by, so its place does not tell it."""
    few = Estimate(40, 0.5678, None, "40 users so far, at least 100 needed")
    one = made.comparison(
        segments=(Segment("country", "DE", few, notable=False),),
        categories=tuple(replace(row, effect=few) for row in made.comparison().categories),
        activity=tuple(replace(row, estimate=few) for row in made.comparison().activity),
    )
    page = client(made.readout("e", made.epoch(one))).get("/experiments/e").text
    assert "0.5678" not in page
    assert page.count('data-value="-Infinity"') >= 1 + 3 + 3


def test_an_experiment_of_several_candidates_lists_them_best_first_on_the_first_screen() -> None:
    """A row each, with verdict, figure and users, before the verdict on the one that is shown."""
    epoch = made.epoch(made.comparison(candidate="zebra"), made.losing())
    page = client(made.readout("e", epoch)).get("/experiments/e").text
    shown = Elements(page).text
    assert (
        "zebra B, below Preferred to A 53.4 % (51.6 to 55.2) 3,120 late A is preferred 46.2 % (44.4 to 48.0) 3,120"
    ) in shown
    assert page.index('class="candidates"') < page.index('<section class="verdict')
    assert "Do simulated users prefer B zebra to A control?" in shown
