"""What is taken from a response, and what is refused."""

import json
from io import BytesIO
from math import inf, nan

import fastavro
import pytest

from tests.support.experiment.made import response, slate
from worker.core.codec.avro_schemas import own_schema, schema_text
from worker.core.codec.impression import decode_plain
from worker.core.errors import BadRecord
from worker.experiment.metrics import MAX_VALUE, slate_metrics
from worker.experiment.store.answers import read

UNKNOWN = dict.fromkeys(slate_metrics())  # of items without attributes


def test_experiment_answers_read_a_response_of_the_real_schema() -> None:
    """What is read here is what the schema has, defaults and all."""
    stream = BytesIO()
    schema = json.loads(schema_text("SimulatedResponse"))
    fastavro.schemaless_writer(stream, schema, slate(values=(2.0, 4.0), segments={"country": "NL"}))
    decoded = decode_plain(stream.getvalue(), own_schema("SimulatedResponse"), "SimulatedResponse")
    assert isinstance(decoded, dict)
    answer = read(decoded)
    assert (answer.values, answer.segments, answer.missing, answer.trouble) == (
        UNKNOWN | {"reciprocal_rank": 0.75, "utility": 3.0, "entropy": 1.0}, {"country": "NL"}, False, "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("surface", "segments", "wanted"),
    [
        (None, {"country": "NL"}, {"country": "NL"}),
        ("", {}, {}),
        ("home", {"country": "NL"}, {"country": "NL", "surface": "home"}),
        ("home", {"surface": "app"}, {"surface": "app"}),
    ],
)
def test_experiment_answers_have_the_surface_as_a_segment(
    surface: str | None, segments: dict[str, str], wanted: dict[str, str]
) -> None:
    """A segment of the sender's own of this name stays what it is; responses of older workers have no surface."""
    older = response(segments=segments)
    assert read(older).segments == segments
    assert read(older | {"surface": surface}).segments == wanted


@pytest.mark.parametrize(
    ("status", "value", "missing"),
    [
        ("OK", 0.6, False),
        ("IDENTICAL", 0.5, False),
        ("SAME_SET", 0.5, False),
        ("TIMEOUT", None, True),
        ("LENGTH", None, True),
        ("ENGINE_ERROR", None, True),
        ("OUT_OF_BUDGET", None, True),
        ("A_NEW_ONE", None, True),
    ],
)
def test_experiment_answers_know_a_duel_by_its_status(status: str, value: float | None, missing: bool) -> None:
    """What had not to be asked is even, and what failed is missing whatever stands in its share."""
    answer = read(response(status=status))
    assert (answer.values, answer.missing) == ({"duel_share": value}, missing)


@pytest.mark.parametrize("share", [nan, inf, -0.1, 1.1, None])
def test_experiment_answers_take_no_share_that_is_none(share: float | None) -> None:
    """A wrong number is a missing answer, and told apart from one that failed."""
    answer = read(response(duel_share=share))
    assert (answer.values, answer.status, answer.trouble) == ({"duel_share": None}, "BAD_VALUE", "bad_duel_share")
    assert answer.missing


@pytest.mark.parametrize("probabilities", [(nan, 0.5), (1.7e308, 1.7e308), (0.9, 0.9), (-0.1, 1.1), (None, None), ()])
def test_experiment_answers_take_no_probabilities_that_are_none(probabilities: tuple[float, ...]) -> None:
    """Nothing is computed from letters that are no distribution."""
    answer = read(slate(probabilities=probabilities, values=(None,) * len(probabilities)))
    assert (answer.values, answer.trouble) == (dict.fromkeys(slate_metrics()), "bad_probability")


@pytest.mark.parametrize("probabilities", [(nan, 0.5), (inf, 0.0), (0.9, 0.9), (None, 1.0)])
def test_experiment_answers_take_no_duel_whose_probabilities_are_none(probabilities: tuple[float, ...]) -> None:
    """Those of its options, and those of each draw; a share beside them is not believed."""
    options = slate(probabilities=probabilities, values=(None, None))["options"]
    draws = [{"probabilities": list(probabilities), "presented_order": [0, 1]}] * 2
    for answer in (read(response(options=options)), read(response(draws=draws))):
        assert (answer.values, answer.status, answer.trouble) == ({"duel_share": None}, "BAD_VALUE", "bad_probability")
        assert (answer.text, answer.drawn, answer.contested_mass, answer.factors) == (None, None, None, ())


@pytest.mark.parametrize(
    ("values", "utility", "trouble"),
    [
        ((1.0, 2.0), 1.5, ""),
        ((1.0, None), None, ""),
        ((1.0, nan), None, ""),
        ((3 * MAX_VALUE, MAX_VALUE), None, "bad_utility"),
        ((1.79e308, 1.79e308), None, "bad_utility"),
        ((inf, 1.0), None, ""),
    ],
)
def test_experiment_answers_have_a_utility_if_every_item_has_a_value(
    values: tuple[float | None, ...], utility: float | None, trouble: str
) -> None:
    """A slate of which only some items have a worth has none."""
    answer = read(slate(values=values))
    assert (answer.values["utility"], answer.trouble) == (utility, trouble)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "malformed"),
        (response(user_id=""), "malformed"),
        (response(occurred_at=-1), "malformed"),
        (response(options=[{}], question="SLATE"), "malformed"),
        (response(question="POLL"), "unknown_question"),
        (response(control_variant=None), "malformed"),
        (response(control_variant="candidate"), "malformed"),
    ],
)
def test_experiment_answers_refuse_what_they_cannot_place(record: dict[str, object], reason: str) -> None:
    """The reason is a word that can be counted."""
    with pytest.raises(BadRecord) as refused:
        read(record)
    assert refused.value.reason == reason


def test_experiment_answers_of_slates_that_are_all_one_are_no_difference() -> None:
    """Nobody was asked, and there is nothing to find: 0 on both sides, utilities only where items have values."""
    for values, utility in (((1.0, 2.0), 0.0), ((1.0, None), None)):
        answer = read(slate(status="NOT_SAMPLED", probabilities=(None, None), values=values))  # type: ignore[arg-type]
        nothing = UNKNOWN | {"reciprocal_rank": 0.0, "utility": utility, "entropy": 0.0}
        assert (dict(answer.values), answer.missing, answer.trouble) == (nothing, False, "")
