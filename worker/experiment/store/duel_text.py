"""What a duel shows to people: its options side by side, the rationales, and the factors that they name.

A draw speaks for the side that alone offers the option it makes most probable; one whose first choice both sides
offer speaks for neither.  Factors are of the closed vocabulary, so there are few of them; whatever else a writer puts
there is bounded.  The texts are the model's: reasons given, not causes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.core.simulation.item_attributes import MAX_CHARS

CONTROL, CANDIDATE = "control", "candidate"
MAX_FACTORS, MAX_FACTOR_CHARS = 8, 64  # of a draw; a rationale names about three
MAX_RATIONALE_CHARS = 2_000
MAX_TITLE_CHARS = 80


@dataclass(frozen=True, slots=True)
class DuelText:
    """One answered duel: its options, a text per draw that has one.

    An option is (item id, position, variants, probability, title, category, provider); texts are "" if not there.
    """

    options: tuple[tuple[str, int, tuple[str, ...], float, str, str, str], ...]
    rationales: tuple[str, ...]
    factors: tuple[tuple[str, ...], ...]  # a draw that speaks for a side: the side, then its factors


def duel_text(record: Mapping[str, Any]) -> DuelText:
    """Parse an answered DUEL as Avro decodes it."""
    options = record["options"]
    return DuelText(
        options=tuple(
            (
                one["item_id"],
                one["position"],
                tuple(one["variants"]),
                one["probability"] or 0.0,
                (one.get("text") or "")[:MAX_TITLE_CHARS],
                *((one.get("attributes") or {}).get(name, "")[:MAX_CHARS] for name in ("category", "provider")),
            )
            for one in options
        ),
        rationales=tuple(draw["text"][:MAX_RATIONALE_CHARS] for draw in record.get("draws", ()) if draw.get("text")),
        factors=tuple(_factors(record, [tuple(one["variants"]) for one in options])),
    )


def _factors(record: Mapping[str, Any], variants: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    for draw in record.get("draws", ()):
        probabilities, rationale = draw.get("probabilities"), draw.get("rationale")
        if rationale and probabilities and len(probabilities) == len(variants):
            first = variants[max(range(len(variants)), key=probabilities.__getitem__)]
            side = _side(first, record)
            if side:
                named = dict.fromkeys([*rationale["stimulus_factors"], *rationale["knowledge_factors"]])
                yield (side, *(name[:MAX_FACTOR_CHARS] for name in list(named)[:MAX_FACTORS] if name))


def _side(first: tuple[str, ...], record: Mapping[str, Any]) -> str:
    if first == (record["variant"],):
        return CANDIDATE
    return CONTROL if first == (record["control_variant"],) else ""
