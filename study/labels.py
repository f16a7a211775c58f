"""What labels buy: where one mode overtakes another, and how few labels do as well as all."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from study.comparisons import Difference
from study.estimates import Confirmed
from tl_core.config import Mode

MARGIN = 0.01
"""How much worse, in accuracy, still counts as a match: one image in a hundred."""


@dataclass(frozen=True)
class Crossover:
    """Where `after` takes the lead over `before` as labels grow."""

    before: Mode
    """Ahead below the ratio; if nothing crosses: the mode that is behind throughout."""
    after: Mode
    """Ahead from the ratio on."""
    score: str
    status: Literal["seen", "none seen", "not resolved"]
    """`not resolved`: the intervals don't show both modes ahead, one on either side."""
    ratio: float | None
    """Interpolated in log train_ratio; None if the mean differences never change sign."""
    low: float | None
    """95 % interval of the ratio; None where it lies outside the ratios studied."""
    high: float | None


@dataclass(frozen=True)
class LabelsSaved:
    """The smallest ratio at which `a` does as well as `b` at `b`'s largest ratio."""

    a: Mode
    b: Mode
    ratio_b: float
    margin: float
    match: Difference | None
    """`a` at that ratio minus `b` at `ratio_b`; None if `a` matches nowhere."""

    @property
    def ratio(self) -> float | None:
        """Where `a` matches; None if nowhere."""
        return self.match.a.train_ratio if self.match else None


def crossovers(confirmed: Iterable[Confirmed], score: str = "test_accuracy") -> list[Crossover]:
    """Return one for each pair of modes that share two ratios or more."""
    raise NotImplementedError


def labels_saved(
    confirmed: Iterable[Confirmed], score: str = "test_accuracy", margin: float = MARGIN
) -> list[LabelsSaved]:
    """Return one for each ordered pair of modes, a mode with itself included."""
    raise NotImplementedError
