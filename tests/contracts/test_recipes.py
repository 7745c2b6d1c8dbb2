"""The recipes: each builds with its own tests, and its image would be built of what is there."""

from tests.support.chart import ROOT
from tests.support.java import built


def test_the_pairing_builds_and_passes_its_own_tests() -> None:
    """`mvn package` runs them; warnings of the compiler are errors."""
    made = built(ROOT / "recipes" / "pairing")
    assert {one.name for one in made.glob("*.jar")} == {"pairing.jar"}
    assert [*made.glob("lib/kafka-streams-*.jar")]


def test_the_pairings_image_copies_what_the_build_makes() -> None:
    lines = (ROOT / "recipes" / "pairing" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    made = built(ROOT / "recipes" / "pairing")
    copied = [line.split()[1:] for line in lines if line.startswith("COPY ")]
    local = [source for source, *_ in copied if not source.startswith("--")]
    assert all((ROOT / "recipes" / "pairing" / source).exists() for source in local)
    taken = [words[1].removeprefix("/build/target/") for words in copied if words[0] == "--from=build"]
    assert len(taken) == 2
    assert all((made / name).exists() for name in taken)
