"""How much simulated users like a place for itself: the largest gap between their shares of choices and the real ones.

    position            0     1     2     3
    real users        0.40  0.30  0.20  0.10
    simulated users   0.55  0.25  0.12  0.08        position bias 0.15, at position 0

Its interval is a bootstrap of users, in groups if there are many.  The largest of several gaps is never 0 by chance, so
one model's bias is biased upwards; of two models on the same choices the difference is what counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worker.experiment.real_clicks.shown_slates import Columns, Floats

MAX_GROUPS = 200  # of users, as in the bootstrap of the calibration error
RESAMPLES, SEED = 400, 1  # the same answers give the same interval


@dataclass(frozen=True, slots=True)
class PositionBias:
    """The bias of each side, and that of each resample of users (resample x side)."""

    values: Floats
    resampled: Floats


def position_bias(sides: Sequence[Columns]) -> PositionBias:
    """Return the position bias of one engine, or of several on the same choices, row by row; at least one choice."""
    groups = min(MAX_GROUPS, int(np.unique(sides[0].user).size))
    group = np.unique(sides[0].user, return_inverse=True)[1] % groups
    depth = 1 + max(int(side.position[side.offered].max()) for side in sides)
    counts = np.bincount(group, sides[0].mass, groups)
    gaps = np.stack([_gaps(side, group, groups, depth) for side in sides])  # side x group x position
    times = np.random.default_rng(SEED).multinomial(groups, np.full(groups, 1 / groups), RESAMPLES)
    resampled = np.abs(np.einsum("rg,sgp->rsp", times, gaps)).max(axis=2) / (times @ counts)[:, None]
    return PositionBias(np.abs(gaps.sum(axis=1)).max(axis=1) / counts.sum(), resampled)


def _gaps(side: Columns, group: np.ndarray[tuple[int, ...], np.dtype[np.int64]], groups: int, depth: int) -> Floats:
    """Return by group and position how much more the simulated users choose there than the real ones."""
    cell = (group[:, None] * depth + side.position)[side.offered]
    more = (side.mass[:, None] * (side.probability - side.weight))[side.offered]
    return np.asarray(np.bincount(cell, more, groups * depth).reshape(groups, depth), np.float64)
