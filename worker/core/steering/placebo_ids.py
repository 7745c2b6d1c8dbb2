"""Ids of placebos: checks of an experiment, asked under an id of their own.

>>> experiment_of("home~decoy"), experiment_of("home~v2"), experiment_of("home")
('home', 'home~v2', 'home')
"""

from enum import StrEnum


class Placebo(StrEnum):
    """The kinds of placebo."""

    SPLIT = "split"
    DECOY = "decoy"
    PARITY = "parity"


KINDS = frozenset(kind.value for kind in Placebo)


def experiment_of(experiment_id: str) -> str:
    """Return the experiment that a placebo belongs to; any other id, also one with a `~` of its own, as it is."""
    experiment, _, kind = experiment_id.rpartition("~")
    return experiment if kind in KINDS and experiment else experiment_id
