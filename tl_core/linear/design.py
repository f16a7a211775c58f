"""The training features of a linear model: centred, scaled, and in coordinates that cost little.

Axes: n training rows, b rows of a block, D features, d coordinates, the last of which is the
intercept's constant 1.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from tl_core.device import is_gpu

_BLOCK, _GPU_BLOCK = 2**19, 2**25
"""Numbers in a block of rows. On a CPU it stays in the cache while it is used twice; on a GPU it
is large enough to keep it busy."""
_KEPT = 2**24
"""Most float64 numbers that are kept, 128 MB; if there are more, each pass computes them anew."""
_CONSTANT = 1e-13
"""Features whose spread is a smaller share of their mean differ by rounding alone: among a
million float32 numbers, the last bit of a single one is a spread of 1e-10."""

Blocks = Callable[[], Iterable[Tensor]]
"""All rows, a block [b, d] at a time."""


@dataclass(frozen=True)
class Design:
    """The training rows of one linear model.

    The minimum is decided by the `exact` rows. A Newton step need only be right to a few digits,
    so it takes the `rotated` rows: float32, and no two coordinates are correlated.
    """

    n: int
    exact: Blocks
    """float64."""
    rotated: tuple[Tensor, ...]
    """The same blocks times `basis`, float32."""
    basis: Tensor | None
    """float32 [d, d], orthogonal; None for the identity."""
    squares: Tensor
    """Mean squares of the rotated coordinates, float32 [d]."""
    lift: tuple[Tensor, ...]
    """float64 factors of the [d - 1, D]: coordinates -> centred, scaled features; none for the
    identity."""
    mean: Tensor
    """Of the features over the training rows, float64 [D]."""
    scale: float
    """Root mean square of the centred features over all rows and features."""

    @property
    def d(self) -> int:
        """Number of coordinates."""
        return len(self.squares)

    def to_rotated(self, weights: Tensor) -> Tensor:
        """Weights [..., d] of the exact rows -> those of the rotated ones, float32."""
        weights = weights.float()
        return weights if self.basis is None else weights @ self.basis

    def from_rotated(self, weights: Tensor) -> Tensor:
        """Reverse `to_rotated`; float64."""
        return (weights if self.basis is None else weights @ self.basis.mT).double()

    def to_raw(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """[..., d] -> weight [..., D] and bias [...] that apply to the features as they came."""
        weight, bias = weights[..., :-1], weights[..., -1]
        weight = reduce(torch.matmul, self.lift, weight) / self.scale
        return weight, bias - weight @ self.mean


def make_design(rows: Tensor, views: Tensor) -> Design:
    """Prepare the rows `views`, int64 [n], of the features [V, D].

    All features are divided by one number: on a few images the spread of a single feature is
    mostly chance. With n <= D the coordinates are the principal components of the training rows,
    at most n - 1 of them: the minimum lies in their span (the representer theorem), so nothing is
    lost. With n > D they are the features.

    Raises:
        ValueError: a feature of a training row is not finite.
    """
    n, width = len(views), rows.shape[1]
    raw: Blocks = lambda: (rows.index_select(0, part).double() for part in split(views, width))  # noqa: E731
    mean = total(block.sum(0) for block in raw()) / n
    square = total((block - mean).square().sum() for block in raw())
    scale = (square / (n * width)).sqrt().item()
    if not scale < torch.inf:
        raise ValueError(f"features must be finite, but in some of {n} training rows they are not")
    if scale <= _CONSTANT * mean.abs().max().item():
        scale = 1.0
    exact: Blocks = lambda: (_with_one((block - mean) / scale) for block in raw())  # noqa: E731
    return (_in_span if n <= width else _in_features)(exact, n, mean, scale)


def split(rows: Tensor, width: int) -> Iterator[Tensor]:
    """Split [n, ...] into blocks of rows, of `width` numbers each."""
    size = max(1, (_GPU_BLOCK if is_gpu(rows.device) else _BLOCK) // width)
    return (rows[start : start + size] for start in range(0, len(rows), size))


def total(parts: Iterable[Tensor]) -> Tensor:
    """Sum of tensors of one shape, at least one."""
    return reduce(torch.add, parts)


def _in_span(exact: Blocks, n: int, mean: Tensor, scale: float) -> Design:
    features = torch.cat([*exact()])[:, :-1]
    squares, vectors = torch.linalg.eigh(features @ features.mT)
    # What is below is rounding, as in numpy's matrix_rank; one component goes with the mean.
    real = squares > squares[-1] * n * torch.finfo(squares.dtype).eps
    roots, vectors = squares[real].sqrt(), vectors[:, real]
    lift = (vectors / roots).mT, features
    held = tuple(split(_with_one(vectors * roots), n))
    rotated = tuple(block.float() for block in held)
    return Design(n, lambda: held, rotated, None, _mean_squares(rotated, n), lift, mean, scale)


def _in_features(exact: Blocks, n: int, mean: Tensor, scale: float) -> Design:
    if n * len(mean) <= _KEPT:
        held = tuple(exact())
        exact = lambda: held  # noqa: E731
    covariance = total(block.mT @ block for block in map(Tensor.float, exact())) / n
    # The intercept stays by itself: no centred feature is correlated with it.
    basis = torch.eye(len(covariance), device=mean.device)
    basis[:-1, :-1] = torch.linalg.eigh(covariance[:-1, :-1]).eigenvectors
    # In one piece: as blocks of their own, they would leave holes in the memory.
    rotated = tuple(split(torch.empty(n, len(basis), device=mean.device), len(mean)))
    for into, block in zip(rotated, exact(), strict=True):
        torch.mm(block.float(), basis, out=into)
    return Design(n, exact, rotated, basis, _mean_squares(rotated, n), (), mean, scale)


def _mean_squares(rotated: Iterable[Tensor], n: int) -> Tensor:
    return total(block.square().sum(0) for block in rotated) / n


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_ones(len(features), 1)], dim=1)
