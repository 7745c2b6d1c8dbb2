"""A world whose answer is known: users, rankers and clicks by a conditional logit, and an engine that can be wrong.

    user: persona, reluctance ---------------------+
      | visits: Pareto                             v
    event: a pool of items --> utility = popularity + persona x flavour + surprise
      |                                            |
      +-> control ranks by  quality           x utility - lean x flavour + noise --> slate A --+-> shown --> click
      +-> candidate ranks by (quality + shift) x utility + lean x flavour + noise -> slate B --+   or none
                                                   |
    engine = softmax(utility / temperature + noise + bonus of the last slot): letters sum to 1, no "none"

P(click on j) = e^(u_j - bias_j) / (e^reluctance + sum of e^(u - bias)) is what real users do, the bias by position.
Items come in twins of opposite flavour, and the rankers lean opposite ways: with shift 0 the two are mirror images,
whose slates differ and whose click rates do not; each persona still has a side of its own.

>>> world = World(users=500, shift=1.0, triggered=0.5)
>>> log = generate(world, seed=1)
>>> bool(0.3 < log.differs.mean() < 0.7), bool(log.click_rate_b.mean() > log.click_rate_a.mean())
(True, True)
>>> engine = LogitEngine(temperature=0.5)
>>> duel = duel_shares(log, engine.letters(engine.beliefs(log, seed=1), log.in_a | log.in_b, order=None))
>>> bool(duel.mean() > 0.5), bool(abs(duel[~log.differs] - 0.5).max() < 1e-12)
(True, True)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is true; utilities are in logits."""

    users: int = 2_000
    catalogue: int = 240  # items, most popular first; a multiple of twice the pool
    pool: int = 8  # items that both rankers choose from at one event
    slate: int = 4  # of these are in a slate
    visits: float = 1.5  # tail index of the Pareto visits a user; smaller is heavier
    max_visits: int = 50
    persona_sd: float = 0.5  # of a user's taste for flavour: the user effect of the difference
    reluctance: float = 1.5  # utility of no click
    reluctance_sd: float = 0.5  # user effect of the click rate
    popularity: float = 0.3  # utility lost per logarithm of the popularity rank
    surprise: float = 1.0  # sd of an item's utility at one event
    position_bias: float = 0.3  # utility lost per logarithm of the position
    quality: float = 0.5  # how much control's ranker sees of the utility
    ranker_noise: float = 1.0  # sd of what either ranker gets wrong about an item at one event
    shift: float = 0.0  # how much more the candidate's sees; 0 is a true A/A
    lean: float = 0.0  # how far the rankers lean to opposite flavours
    triggered: float = 1.0  # share of users whose rankers differ; the others get control's slate twice
    explore: float = 0.0  # share of Plackett-Luce draws in control; 0 is deterministic
    target_explore: float = 0.0  # the same in the candidate
    canary: float = 0.0  # share of users who are really shown the candidate's slate


@dataclass(frozen=True, slots=True)
class Log:
    """One row an event in order of arrival; slates hold columns of the pool, best position first."""

    world: World
    user: Ints
    item: Ints  # of the catalogue, by pool
    utility: Floats  # by pool
    reluctance: Floats
    slate_a: Ints
    slate_b: Ints
    slate_propensity: Floats  # of slate A as a whole under control
    target_propensity: Floats  # of slate A as a whole under the candidate
    triggered: Flags
    shown_b: Flags  # the user is in the canary
    click_rate_a: Floats  # true probability of any click, had A been shown
    click_rate_b: Floats
    click: Ints  # position in the slate that was shown, -1 for none

    @property
    def clicked(self) -> Floats:
        """1 for any click, else 0."""
        return (self.click >= 0).astype(np.float64)

    @property
    def differs(self) -> Flags:
        """Whether the slates of an event are two lists."""
        return np.asarray((self.slate_a != self.slate_b).any(axis=1))

    @property
    def in_a(self) -> Flags:
        """Which of the pool are in slate A."""
        return _members(self.slate_a, self.world.pool)

    @property
    def in_b(self) -> Flags:
        """Which of the pool are in slate B."""
        return _members(self.slate_b, self.world.pool)


def generate(world: World, *, seed: int) -> Log:
    """Draw one experiment."""
    rng = np.random.default_rng(seed)
    visits = np.minimum(np.floor(1 + rng.pareto(world.visits, world.users)), world.max_visits).astype(np.int64)
    user = rng.permutation(np.repeat(np.arange(world.users), visits))
    persona = rng.normal(0, world.persona_sd, world.users)[user]
    reluctance = rng.normal(world.reluctance, world.reluctance_sd, world.users)[user]
    triggered = (rng.random(world.users) < world.triggered)[user]
    shown_b = (rng.random(world.users) < world.canary)[user]
    item, flavour, utility = _items(world, persona, rng)
    noise_a, noise_b = rng.normal(0, world.ranker_noise, (2, *utility.shape))
    scores_a = world.quality * utility - world.lean * flavour + noise_a
    scores_b = (world.quality + world.shift) * utility + world.lean * flavour + noise_b
    slate_a = _ranked(world, scores_a, world.explore, rng)
    slate_b = np.where(triggered[:, None], _ranked(world, scores_b, world.target_explore, rng), slate_a)
    propensity = _propensity(slate_a, scores_a, world.explore)
    target = np.where(triggered, _propensity(slate_a, scores_b, world.target_explore), propensity)
    a = _click_probabilities(world, utility, reluctance, slate_a)
    b = _click_probabilities(world, utility, reluctance, slate_b)
    cumulated = np.cumsum(np.where(shown_b[:, None], b, a), axis=1)
    position = (rng.random((user.size, 1)) >= cumulated).sum(axis=1)
    click = np.where(position == world.slate, -1, position)
    drawn = (user, item, utility, reluctance, slate_a, slate_b, propensity, target, triggered, shown_b)
    return Log(world, *drawn, click_rate_a=a.sum(axis=1), click_rate_b=b.sum(axis=1), click=click)


def _items(world: World, persona: Floats, rng: np.random.Generator) -> tuple[Ints, Floats, Floats]:
    """Draw an event's pool, one item from each popularity band, with flavours and utilities."""
    band = world.catalogue // world.pool
    item = np.arange(world.pool) * band + rng.integers(0, band, (persona.size, world.pool))
    flavour = np.where(item % 2 == 0, 1.0, -1.0)
    utility = -world.popularity * np.log1p(item // 2) + persona[:, None] * flavour  # twins: as popular as each other
    return item, flavour, utility + rng.normal(0, world.surprise, item.shape)


def _ranked(world: World, scores: Floats, explore: float, rng: np.random.Generator) -> Ints:
    """Return the best by score, or at a share of the events a Plackett-Luce draw (Gumbel top-k)."""
    explored = rng.random((len(scores), 1)) < explore
    return np.argsort(-(scores + explored * rng.gumbel(size=scores.shape)), axis=1)[:, : world.slate]


def _propensity(slate: Ints, scores: Floats, explore: float) -> Floats:
    """Return the probability of the ordered slate: the best list, or by Plackett-Luce (Luce; Plackett 1975)."""
    best = np.argsort(-scores, axis=1)[:, : slate.shape[1]]
    mass = np.exp(np.take_along_axis(scores, slate, axis=1))
    left = np.exp(scores).sum(axis=1, keepdims=True) - np.cumsum(mass, axis=1) + mass
    return np.asarray((1 - explore) * (best == slate).all(axis=1) + explore * np.prod(mass / left, axis=1))


def _click_probabilities(world: World, utility: Floats, reluctance: Floats, slate: Ints) -> Floats:
    """Return the true probability of a click by position; what is missing to 1 is no click."""
    bias = world.position_bias * np.log1p(np.arange(world.slate))
    mass = np.exp(np.take_along_axis(utility, slate, axis=1) - bias)
    return np.asarray(mass / (mass.sum(axis=1, keepdims=True) + np.exp(reluctance)[:, None]))


def _members(slate: Ints, pool: int) -> Flags:
    members = np.zeros((len(slate), pool), bool)
    np.put_along_axis(members, slate, values=True, axis=1)
    return members


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitEngine:
    """The simulated user: the truth's choice given that something is chosen, blind to display order, with biases."""

    temperature: float = 1.0  # under 1 is over-confident
    noise: float = 0.0  # sd of what it gets wrong about an item at one event
    last_slot: float = 0.0  # utility that the option presented last gains
    uniform: bool = False  # it knows nothing

    def beliefs(self, log: Log, *, seed: int) -> Floats:
        """Return its logits by pool, the same for all questions about an event."""
        noise = np.random.default_rng(seed).normal(0, self.noise, log.utility.shape)
        return np.asarray(0 * noise if self.uniform else (log.utility + noise) / self.temperature)

    def letters(self, beliefs: Floats, offered: Flags, *, order: Floats | None) -> Floats:
        """Return the answer by pool, 0 where not offered; of the offered, the highest `order` is presented last."""
        logits = np.where(offered, beliefs, -np.inf)
        if order is not None:
            last = np.where(offered, order, -np.inf).argmax(axis=1)
            logits[np.arange(len(logits)), last] += self.last_slot
        mass = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(mass / mass.sum(axis=1, keepdims=True))

    def click_rate(self, log: Log, beliefs: Floats, offered: Flags) -> Floats:
        """Return the probability of any click that it would give: it knows the reluctance of the average user only."""
        mass = np.where(offered, np.exp(beliefs), 0).sum(axis=1)
        return np.asarray(mass / (mass + np.exp(log.world.reluctance)))


def duel_shares(log: Log, letters: Floats) -> Floats:
    """Return the duel share by event: mass of what only B has, and half of what both have."""
    only_b, shared = log.in_b & ~log.in_a, log.in_b & log.in_a
    return np.asarray((letters * (only_b + 0.5 * shared)).sum(axis=1))
