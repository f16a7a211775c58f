"""The cells of a study, each a mode at a train ratio, and in which order they get trials.

All cells get the same number of trials, so that no mode looks better because it was tuned better.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

from study.config.settings import Settings
from tl_core.config import FROZEN, Mode, TrialConfig


class Cell(NamedTuple):
    """A mode at a training ratio."""

    mode: Mode
    train_ratio: float

    @classmethod
    def of(cls, config: TrialConfig) -> Self:
        """The cell of a configuration."""
        return cls(config.mode, config.train_ratio)


def all_cells(settings: Settings) -> list[Cell]:
    """Return the cells of a study, mode by mode."""
    return [Cell(mode, ratio) for mode in settings.mode for ratio in settings.train_ratio]


def nearest(cell: Cell, cells: Iterable[Cell]) -> list[Cell]:
    """Return those of `cells` that have the same mode, by the distance of their log ratios."""

    def distance(other: Cell) -> tuple[float, float]:
        return abs(math.log(other.train_ratio / cell.train_ratio)), other.train_ratio

    return sorted((other for other in cells if other.mode == cell.mode), key=distance)


def shares(settings: Settings) -> dict[Cell, int]:
    """Return how many trials each cell gets, in the order in which the cells have their turns.

    A probe tunes itself and takes one; the others share the rest evenly. What is left over goes to
    each mode at the largest ratio, then at the next, so that no mode has it all. Where there is
    nothing but probes, they share all.
    """
    cells = [cell for group in _groups(settings) for cell in group]
    tuned = [cell for cell in cells if cell.mode != "probe"] or cells
    each, over = divmod(settings.trials - (len(cells) - len(tuned)), len(tuned))
    first = sorted(tuned, key=lambda cell: -cell.train_ratio)[:over]
    more = dict.fromkeys(tuned, each) | dict.fromkeys(first, each + 1)
    return {cell: more.get(cell, 1) for cell in cells}


def smaller(settings: Settings, cell: Cell, started: Counter[Cell]) -> Iterator[tuple[Cell, int]]:
    """Yield the cells at smaller ratios that follow a cell, each with the trials that it lacks."""
    if settings.design != "cells":
        return
    frozen = cell.mode in FROZEN
    for other, share in shares(settings).items():
        later = other.train_ratio < cell.train_ratio and (other.mode in FROZEN) == frozen
        if later and share > started[other]:
            yield other, share - started[other]


def numbers(settings: Settings) -> dict[Cell, float]:
    """Return how many trials of the search each cell has; of a joint search, if it goes evenly."""
    if settings.design == "cells":
        return {**shares(settings)}
    cells = all_cells(settings)
    return dict.fromkeys(cells, settings.trials / len(cells))


def turns(settings: Settings) -> list[Cell]:
    """Return the cell of each trial, in order, for a study that begins.

    Frozen cells come first, as they are cheap, each with all its trials in a row. Then networks,
    from the largest ratio to the smallest, whose modes take turns at each ratio.
    """
    left, order = shares(settings), list[Cell]()
    for group in _groups(settings):
        for i in range(max(left[cell] for cell in group)):
            order += [cell for cell in group if i < left[cell]]
    return order


def _groups(settings: Settings) -> list[list[Cell]]:
    """Cells in order; those of a group take turns."""
    ratios, networks = sorted(settings.train_ratio, reverse=True), settings.networks
    alone = [[Cell(m, ratio)] for m in settings.mode if m in FROZEN for ratio in ratios]
    return alone + [[Cell(m, ratio) for m in networks] for ratio in ratios if networks]
