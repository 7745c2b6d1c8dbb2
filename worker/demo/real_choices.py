"""Choices of users whose true taste is known, as a file for `evaluate` and `align`: impressions and their outcomes.

    $ python -m worker.demo.real_choices --users 400 > choices.jsonl

The users, the catalogue and control's slates are those of the demo (`demo.scenes`).  Each user takes one item of
control's slate: `sharpness` times the mean liking of the item's features, plus a Gumbel error, so a multinomial logit
of a taste that the simulator can only guess from the history.  Everything follows from the seed.  It is no evidence
about real users; what a figure should come to is known here, and nowhere else.
"""

import argparse
import json
import math
import random
import sys
from collections.abc import Iterator
from uuid import NAMESPACE_URL, uuid5

from worker.core.codec.avro_encoder import plain
from worker.core.outcomes import Action, ActionKind, Outcome
from worker.core.records import Impression, Slate
from worker.demo.generated_users import Taste, mean_liking, named_features
from worker.demo.scenes import impressions
from worker.engines.choice_model import taste

SHARPNESS = 4.0  # of the utility of a taste that is wholly met
ANSWER_US = 60_000_000  # from the event to the click
_NAMESPACE = uuid5(NAMESPACE_URL, "mirrorstream:demo:real-choices")


def choices(
    seed: int, *, num_users: int, events_per_user: int = 2, slate_size: int = 5, sharpness: float = SHARPNESS
) -> Iterator[tuple[Impression, Outcome]]:
    """Yield events with control's slate alone, and what the user took."""
    shown = impressions(seed, num_users=num_users, events_per_user=events_per_user, slate_size=slate_size)
    for number, one in enumerate(shown):
        rng = random.Random(f"{seed}/choice/{number}")
        control = one.slates[0]
        event = Impression(one.event_id, one.occurred_at, one.user, (control,), domain=one.domain)
        yield event, _outcome(event, control, _chosen(rng, control, taste(one.user.history), sharpness))


def _chosen(rng: random.Random, slate: Slate, likes: Taste, sharpness: float) -> int:
    def utility(place: int) -> float:
        names = [name.lower() for name in named_features(slate.items[place].attributes)]
        return sharpness * mean_liking(likes, names) - math.log(-math.log(rng.random()))

    return max(range(len(slate.items)), key=utility)


def _outcome(event: Impression, slate: Slate, place: int) -> Outcome:
    at_us = event.occurred_at + ANSWER_US
    item = slate.items[place]
    return Outcome(
        outcome_id=str(uuid5(_NAMESPACE, event.event_id)),
        event_id=event.event_id,
        user_id=event.user.user_id,
        variant=slate.variant,
        observed_at=at_us,
        actions=(Action(item.item_id, item.position, ActionKind.CLICK, occurred_at=at_us),),
        window_closed=True,
    )


def main() -> None:
    """Write the choices as JSON Lines, each event before its outcome."""
    parser = argparse.ArgumentParser(prog="python -m worker.demo.real_choices", description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=400)
    parser.add_argument("--events-per-user", type=int, default=2)
    parser.add_argument("--slate-size", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    found = choices(
        asked.seed, num_users=asked.users, events_per_user=asked.events_per_user, slate_size=asked.slate_size
    )
    for event, outcome in found:
        for record in (event, outcome):
            sys.stdout.write(json.dumps(plain(record), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
