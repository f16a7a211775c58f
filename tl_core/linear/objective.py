"""What a linear model with an L2 penalty minimises, and its derivatives.

Value and gradient are float64; float32 in the Hessian costs no accuracy.

Axes: P penalties, K outputs, n training rows, b rows of a block, d coordinates (see `Design`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tl_core.linear.design import Design, total
from tl_core.linear.losses import Loss

FLAT = 1e-8
"""Least curvature that is believed, in float32; the penalties' own is larger."""
KEPT = 2**26
"""Most float32 numbers kept of the outputs of all rows, 256 MB; more are computed anew."""


class Point(NamedTuple):
    """Weights of P problems, and what the objective is there."""

    weights: Tensor
    """[P, K, d]."""
    value: Tensor
    """[P]."""
    gradient: Tensor
    """[P, K, d]."""

    def norms(self) -> Tensor:
        """Of the gradient, [P]."""
        norms: Tensor = torch.linalg.vector_norm(self.gradient, dim=(1, 2))
        return norms

    def where(self, kept: Tensor) -> "Point":
        """Of some of the problems, bool [P]."""
        return Point(*(x[kept] for x in self))


@dataclass(frozen=True)
class Objective:
    """Mean loss + penalty / 2 * |weights|^2; the intercept is not penalised."""

    design: Design
    loss: Loss

    def __call__(self, weights: Tensor, l2: Tensor) -> Point:
        """Weights [P, K, d], penalties [P]; all float64."""
        return self.penalise(weights, l2, *self.mean_loss(weights))

    def mean_loss(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weights [P, K, d] -> mean loss over all rows [P], its gradient [P, K, d]."""
        loss, gradient = weights.new_zeros(len(weights)), torch.zeros_like(weights)
        start = 0
        for block in self.design.exact():
            rows = slice(start, start := start + len(block))
            losses, errors = self.loss.errors(weights @ block.mT, rows)
            loss += self.weigh(losses, rows).sum(1)
            gradient += self.weigh(errors, rows) @ block
        return loss / self.design.n, gradient / self.design.n

    def weigh(self, values: Tensor, rows: slice) -> Tensor:
        """Multiply values [..., b] of some rows by what these count."""
        weights = self.loss.row_weights
        return values if weights is None else values * weights[rows].to(values.dtype)

    def penalise(self, weights: Tensor, l2: Tensor, loss: Tensor, gradient: Tensor) -> Point:
        """Add the penalty to the mean loss and its gradient, those of `mean_loss`."""
        penalty = _penalties(l2, weights) * weights
        return Point(weights, loss + (penalty * weights).sum((1, 2)) / 2, gradient + penalty)


class Hessian:
    """Second derivative of the objective at some weights, float32 and in rotated coordinates."""

    def __init__(self, objective: Objective, weights: Tensor, l2: Tensor) -> None:
        """Take weights [P, K, d] and penalties [P], float32."""
        self._design, self._loss = objective.design, objective.loss
        self._weigh = objective.weigh
        self._weights, self._l2 = weights, _penalties(l2, weights)
        self._kept: list[Tensor] | None = None
        if weights.shape[:2].numel() * self._design.n <= KEPT:
            self._kept = [*self._states()]
        bends = total(
            self._weigh(self._loss.diagonal(state), rows).mean(1).sum(1)
            for rows, state in zip(self._rows(), self._states(), strict=True)
        )
        # While all rows bend alike, the rotated Hessian is diagonal. One mean for all classes:
        # with one each, steps would shift all intercepts at once, which changes nothing.
        mean = (bends[:, None, None] / self._design.n).clamp_min(FLAT)
        self.inverse = 1 / (mean * self._design.squares + self._l2)
        """Roughly; [P, 1, d]."""

    def __matmul__(self, change: Tensor) -> Tensor:
        """Product with a change of the weights, [P, K, d]."""
        product = self._l2 * change
        blocks = zip(self._design.rotated, self._rows(), self._states(), strict=True)
        for block, rows, state in blocks:
            bent = self._weigh(self._loss.bend(state, change @ block.mT), rows)
            product += (bent @ block).div_(self._design.n)
        return product

    def keep(self, going: Tensor) -> None:
        """Drop the penalties that are not `going`, bool [P]."""
        self._weights, self._l2 = self._weights[going], self._l2[going]
        self.inverse = self.inverse[going]
        if self._kept is not None:
            self._kept = [state[going] for state in self._kept]

    def _rows(self) -> Iterator[slice]:
        """Which rows each block has."""
        start = 0
        for block in self._design.rotated:
            yield slice(start, start := start + len(block))

    def _states(self) -> Iterator[Tensor]:
        if self._kept is not None:
            return iter(self._kept)
        return (self._loss.state(self._weights @ block.mT) for block in self._design.rotated)


def _penalties(l2: Tensor, weights: Tensor) -> Tensor:
    """[P] -> [P, 1, d]: the penalty of each weight, 0 for the intercept."""
    each = l2[:, None, None].repeat(1, 1, weights.shape[-1])
    each[..., -1] = 0
    return each
