"""Users whose tastes have changed since mirror-tiny was trained, with what they chose: for `mirrorstream align`.

    $ python -m worker.demo.changed_tastes --users 600 --seed 1 > choices.jsonl

    utility(option) = TASTE x overlap(option, history) + TREND x fashion(option) - POSITION x ln(1 + slot)

mirror-tiny knows the first term, from the choice model.  The second is new: some categories have come into
fashion and some have gone out of it, for all users alike, and no history tells which.  A choice is drawn from the
probabilities, so even who knows all of it is right in some of the cases only.

`--placebo` gives every event the choice of another one with as many options: there is nothing to learn from it.
"""

import argparse
import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from worker.core.codec.avro_encoder import JsonEncoder, plain
from worker.core.outcomes import Action, ActionKind, Outcome
from worker.core.records import Domain, Impression, Item, Role, Slate, User
from worker.demo.generated_users import (
    CATEGORIES,
    DAY_US,
    START_US,
    attributes,
    hidden_taste,
    invent_user,
    item_features,
    mean_liking,
    named_features,
)
from worker.engines.choice_model import POSITION, TASTE, features, taste

TREND = 8.0
FASHIONABLE, OUTDATED = 6, 6  # features of a vocabulary
DOMAINS = (Domain.NEWS, Domain.GENERIC)  # both of `CATEGORIES`
MAX_HISTORY = 3
OPTIONS = 4
DAYS = 10
_NOT_ON_THE_WIRE = frozenset({"texts_as_is", "given_order"})


@dataclass(frozen=True, slots=True)
class Event:
    """One event with its real choice; `probabilities` by position are those that it was drawn from."""

    impression: Impression
    probabilities: tuple[float, ...]
    chosen: int

    def outcome(self) -> Outcome:
        """Return what the user did."""
        item = self.impression.slates[0].items[self.chosen]
        at = self.impression.occurred_at + 60_000_000
        return Outcome(
            outcome_id=f"{self.impression.event_id}/outcome",
            event_id=self.impression.event_id,
            user_id=self.impression.user.user_id,
            variant=self.impression.slates[0].variant,
            observed_at=at,
            actions=(Action(item.item_id, item.position, ActionKind.CLICK, occurred_at=at),),
            window_closed=True,
        )


def events(seed: int, *, users: int, placebo: bool = False) -> list[Event]:
    """Return one event per user, over `DAYS` days."""
    fashion = _fashion(seed)
    found = [_event(number, seed, fashion) for number in range(users)]
    if not placebo:
        return found
    rng = random.Random(f"{seed}/placebo")
    chosen = [one.chosen for one in found]
    rng.shuffle(chosen)
    return [Event(one.impression, one.probabilities, other) for one, other in zip(found, chosen, strict=True)]


def _fashion(seed: int) -> dict[str, float]:
    rng = random.Random(f"{seed}/fashion")
    drawn = rng.sample(CATEGORIES, FASHIONABLE + OUTDATED)
    return {name: 1.0 if rank < FASHIONABLE else -1.0 for rank, name in enumerate(drawn)}


def _event(number: int, seed: int, fashion: Mapping[str, float]) -> Event:
    rng = random.Random(f"{seed}/event/{number}")
    domain = DOMAINS[number % len(DOMAINS)]
    liking = hidden_taste(rng, domain)
    invented = invent_user(rng, domain, liking, MAX_HISTORY)
    user = User(f"user-{seed}-{number:06d}", invented.id_kind, history=invented.history)
    shown = [
        attributes(rng, domain, item_features(rng, domain, liking, frozenset()), frozenset()) for _ in range(OPTIONS)
    ]
    items = tuple(Item(f"item-{number}-{slot}", slot, attributes=one) for slot, one in enumerate(shown))
    impression = Impression(
        event_id=str(UUID(int=rng.getrandbits(128), version=4)),
        occurred_at=START_US + rng.randrange(DAYS * DAY_US),
        user=user,
        slates=(Slate("control", items, Role.CONTROL, shown=True),),
        domain=domain,
    )
    chances = _chances(items, user, fashion)
    return Event(impression, chances, rng.choices(range(OPTIONS), chances)[0])


def _chances(items: Sequence[Item], user: User, fashion: Mapping[str, float]) -> tuple[float, ...]:
    likes = taste(user.history)
    weights = []
    for item in items:
        own = features(None, item.attributes)
        overlap = math.fsum(likes.get(name, 0.0) for name in own) / (len(own) or 1)
        trend = mean_liking(fashion, named_features(item.attributes))
        weights.append(math.exp(TASTE * overlap + TREND * trend - POSITION * math.log1p(item.position)))
    return tuple(one / math.fsum(weights) for one in weights)


def lines(found: Sequence[Event]) -> Iterator[bytes]:
    """Yield JSON Lines: each impression, and its outcome behind it."""
    encoder = JsonEncoder()
    for one in found:
        shown = plain(one.impression)
        assert isinstance(shown, dict)
        yield encoder.encode({name: value for name, value in shown.items() if name not in _NOT_ON_THE_WIRE})
        yield encoder.encode(one.outcome())


def main() -> None:
    """Print events and outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--placebo", action="store_true", help="every event gets the choice of another one")
    args = parser.parse_args()
    for line in lines(events(args.seed, users=args.users, placebo=args.placebo)):
        sys.stdout.buffer.write(line + b"\n")


if __name__ == "__main__":
    main()
