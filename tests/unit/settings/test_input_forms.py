"""What reads the input as the settings say it."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.support.examples import film, impression, slate
from tests.support.mapped_throughput import MAPPING, foreign
from worker.core.codec.avro_encoder import Encoder
from worker.core.codec.framing import SchemaRef, SchemaRefKind
from worker.core.codec.input_forms import InputForm
from worker.core.errors import BadSettings, Poison
from worker.core.records import Reason, Role
from worker.settings import input_forms, load

FILMS = tuple(film(name, position=place) for place, name in enumerate("AB"))
OURS = impression(*(replace(slate(role.lower(), "", role), items=FILMS) for role in (Role.CONTROL, Role.CANDIDATE)))
ENCODED = Encoder("RecommendationImpression").encode(OURS)


def form(input_format: str, mapping: str | None) -> InputForm:
    return input_forms.load(load(overrides={"input_format": input_format, "mapping": mapping}, files=True))


@pytest.mark.parametrize(
    ("input_format", "mapping"), [("json", "ga4"), ("tsv", "snowplow-tsv"), ("protobuf", "segment")]
)
def test_our_own_impressions_are_read_among_foreign_events(input_format: str, mapping: str) -> None:
    """Placebos are such; no schema is fetched for them, and the responses name theirs."""
    among = form(input_format, mapping)
    assert among.schema_of(ENCODED, ()) is None
    assert among.read(ENCODED, (), None) == (SchemaRef(SchemaRefKind.FINGERPRINT, ENCODED[2:10].hex()), OURS)


def test_foreign_events_are_read_as_before(tmp_path: Path) -> None:
    mapping = tmp_path / "shop.yaml"
    mapping.write_text(yaml.safe_dump(MAPPING))
    _, found = form("json", str(mapping)).read(foreign(OURS), (), None)
    assert found is not None
    assert [item.item_id for item in found.slates[0].items] == ["A", "B"]


@pytest.mark.parametrize("mapping", ["ga4", None])
def test_what_begins_as_ours_and_is_of_another_schema_is_no_json(mapping: str | None) -> None:
    other = ENCODED[:2] + bytes(8) + ENCODED[10:]
    with pytest.raises(Poison) as caught:
        form("json", mapping).read(other, (), None)
    assert caught.value.reason is Reason.MAGIC


def test_without_a_mapping_nothing_but_the_format_is_read() -> None:
    with pytest.raises(Poison) as caught:
        form("json", None).read(ENCODED, (), None)
    assert caught.value.reason is Reason.MAGIC


def test_a_file_of_descriptors_is_read_no_further_than_says_that_it_is_too_large() -> None:
    """A wrong file may be a model of gigabytes, and a device never ends."""
    with pytest.raises(BadSettings, match="/dev/zero: Protobuf schema has more than 1,048,576 bytes"):
        input_forms.types(Path("/dev/zero"), "shop.v1.ShelfShown")


def test_one_of_ours_that_is_cut_off_says_where() -> None:
    with pytest.raises(Poison) as caught:
        form("json", "ga4").read(ENCODED[:60], (), None)
    assert caught.value.reason is Reason.AVRO
