"""Every contender is asked the same: lengths come from a fixed list, by event, question and order."""

from statistics import median, quantiles

from worker.bench.model.load import LENGTHS, MEDIAN, Lengths, make
from worker.core.prompts.prompt import Prompt
from worker.core.simulation.prepare import Asking
from worker.core.simulation.questions import Depths
from worker.settings import prompt_profiles


def tokenise(prompt: Prompt) -> tuple[int, ...]:
    return tuple(map(ord, prompt.user))


ASKING = Asking(
    prompt_profiles.load("mirror-v1"), Depths(12, 6), 2, 10, seeded=True, tokenise=tokenise, max_prompt_tokens=99_999
)


def test_the_list_is_lognormal_with_a_95th_percentile_of_1_8_medians() -> None:
    assert len(LENGTHS) == 1000
    assert median(LENGTHS) == MEDIAN
    assert 1.75 < quantiles(LENGTHS, n=20)[-1] / MEDIAN < 1.85


def test_a_load_made_twice_is_the_same() -> None:
    assert make(ASKING, events=5) == make(ASKING, events=5)
    assert make(ASKING, events=5) != make(ASKING, events=5, seed=2)


def test_an_event_has_two_draws_of_three_questions() -> None:
    load = make(ASKING, events=4)
    assert [len(asks) for asks in load.asks] == [6] * 4


def test_lengths_scale_and_stand_for_a_draw_alone() -> None:
    (first, *_), *_ = make(ASKING, events=1).asks
    assert Lengths(MEDIAN).of(first) in LENGTHS
    assert Lengths(2 * MEDIAN).of(first) == 2 * Lengths(MEDIAN).of(first)
    lengths = {Lengths(MEDIAN).of(ask) for ask in make(ASKING, events=20).draws}
    assert len(lengths) > 50
