"""Where one mode overtakes another: a line through its leads, and Fieller's interval of its zero.

The lead of one mode over another is measured at a few ratios. A line in the log of the ratio is put
through the leads; where it is zero, the modes change places. Fieller's interval (Journal of the
Royal Statistical Society B 16, 1954) has every ratio at which the line's value can't be told from
zero. It needs no variance of the ratio itself, and it is open where the data do not bound it.

The value of the line at a ratio is a weighted sum of the leads, so it has an interval on new seeds
and images (`study.intervals.two_way`), in which the leads at different ratios may vary together:
they share the test images, and a seed's training subsets are nested.
"""

from typing import NamedTuple

import numpy as np

from study.intervals.two_way import CONFIDENCE, Floats, MeanSquares

GRID = 401
"""Ratios between the smallest and the largest at which the line is looked at."""


class Crossing(NamedTuple):
    """Where leads change their sign for the last time, in x."""

    at: float | None
    """None if they do not."""
    low: float | None
    """95 % interval of `at`; None for an end that lies outside of x, or that has no bound."""
    high: float | None
    rises: bool
    """Whether the leads are positive at the largest x (if they are zero there: anywhere)."""


def last_crossing(leads: MeanSquares, x: Floats) -> Crossing:
    """Return where the leads at x, [R] and rising, change their sign for the last time.

    If a line does not fit all of them, those that are far from the change are left out until it
    does; a line through the two leads on both sides of the change always fits.
    """
    # Accuracies of few images often tie, and rounding errors would break the ties.
    means = leads.means.round(12)
    used = np.arange(len(x))
    if fits(leads, _line_weights(x, x)):
        first, last = (_line_weights(x, x[[0, -1]]) @ means).round(12)
        rises, changes = bool(last > 0 or (last == 0 and first > 0)), first * last < 0
    else:
        signs = np.sign(means)
        rises = bool(signs[np.flatnonzero(signs)[-1]] > 0)
        behind = np.flatnonzero(signs == (-1 if rises else 1))
        changes = len(behind) > 0
        used = _window(leads, x, int(behind[-1])) if changes else used
    if not changes:
        return Crossing(None, None, None, rises)
    grid = np.linspace(x[0], x[-1], GRID)
    weights = np.zeros((GRID, len(x)))
    weights[:, used] = _line_weights(x[used], grid)
    return _fieller(leads, weights, grid, rises)


def fits(tables: MeanSquares, smoother: Floats) -> bool:
    """Whether a linear fit of R means leaves nothing that is more than chance.

    `smoother` is the hat matrix of the fit, [R, R]. What it leaves has as many directions as the
    means have more than the fit has parameters. Each is tested with its own two-way interval, at
    5 % for all of them (Bonferroni).
    """
    left = np.eye(len(smoother)) - smoother
    directions, sizes, _ = np.linalg.svd(left.T)
    directions = directions[:, sizes > 1e-9].T
    if not len(directions):
        return True
    p = tables.combine(directions.round(12)).p_value()
    return bool(p.min() * len(directions) >= 1 - CONFIDENCE)


def _window(leads: MeanSquares, x: Floats, change: int) -> np.ndarray:
    """Indices around the change between `change` and the next one, through which a line fits."""
    low, high = 0, len(x) - 1
    while high - low > 1:
        if change - low >= high - change - 1:
            low += 1
        else:
            high -= 1
        used = np.arange(low, high + 1)
        if fits(leads.part(used), _line_weights(x[used], x[used])):
            return used
    return np.array([change, change + 1])


def _line_weights(x: Floats, at: Floats) -> Floats:
    """Weights of the values at x in a least-squares line's value at each of `at`, [A, R]."""
    design, wanted = (np.stack([np.ones_like(points), points], axis=1) for points in (x, at))
    weights: Floats = wanted @ np.linalg.pinv(design)
    return weights


def _fieller(leads: MeanSquares, weights: Floats, grid: Floats, rises: bool) -> Crossing:
    """The zero of a line, and the values of x around it at which the line may be zero."""
    t = leads.combine(weights)
    sign = 1.0 if rises else -1.0
    center, half = sign * t.center, t.half_width()
    at = _first_zero(center, grid)
    if leads.n_seeds < 2:
        return Crossing(at, None, None, rises)
    # The line is below zero up to `low`, where its upper limit is zero, and likewise at `high`.
    low = _first_zero(center + half, grid)
    high = _first_zero((half - center)[::-1], grid[::-1])
    return Crossing(at, low, high, rises)


def _first_zero(values: Floats, grid: Floats) -> float | None:
    """Where values that begin below zero first reach it; None if they begin above, or never do."""
    reached = np.flatnonzero(values >= 0)
    if values[0] >= 0 or not len(reached):
        return None
    i = int(reached[0])
    share = values[i - 1] / (values[i - 1] - values[i])
    return float(grid[i - 1] + share * (grid[i] - grid[i - 1]))
