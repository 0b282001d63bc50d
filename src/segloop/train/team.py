"""Who takes part in a training, and how they agree on each step. Alone is a team of one."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Orders(NamedTuple):
    """What all workers do next.

    Args:
        progress: Share of the training done.
        learning_rate: Of the step.
        stop: The training is over.
        interrupted: A worker was told to end; nothing is finished.
    """

    progress: float
    learning_rate: float
    stop: bool
    interrupted: bool


class Team(Protocol):
    """The workers of one training.

    Attributes:
        workers: How many processes.
        index: Which one this is.
    """

    workers: int
    index: int

    @property
    def chief(self) -> bool:
        """True for the one that decides, validates and writes."""

    def agree(self, own: Orders) -> Orders:
        """The first worker's orders; `interrupted` when any worker is."""

    def first(self, number: int) -> int:
        """The number that the first worker has, below 2⁵³."""


class Alone:
    """One process."""

    workers, index, chief = 1, 0, True

    def agree(self, own: Orders) -> Orders:
        """Its own orders."""
        return own

    def first(self, number: int) -> int:
        """Its own number."""
        return number


ALONE = Alone()
