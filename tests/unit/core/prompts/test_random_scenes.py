"""Random scenes have the reference's messages to the byte, as a second renderer writes them, and no flag.

Each is asked twice: as its facts, and as a ready scene of the reference's own texts.
"""

from dataclasses import replace

import pytest

from tests.support.examples import record
from tests.support.injections import LANGUAGES
from tests.support.random_scenes import DOMAINS, HTML, TIERS, impression, ready, scene as random_scene
from tests.support.reference_layouts import user_message
from worker.core.prompts.prompt import Profile, Prompt, build, option_flags, render_option, scene
from worker.core.records import Impression, ItemKind
from worker.core.simulation.prepare import Asking, prepare
from worker.core.simulation.questions import Depths, Option
from worker.settings import prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")
AS_REFERENCE = replace(PROFILE, reads_html=False)  # as protocol=reference has it
NUM, NUM_IN_CI = 1_000, 20  # scenes per domain and tier; CI takes the first of them


def message(profile: Profile, shown: Impression) -> tuple[str, set[str]]:
    """Return the user message of an impression's one slate, and its flags."""
    shared = scene(profile, shown, 10)
    flags = set(shared.flags)
    options = []
    for item in shown.slates[0].items:
        text = render_option(profile, shown, item)
        options.append(Option(item.item_id, text, 0, ("a",), ItemKind.ORGANIC, item))
        flags |= option_flags(profile, shown, item)
    return build(profile, shared, options).user, flags


def check(domain: str, tier: str, seeds: range, profile: Profile = PROFILE) -> None:
    for seed in seeds:
        facts = random_scene(domain, tier, seed)
        for made in (impression, ready):
            expected: tuple[str, set[str]] = (user_message(facts), set())
            assert message(profile, made(facts)) == expected, f"{domain} {tier} {seed} {made.__name__}"


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_random_scene_is_the_references_and_unflagged(domain: str, tier: str) -> None:
    check(domain, tier, range(NUM_IN_CI))


@pytest.mark.long
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_thousand_random_scenes_are_the_references_and_unflagged(domain: str, tier: str) -> None:
    check(domain, tier, range(NUM_IN_CI, NUM))


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_random_scene_with_html_is_the_references_in_its_protocol(domain: str) -> None:
    check(domain, HTML, range(NUM_IN_CI), AS_REFERENCE)


@pytest.mark.long
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_thousand_random_scenes_with_html_are_the_references_in_its_protocol(domain: str) -> None:
    check(domain, HTML, range(NUM_IN_CI, NUM), AS_REFERENCE)


def test_the_tiers_differ_and_have_what_they_promise() -> None:
    texts = {
        tier: "".join(user_message(random_scene(d, tier, s)) for d in DOMAINS for s in range(20)) for tier in TIERS
    }
    assert texts["plain"].isascii()
    assert "Not Available" not in texts["plain"]
    for sign in ("\r\n", "  ", "...", "1000k", "[Deluxe Edition]", "Thought:"):
        assert sign in texts["realistic"], sign
    assert all(word in texts["missing"] for word in ("Not Available", "None", "Not Rated", "Unknown", "Price: NA\n"))
    assert all(one in texts["unicode"] for one in LANGUAGES.values())
    unknown = "Gender: Unknown\nAge: Unknown\nOccupation: Unknown\nLocation: Unknown\n"
    for sign in (
        unknown,
        "\nNone None \n",
        "] None - None \n",
        "Gender: \n",
        "Gender: NA\n",
        "Price: $NA\n",
        "Price: $\n",
    ):
        assert sign in texts["missing"], sign


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_random_scene_in_its_given_order_is_the_references_in_every_draw(domain: str) -> None:
    asking = Asking(PROFILE, Depths(), 3, 10, seeded=True, tokenise=as_bytes, max_prompt_tokens=1_000_000)
    for seed in range(NUM_IN_CI):
        facts = random_scene(domain, "unicode", seed)
        [asked] = prepare(record(), replace(ready(facts), given_order=True), asking)
        assert [bytes(one.prompt_ids).decode() for one in asked.asks] == [user_message(facts)] * 3


def as_bytes(prompt: Prompt) -> tuple[int, ...]:
    return tuple(prompt.user.encode())
