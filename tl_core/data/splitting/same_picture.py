"""Whether two files show one picture: re-encoded, resized, or in another format."""

import numpy as np
from PIL import Image

from tl_core.data.splitting.thumbnails import detail, halve

SMALLEST = 32
"""Pixels: pictures with a shorter side have too little detail to tell a copy from its like."""
_LARGEST = 256
"""Cells of the finest grid, a side: finer detail is what JPEG takes away."""
_SHAPE = 0.02
"""By which the ratios of width to height may differ, since resizing rounds to whole pixels."""
_PLAIN = 0.25
"""Share of cells in the commonest grey, from which on a picture is a drawing, a page, or an object
before a plain ground: what tells one from another may be one small mark then."""
_BRIGHTER = 16.0
"""Grey levels by which two copies differ at most on average."""
_DETAIL = (0.75, 0.91, 0.97, 0.985, 0.99)
"""Least correlation of the details, the finest first: JPEG and resizing take those away first."""
_WINDOW, _AT, _LOCAL = 8, 64, 0.75
"""Least structural similarity of windows of so many cells, on the grid of so many a side."""
_CONTRAST, _NOISE = 58.5, 8.0
"""Squared and plain grey levels that are added to contrasts: below them there is noise."""
_UNEVEN, _USUAL = 6.0, 0.05
"""The largest difference of a cell is at most so many times the usual one, at least this."""


def same_picture(a: Image.Image, b: Image.Image) -> bool:
    """Whether two RGB pictures of any size are copies of one, other than cropped or turned."""
    if abs(a.width * b.height / (a.height * b.width) - 1) > _SHAPE:
        return False
    if min(a.size + b.size) < SMALLEST:
        return False
    x, y = grids(a, b)
    return not _is_plain(x) and not _is_plain(y) and alike(x, y)


def grids(a: Image.Image, b: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Return both on the finest grid that both have pixels for, float32 [n, n, 3]."""
    n = SMALLEST
    while 2 * n <= min(*a.size, *b.size, _LARGEST):
        n *= 2
    how = Image.Resampling.HAMMING  # Averages by area alone depend on where pixels end.
    x, y = (np.asarray(p.resize((n, n), how), np.float32) for p in (a, b))
    return x, y


def alike(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two grids differ no more, and nowhere else, than re-encoding and resizing make them.

    Details of each size must agree: what halving a grid takes away (a Laplacian pyramid, Burt and
    Adelson 1983). So must each window, by its structural similarity (Wang et al. 2004), and what
    differs must be spread evenly, measured by the contrast around it: re-encoding changes all of a
    picture a little, another picture of the same scene changes a part of it.

    Args:
        x: float32 [n, n, 3], n = 32 x 2^k cells; grey levels.
        y: likewise.
    """
    if float(abs(x - y).mean()) > _BRIGHTER:
        return False
    for least in _DETAIL:
        n = len(x)
        if _correlation(detail(x), detail(y)) < least:
            return False
        if n >= SMALLEST and not _is_even(x, y):
            return False
        if n in (_AT, SMALLEST) and _least_similarity(x.mean(2), y.mean(2)) < _LOCAL:
            return False
        if n == 16:
            break
        x, y = halve(x), halve(y)
    return True


def _is_plain(x: np.ndarray) -> bool:
    levels = np.bincount(x.mean(2).round().astype(np.int64).ravel(), minlength=256)
    return float(np.convolve(levels, np.ones(3)).max()) > _PLAIN * float(levels.sum())


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Of details, whose mean is 0; 0 where there are none."""
    size = float(np.sqrt((x * x).sum(dtype=float) * (y * y).sum(dtype=float)))
    return float((x * y).sum(dtype=float)) / size if size else 0.0


def _is_even(x: np.ndarray, y: np.ndarray) -> bool:
    contrast = np.minimum(_ranges(x), _ranges(y)).max(2)
    differs = abs(x - y).max(2) / (contrast + _NOISE)
    usual = max(float(np.percentile(differs, 95)), _USUAL)
    return float(differs.max()) <= _UNEVEN * usual


def _ranges(x: np.ndarray) -> np.ndarray:
    from scipy.ndimage import maximum_filter, minimum_filter  # They take some time to import.

    around = (3, 3, 1)
    ranges: np.ndarray = maximum_filter(x, around) - minimum_filter(x, around)
    return ranges


def _least_similarity(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.ndimage import uniform_filter

    def mean(z: np.ndarray) -> np.ndarray:
        of_windows: np.ndarray = uniform_filter(z, _WINDOW)
        return of_windows

    mx, my = mean(x), mean(y)
    both = mean(x * x) - mx * mx + mean(y * y) - my * my
    shared = 2 * (mean(x * y) - mx * my)
    return float(((shared + _CONTRAST) / (both + _CONTRAST)).min())
