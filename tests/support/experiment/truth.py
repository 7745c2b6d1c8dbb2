"""The world whose answer is known (`worker.bench.price.truth`), and what an estimator should find in it."""

from dataclasses import dataclass, replace

from worker.bench.price.truth import Flags, Floats, Ints, Log, LogitEngine as Engine, World, duel_shares, generate

__all__ = ["Effects", "Engine", "Flags", "Floats", "Ints", "Log", "World", "duel_shares", "effects", "generate"]

EVEN = 0.5


@dataclass(frozen=True, slots=True)
class Effects:
    """What an estimator should find, per user; visits do not depend on taste."""

    click_rate_a: float
    click_rate_b: float
    duel_share: float

    @property
    def lift(self) -> float:
        return self.click_rate_b - self.click_rate_a


def effects(world: World, *, events: int = 400_000, seed: int = 0) -> Effects:
    """Average the closed forms over one event of each of many users: right to about 0.0005; exact at a true A/A."""
    log = generate(replace(world, users=events, max_visits=1), seed=seed)
    a, b = float(log.click_rate_a.mean()), float(log.click_rate_b.mean())
    if world.shift == 0 and world.explore == world.target_explore:
        return Effects((a + b) / 2, (a + b) / 2, EVEN)
    duels = duel_shares(log, Engine().letters(log.utility, log.in_a | log.in_b, order=None))
    return Effects(a, b, float(duels.mean()))
