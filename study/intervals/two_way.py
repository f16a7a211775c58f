"""Intervals that hold on new photos: for other seeds and other images than those that were seen.

A table holds a value for each of S seeds and N images, such as 1 where a network is right. Every
seed sees the same images, so the values of one image are alike, and so are those of one seed. Their
mean then varies with the draw of the seeds and with the draw of the images. This is the two-way
random-effects layout with one value a place (Searle, Casella and McCulloch, Variance Components,
1992, chapter 4); seeds and images are both taken as drawn at random.

Several tables of the same seeds and images, R of them, may be given: such as the cells of a mode,
or the lead of one mode over another at R ratios. Any linear function of their means then has its
interval, with all covariances between the tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # `scipy.stats` takes half a second to import.

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
"""Level of every interval."""

SHARE_PSEUDO = (1.0, 1.0, 0.0, 0.0)
"""Pseudo-images for a share: two right and two wrong (Agresti and Coull, The American Statistician
52, 1998). Without them, a table in which all is right has an interval of width 0."""

DIFFERENCE_PSEUDO = (1.0, -1.0)
"""Pseudo-images for a paired difference of shares: one for each side (Agresti and Min, Statistics
in Medicine 24, 2005; Bonett and Price, Journal of Educational and Behavioral Statistics 37, 2012).
"""


@dataclass(frozen=True)
class TInterval:
    """Student's t for a mean, or for [...] means at once."""

    center: Floats
    """[...]"""
    error: Floats
    """Standard error of each, [...]; 0 where nothing varies."""
    df: Floats
    """Degrees of freedom, [...]."""
    parts: "Parts | None" = field(default=None, compare=False, repr=False)
    """Of its variance; None where it is about seeds alone, or wider than they make it."""

    def half_width(self) -> Floats:
        """Half of the 95 % interval, [...]."""
        quantile: Floats = special.stdtrit(self.df, (1 + CONFIDENCE) / 2)
        half: Floats = quantile * self.error
        return half

    def ends(self) -> tuple[Floats, Floats]:
        """Both ends of the 95 % interval, each [...]."""
        half = self.half_width()
        return self.center - half, self.center + half

    def positive_ends(self) -> tuple[Floats, Floats]:
        """Both ends for means of values that are never negative, on a log scale, each [...].

        A few images have most of the log loss, so the mean of those that were seen is more often
        far below the truth than far above it. The log of the mean is less skewed; its standard
        error is that of the mean as a share of it (delta method). A mean of 0 has no width.
        """
        share = np.divide(
            self.half_width(), self.center, out=np.zeros_like(self.center), where=self.center > 0
        )
        return self.center * np.exp(-share), self.center * np.exp(share)

    def p_value(self) -> Floats:
        """Two-sided p of a mean of zero, [...]; it is below 0.05 where the interval excludes 0."""
        p: Floats = 2 * special.stdtr(self.df, -np.abs(self._distance(0.0)))
        return p

    def p_not_above(self, bound: float) -> Floats:
        """One-sided p of a mean of `bound` or less, [...]."""
        p: Floats = special.stdtr(self.df, -self._distance(bound))
        return p

    def _distance(self, bound: float) -> Floats:
        gap = np.asarray(self.center - bound, dtype=float)
        # Where nothing varies, a gap is certain and no gap is none.
        certain = np.where(gap == 0, 0.0, np.copysign(np.inf, gap))
        distance: Floats = np.divide(gap, self.error, out=certain, where=self.error > 0)
        return distance

    def __neg__(self) -> "TInterval":
        return replace(self, center=-self.center)


@dataclass(frozen=True)
class Parts:
    """What the variance of a mean on new seeds and new images is made of, each [...]."""

    total: Floats
    """The unbiased estimate, which may be below the other two."""
    seeds: Floats
    """0 with one seed."""
    free: float
    """Degrees of freedom of the seeds' part."""
    images: Sequence[tuple[Floats, float]]
    """One or more parts, with their degrees of freedom."""


@dataclass(frozen=True)
class MeanSquares:
    """R tables of the same S seeds and N images: their means, and how they vary together."""

    means: Floats
    """[..., R]"""
    seeds: Floats
    """Mean squares and products of the seeds' means, MSR, [..., R, R]; 0 with one seed."""
    images: Floats
    """Those of the images' means, MSC; 0 with one image, which stands for a whole test set."""
    residual: Floats
    """Those of what is left, MSE; 0 with one seed or one image."""
    n_seeds: int
    n_images: int
    free_images: float | None = None
    """Degrees of freedom of the images; None for N - 1."""

    def part(self, which: NDArray[np.intp]) -> "MeanSquares":
        """Return some of the tables, in that order."""
        seeds, images, residual = (
            squares[..., which[:, None], which]
            for squares in (self.seeds, self.images, self.residual)
        )
        means = self.means[..., which]
        return replace(self, means=means, seeds=seeds, images=images, residual=residual)

    def combine(self, weights: ArrayLike) -> TInterval:
        """Return the interval of the sum of the means, each times its weight, [..., R].

        With MSR, MSC and MSE of that sum, the variance of its mean is
        V = max(MSR + MSC - MSE, MSR, MSC) / (S N). The first is the unbiased estimate; the others
        keep it from being less than that of the seeds or of the images alone. For the degrees of
        freedom see `satterthwaite`.

        With one seed only the images count: the interval is about new photos for this one network,
        and says nothing on other seeds. With one image only the seeds count.
        """
        w = np.asarray(weights, dtype=float)
        rows, columns, residual = (
            _quadratic(w, m) for m in (self.seeds, self.images, self.residual)
        )
        s, n = self.n_seeds, self.n_images
        total, rows, columns = (x / (s * n) for x in (rows + columns - residual, rows, columns))
        # Without rounding errors, a sum that is zero is so where nothing varies.
        center = np.einsum("...r,...r->...", w, self.means).round(12)
        free = n - 1 if self.free_images is None else self.free_images
        return satterthwaite(center, Parts(total, rows, s - 1, [(columns, free)]))


def satterthwaite(center: Floats, parts: Parts) -> TInterval:
    """Return the interval of means, [...], on new seeds and new images.

    The variance is the estimate in total, or the seeds' or the images' part where it is below that.

    The degrees of freedom are those of Satterthwaite (Biometrics Bulletin 2, 1946), not below those
    of the seeds. With few seeds they may rise so fast with the images' part of the variance that
    the interval gets narrower than that of the seeds alone, though more varies. They are then
    fewer, as many as make both equally wide.
    """
    seeds, free = parts.seeds, max(parts.free, 1)
    of_images = np.sum([part for part, _ in parts.images], axis=0)
    variance = np.maximum(parts.total, np.maximum(seeds, of_images))
    spread = seeds**2 / free
    for part, own_free in parts.images:
        spread = spread + part**2 / max(own_free, 1)
    least = np.full_like(variance, free)
    df = np.maximum(np.divide(variance**2, spread, out=least.copy(), where=spread > 0), least)
    share = np.divide(seeds, variance, out=np.zeros_like(variance), where=variance > 0)
    level = (1 + CONFIDENCE) / 2
    of_seeds = special.stdtrit(least, level) * np.sqrt(share)
    fewer = special.stdtridf(level, np.maximum(of_seeds, special.stdtrit(df, level)))
    df = np.where(of_seeds > special.stdtrit(df, level), fewer, df)[()]
    return TInterval(center, np.sqrt(variance), df, parts)


def mean_squares(tables: Floats, free: float | None = None) -> MeanSquares:
    """Take R tables apart, [..., R, S, N]; `free` is `free_images`.

    Raises `ValueError` with one seed and one image, which tell nothing of how values vary.
    """
    *_, s, n = tables.shape
    if s * n < 2:
        raise ValueError(f"a table has two values or more; got {s} x {n}")
    means = tables.mean(axis=(-2, -1))
    rows = tables.mean(axis=-1) - means[..., None]
    columns = tables.mean(axis=-2) - means[..., None]
    rest = tables - means[..., None, None] - rows[..., :, None] - columns[..., None, :]
    flat = rest.reshape(*rest.shape[:-2], s * n)
    return MeanSquares(
        means,
        _products(rows) * n / max(s - 1, 1),
        _products(columns) * s / max(n - 1, 1),
        _products(flat) / max((s - 1) * (n - 1), 1),
        s,
        n,
        free,
    )


def two_way(table: Floats, pseudo: ArrayLike = (), free: float | None = None) -> TInterval:
    """Return the interval of the mean of a table, [..., S, N], on new seeds and new images.

    Args:
        table: values, such as 1 where a network is right, or paired differences.
        pseudo: values of images that are added (`pseudo_values`); `SHARE_PSEUDO` for shares,
            `DIFFERENCE_PSEUDO` for differences of shares, none for a value without bounds.
        free: degrees of freedom of the images, N - 1 if None.

    Raises `ValueError` with one seed and one image.
    """
    return mean_squares(with_pseudo(table, pseudo)[..., None, :, :], free).combine([1.0])


def with_pseudo(table: Floats, pseudo: ArrayLike) -> Floats:
    """Add P pseudo-images, whose values are [P] or [..., 1, P], to tables, [..., S, N]."""
    return np.concatenate([table, pseudo_values(table, pseudo)], axis=-1)


def pseudo_values(table: Floats, pseudo: ArrayLike) -> Floats:
    """Return the values of P pseudo-images on each seed of tables [..., S, N]; [..., S, P].

    They are higher on a seed by as much as its mean is. So pseudo-images tell nothing of how much
    seeds differ: were they the same on every seed, the seeds' means would seem more alike.

    Args:
        table: the values of the images.
        pseudo: means over the seeds, [P] or [..., 1, P].
    """
    rows = table.mean(axis=-1, keepdims=True)
    found: Floats = np.asarray(pseudo, dtype=float) + rows - rows.mean(axis=-2, keepdims=True)
    return found


def _products(deviations: Floats) -> Floats:
    """Sums of products, [..., R, R], of deviations [..., R, any]."""
    return deviations @ deviations.swapaxes(-1, -2)


def _quadratic(weights: Floats, squares: Floats) -> Floats:
    found: Floats = np.einsum("...r,...rq,...q->...", weights, squares, weights)
    return np.maximum(found, 0.0)  # Rounding errors.
