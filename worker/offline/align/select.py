"""Step 2, select: the scenes that teach most, and in each a draw to prefer and one to avoid.  Pure.

    uncertainty   weak engine's mean entropy - strong engine's, largest first: the strong one knows what the weak one
                  does not (UserMirrorer's `diff_model_uncertainty`, arXiv 2508.18142)
    accuracy      share of the strong engine's draws that took the real choice, largest first
    ifd           how little the scene helps the weak engine: -ln p(real choice | scene) over -ln p(its letter), whose
                  p is the weak engine's mean over all scenes of as many options; after instruction-following
                  difficulty (arXiv 2308.12032), whose probability of an answer without its question this stands for
    random        by a hash

Scenes stand in strata of domain and number of options, and each stratum gives its share of `keep`.  A scene whose
strong draws all missed the real choice has nothing to imitate and is left out.  The preferred draw is the one with the
lowest entropy among the strong engine's that took the real choice, the rejected one the lowest among both engines'
that did not, as in the reference; without one of these the scene is for supervised fine-tuning alone.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from worker.core.seeding import unit
from worker.core.simulation.uncertainty import entropy

LEAST = 1e-10  # of a probability in a logarithm, as the reference counts a letter that did not come back


class By(StrEnum):
    """What scenes are ordered by."""

    UNCERTAINTY = "uncertainty"
    ACCURACY = "accuracy"
    IFD = "ifd"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class CollectedDraw:
    """One answer of an engine; `p` by slot, empty if it failed; `letter` is the slot that was sampled from it."""

    p: tuple[float, ...]
    letter: int | None
    is_complete: bool = True  # there is a rationale, and it has all of its sections


@dataclass(frozen=True, slots=True)
class CollectedScene:
    """One real choice with the draws of both engines; `chosen` has the slots that the user took."""

    name: str  # the digest of its line
    domain: str
    options: int
    chosen: frozenset[int]
    strong: tuple[CollectedDraw, ...]
    weak: tuple[CollectedDraw, ...]

    @property
    def right(self) -> tuple[int, ...]:
        """The strong draws with a whole rationale that took the real choice, those of lowest entropy first."""
        return self._sorted(self.strong, taken=True)

    @property
    def wrong(self) -> tuple[int, ...]:
        """The draws of both, strong then weak, with a whole rationale that took something else, in the same order."""
        return self._sorted(self.strong + self.weak, taken=False)

    def _sorted(self, draws: Sequence[CollectedDraw], *, taken: bool) -> tuple[int, ...]:
        fit = [
            number
            for number, draw in enumerate(draws)
            if draw.p and draw.is_complete and (draw.letter in self.chosen) is taken
        ]
        return tuple(sorted(fit, key=lambda number: (entropy(draws[number].p), number)))


@dataclass(frozen=True, slots=True)
class Picked:
    """A selected scene: the numbers of its preferred and its rejected draw, among the strong ones and then the weak."""

    scene: CollectedScene
    score: float
    chosen: int
    rejected: int | None


def select(scenes: Sequence[CollectedScene], *, by: By, keep: int, seed: int) -> tuple[list[Picked], Counter[str]]:
    """Return at most `keep` scenes in the order of `scenes` (0: all), and why others were left out."""
    left_out: Counter[str] = Counter()
    fit = []
    for scene in scenes:
        why = _unfit(scene)
        if why:
            left_out[why] += 1
        else:
            fit.append(scene)
    priors = _priors(fit)
    strata: dict[tuple[str, int], list[tuple[float, float, CollectedScene]]] = defaultdict(list)
    for scene in fit:
        chance = unit("align select", str(seed), scene.name)
        score = chance if by is By.RANDOM else _score(scene, by, priors)
        strata[scene.domain, scene.options].append((-score, chance, scene))
    kept: dict[str, float] = {}
    for stratum, number in _quotas({key: len(found) for key, found in strata.items()}, keep or len(fit)).items():
        for minus, _, scene in sorted(strata[stratum], key=lambda one: one[:2])[:number]:
            kept[scene.name] = -minus
    left_out["not_among_the_best"] += len(fit) - len(kept)
    picked = [
        Picked(scene, kept[scene.name], scene.right[0], next(iter(scene.wrong), None))
        for scene in fit
        if scene.name in kept
    ]
    return picked, +left_out


def _unfit(scene: CollectedScene) -> str:
    if not any(draw.p for draw in scene.strong):
        return "strong_failed"
    if not any(draw.p for draw in scene.weak):
        return "weak_failed"
    return "" if scene.right else "no_right_draw"


def _score(scene: CollectedScene, by: By, priors: Mapping[int, Sequence[float]]) -> float:
    if by is By.UNCERTAINTY:
        return _uncertainty(scene.weak) - _uncertainty(scene.strong)
    if by is By.ACCURACY:
        given = [draw for draw in scene.strong if draw.p]
        return fmean(draw.letter in scene.chosen for draw in given)
    knowing = _mean(scene.weak)
    slots = sorted(scene.chosen)
    losses = [-math.log(max(LEAST, knowing[slot])) for slot in slots]
    blind = [-math.log(max(LEAST, priors[scene.options][slot])) for slot in slots]
    return math.fsum(losses) / max(LEAST, math.fsum(blind))


def _uncertainty(draws: Iterable[CollectedDraw]) -> float:
    """Return the mean entropy of the draws, bits: what the reference calls the model's uncertainty."""
    return fmean(entropy(draw.p) for draw in draws if draw.p)


def _mean(draws: Iterable[CollectedDraw]) -> tuple[float, ...]:
    return tuple(map(fmean, zip(*(draw.p for draw in draws if draw.p), strict=True)))


def _priors(scenes: Iterable[CollectedScene]) -> dict[int, tuple[float, ...]]:
    """Return the weak engine's mean probability of each slot, by number of options."""
    means: dict[int, list[tuple[float, ...]]] = defaultdict(list)
    for scene in scenes:
        means[scene.options].append(_mean(scene.weak))
    return {options: tuple(map(fmean, zip(*found, strict=True))) for options, found in means.items()}


def _quotas(sizes: Mapping[tuple[str, int], int], keep: int) -> dict[tuple[str, int], int]:
    """Divide `keep` in proportion to the strata's sizes, the largest remainders first.

    >>> _quotas({("a", 5): 6, ("b", 5): 3}, 4)
    {('a', 5): 3, ('b', 5): 1}
    """
    total = sum(sizes.values())
    keep = min(keep, total)
    shares = {key: keep * size / total for key, size in sizes.items()}
    found = {key: int(share) for key, share in shares.items()}
    rest = sorted(shares, key=lambda key: (found[key] - shares[key], key))
    for key in rest[: keep - sum(found.values())]:
        found[key] += 1
    return found
