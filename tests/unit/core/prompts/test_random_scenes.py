"""Random scenes have the reference's messages to the byte, as a second renderer writes them, and no flag."""

from dataclasses import replace

import pytest

from tests.support.random_scenes import DOMAINS, HTML, TIERS, impression, scene as random_scene
from tests.support.reference_layouts import user_message
from worker.core.prompts.prompt import Profile, build, option_flags, render_option, scene
from worker.core.records import ItemKind
from worker.core.simulation.questions import Option
from worker.settings import prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")
AS_REFERENCE = replace(PROFILE, reads_html=False)  # as protocol=reference has it
NUM, NUM_IN_CI = 1_000, 20  # scenes per domain and tier; CI takes the first of them


def check(domain: str, tier: str, seeds: range, profile: Profile = PROFILE) -> None:
    for seed in seeds:
        facts = random_scene(domain, tier, seed)
        shown = impression(facts)
        shared = scene(profile, shown, 10)
        flags = set(shared.flags)
        options = []
        for item in shown.slates[0].items:
            text = render_option(profile, shown, item)
            options.append(Option(item.item_id, text, 0, ("a",), ItemKind.ORGANIC, item))
            flags |= option_flags(profile, shown, item)
        found = build(profile, shared, options).user
        assert (found, flags) == (user_message(facts), set()), f"{domain} {tier} {seed}"


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
    assert "می\u200cخواهم" in texts["unicode"]
