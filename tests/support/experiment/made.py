"""Responses for tests: plain records as Avro decodes them, with every field that has no default in the schema."""

import json
from collections.abc import Iterable
from uuid import NAMESPACE_URL, uuid5

from worker.experiment.store.answers import Answer, read

AT_US = 1_767_225_600_000_000
MINUTE_US = 60_000_000


def response(user: int = 0, event: int = 0, *, fingerprint: str = "f1", **changes: object) -> dict[str, object]:
    """Make the response to one duel; `event` numbers a user's events, a minute apart."""
    made: dict[str, object] = {
        "event_id": f"e-{user}-{event}",
        "occurred_at": AT_US + event * MINUTE_US,
        "domain": "movies",
        "user_id": f"u{user}",
        "experiment_id": "exp",
        "is_test": False,
        "question": "DUEL",
        "variant": "candidate",
        "control_variant": "control",
        "role": "CANDIDATE",
        "options": [],
        "options_total": 0,
        "options_asked": 0,
        "duel_share": 0.6,
        "contested_mass": 0.8,
        "status": "OK",
        "provenance": {
            "model": "m", "engine": "e", "engine_version": "1", "sampling": {}, "seed": 0,
            "config_fingerprint": fingerprint,
        },
        "usage": {},
        "timings": {},
        "source": {"topic": "impressions", "partition": 0, "offset": 0},
        "produced_at": AT_US,
    } | changes  # fmt: skip
    name = json.dumps([made["event_id"], made["question"], made["variant"], fingerprint])
    return {"response_id": str(uuid5(NAMESPACE_URL, name))} | made


def slate(
    user: int = 0, event: int = 0, variant: str = "candidate", *, probabilities: Iterable[float] = (0.5, 0.5),
    values: Iterable[float | None] = (None, None), **changes: object,
) -> dict[str, object]:  # fmt: skip
    """Make the response to one slate; control is the variant of that name."""
    options = [
        {"item_id": f"i{position}", "position": position, "variants": [variant], "kind": "ORGANIC",
         "probability": probability, "value": value}
        for position, (probability, value) in enumerate(zip(probabilities, values, strict=True))
    ]  # fmt: skip
    own = {"question": "SLATE", "variant": variant, "control_variant": None, "duel_share": None,
           "contested_mass": None, "role": "CONTROL" if variant == "control" else "CANDIDATE", "options": options,
           "entropy_total": 1.0}  # fmt: skip
    return response(user, event, **(own | changes))  # type: ignore[arg-type]


def answers(records: Iterable[dict[str, object]]) -> list[Answer]:
    """Read records that are all good."""
    return [read(record) for record in records]
