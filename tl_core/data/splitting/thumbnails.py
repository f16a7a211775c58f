"""Thumbnails of squares, by which pairs that may be copies of one picture are found."""

import numpy as np

from tl_core.runtime import usable_cpus

CELLS = 16
"""Cells of a thumbnail, a side."""
_FLAT = 4.0
"""Grey levels: thumbnails that vary less are left out, as they are all alike."""
_FAR, _DETAIL = 0.1, 0.985
"""Copies are no further apart, as vectors of length 1, and their finest detail correlates so."""
_NEAREST = 8
"""Neighbours that are looked at: a photo with more copies is joined by chains of them."""
_DIRECTIONS, _SAMPLE, _PIECE = 24, 10_000, 4096


def area_weights(size: int) -> np.ndarray:
    """Return float32 [cells, size], which average `size` pixels to cells by their area."""
    edges = np.linspace(0, size, CELLS + 1)
    starts = np.arange(size)
    covered = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return (covered.clip(0) * CELLS / size).astype(np.float32)


def thumbnail(square: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return a square's grey cells without their mean, of length 1; float16 [256], 0 if flat.

    Args:
        square: uint8 [3, S, S].
        weights: those of `area_weights(S)`.
    """
    grey = square.sum(0, dtype=np.uint16).astype(np.float32) / 3
    cells = weights @ grey @ weights.T
    cells -= cells.mean()
    length = float(np.linalg.norm(cells))
    if length < _FLAT * CELLS:
        return np.zeros(CELLS**2, np.float16)
    unit: np.ndarray = (cells / length).astype(np.float16).ravel()
    return unit


def near_pairs(thumbs: np.ndarray) -> np.ndarray:
    """Return the pairs of images that may show one picture, int64 [P, 2], each once.

    A k-d tree of some leading principal components finds them: a distance in a projection is never
    larger than the whole one, so no pair is missed for it.

    Args:
        thumbs: float16 [N, 256], rows of `thumbnail`.
    """
    from scipy.spatial import KDTree  # It takes a while.

    rows = np.flatnonzero(thumbs.any(1))
    if len(rows) < 2:
        return np.empty((0, 2), np.int64)
    some = thumbs[rows[:: -(-len(rows) // _SAMPLE)]].astype(np.float32)
    leading = np.linalg.eigh(some.T @ some)[1][:, -_DIRECTIONS:]
    starts = range(0, len(rows), _PIECE)
    pieces = [rows[start : start + _PIECE] for start in starts]
    points = np.concatenate([thumbs[piece].astype(np.float32) @ leading for piece in pieces])
    tree = KDTree(points)
    found = [np.empty((0, 2), np.int64)]
    for start, piece in zip(starts, pieces, strict=True):
        near = tree.query(
            points[start : start + _PIECE],
            k=range(1, _NEAREST + 2),
            distance_upper_bound=_FAR,
            workers=usable_cpus(),
        )[1]
        of, place = np.nonzero(near < len(rows))  # The others are none.
        pairs = np.stack([piece[of], rows[near[of, place]]], axis=1)
        pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
        found.append(pairs[_are_near(thumbs, pairs)])
    return np.unique(np.concatenate(found), axis=0)


def _are_near(thumbs: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    a, b = (thumbs[side].astype(np.float32).reshape(-1, CELLS, CELLS, 1) for side in pairs.T)
    near = ((a - b) ** 2).sum((1, 2, 3)) <= _FAR**2
    x, y = detail(a), detail(b)
    sizes = np.sqrt((x * x).sum((1, 2, 3)) * (y * y).sum((1, 2, 3)))
    found: np.ndarray = near & ((x * y).sum((1, 2, 3)) >= _DETAIL * sizes)
    return found


def halve(grid: np.ndarray) -> np.ndarray:
    """Average each 2 x 2 cells; [..., n, n, C] -> [..., n / 2, n / 2, C]."""
    *more, n, _, channels = grid.shape
    halved: np.ndarray = grid.reshape(*more, n // 2, 2, n // 2, 2, channels).mean((-4, -2))
    return halved


def detail(grid: np.ndarray) -> np.ndarray:
    """Return what halving a grid takes away; the same shape."""
    difference: np.ndarray = grid - halve(grid).repeat(2, -3).repeat(2, -2)
    return difference
