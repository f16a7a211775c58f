"""Linear models with an L2 penalty, minimised by truncated Newton for many penalties at once.

A step is solved by conjugate gradients, as far as it pays (Nocedal and Wright, Numerical
Optimization, 2006, section 7.1). That takes products with the Hessian and never the Hessian, whose
side is K d. Value and gradient are float64; float32 in the steps costs no accuracy.

Axes: P penalties, K outputs, n training rows, b rows of a block, d coordinates (see `Design`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from tl_core.linear.objective import FLAT, KEPT, Hessian, Objective, Point

TOLERANCE = 1e-7
"""Largest norm of the gradient by all parameters of one problem, of features whose RMS is 1.

The objective is strongly convex in the weights, with the penalty as modulus. So the weights are
within TOLERANCE / penalty of the minimum, and the objective within TOLERANCE^2 / (2 penalty)."""
MOST_STEPS = 100
"""Newton steps; 3 to 15 are usual."""
_MOST_PRODUCTS = 250
"""Products with the Hessian in a step; a step that needs more is still one downhill."""
_MOST_HALVINGS = 40
_DECREASE = 1e-4
"""Least decrease, as a share of what the slope promises (Armijo's condition)."""
_ROUNDING = 1e-13
"""By how much a value of about 1, a mean of many, may be off."""
_FORCING = 0.3
"""Largest residual of a step, as a share of the gradient; near the minimum it is smaller."""
GROUP = 5
"""Penalties solved at once: more share a product, fewer start nearer to their minimum."""
_WIDTH = 2**7
"""Most outputs of all penalties solved at once: a product with more is no faster for each."""


def solve_path(
    objective: Objective, l2: Tensor, start: Tensor, group: int = GROUP
) -> Iterator[tuple[Tensor, Tensor]]:
    """Minimise for each of the penalties, from strong to weak.

    Each group of them starts from the parabola through the three minima before it, or from the
    last of those where that is lower.

    Args:
        objective: what to minimise.
        l2: a geometric series of penalties, float64 [L].
        start: weights where the penalty is infinite, float64 [K, d].
        group: penalties at once; fewer if they have many outputs.

    Yields:
        For each group, in order: weights [P, K, d] and norms of the gradient [P]. A norm is above
        TOLERANCE only if MOST_STEPS did not suffice.
    """
    k = len(start)
    group = max(1, min(group, _WIDTH // k, KEPT // (k * objective.design.n)))
    last = start.repeat(3, 1, 1)
    for part in (l2[i : i + group] for i in range(0, len(l2), group)):
        j = torch.arange(1, len(part) + 1, dtype=l2.dtype, device=l2.device)
        parabola = torch.stack([j * (j + 1) / 2, -j * (j + 2), (j + 1) * (j + 2) / 2], dim=1)
        ahead = torch.tensordot(parabola, last, 1)
        weights, norms = minimise(objective, part, lower(objective, part, ahead, last[-1:]))
        yield weights, norms
        last = torch.cat([last, weights])[-3:]


def lower(objective: Objective, l2: Tensor, some: Tensor, other: Tensor) -> Point:
    """For each penalty [P], the better of its own weights [P, K, d] and those of all [1, K, d]."""
    loss, gradient = objective.mean_loss(torch.cat([some, other]))
    own = objective.penalise(some, l2, loss[:-1], gradient[:-1])
    shared = objective.penalise(other.expand_as(some), l2, loss[-1:], gradient[-1:])
    better = (own.value <= shared.value)[:, None, None]
    return Point(
        torch.where(better, own.weights, shared.weights),
        torch.where(better.flatten(), own.value, shared.value),
        torch.where(better, own.gradient, shared.gradient),
    )


def minimise(objective: Objective, l2: Tensor, start: Point) -> tuple[Tensor, Tensor]:
    """Minimise for the penalties [P]; return weights [P, K, d] and norms of the gradient [P]."""
    found, norms = torch.empty_like(start.weights), torch.empty_like(l2)
    at, point = torch.arange(len(l2), device=l2.device), start
    for _ in range(MOST_STEPS):
        found[at], norms[at] = point.weights, point.norms()
        going = norms[at] > TOLERANCE
        if not going.any():
            break
        at, l2, point = at[going], l2[going], point.where(going)
        point = _descend(objective, l2, point, newton_step(objective, l2, point))
    return found, norms


def newton_step(objective: Objective, l2: Tensor, point: Point) -> Tensor:
    """The truncated Newton step [P, K, d]."""
    design = objective.design
    norm = point.norms()[:, None, None]
    # The square root makes the convergence superlinear (Nocedal and Wright, theorem 7.2).
    residual = norm.sqrt().clamp_max(_FORCING).maximum(TOLERANCE / (2 * norm))
    hessian = Hessian(objective, design.to_rotated(point.weights), l2.float())
    # Of length 1: squares of a small gradient would underflow.
    right = design.to_rotated(-point.gradient / norm)
    step: Tensor = design.from_rotated(conjugate_gradients(hessian, right, residual.float())) * norm
    return step


def conjugate_gradients(hessian: Hessian, right: Tensor, residual: Tensor) -> Tensor:
    """Solve `hessian @ x = right` [P, K, d] up to residuals of these norms [P, 1, 1]."""
    found, at = torch.zeros_like(right), torch.arange(len(right), device=right.device)
    x, rest = torch.zeros_like(right), right
    direction = conditioned = rest * hessian.inverse
    decrease = _dot(rest, conditioned)
    for _ in range(_MOST_PRODUCTS):
        product = hessian @ direction
        # Where all probabilities are 0 or 1, the objective has no curvature by the intercept.
        flat = FLAT * _dot(direction, direction)
        size = decrease / _dot(direction, product).maximum(flat)
        x, rest = x + size * direction, rest - size * product
        found[at] = x
        going = (_dot(rest, rest).sqrt() > residual).flatten()
        if not going.all():
            if not going.any():
                break
            hessian.keep(going)
            at, x, rest, direction, decrease, residual = (
                t[going] for t in (at, x, rest, direction, decrease, residual)
            )
        conditioned = rest * hessian.inverse
        decrease, before = _dot(rest, conditioned), decrease
        direction = conditioned + decrease / before * direction
    return found


def _descend(objective: Objective, l2: Tensor, point: Point, step: Tensor) -> Point:
    """Take the step, halved where the value would not decrease."""
    slope = _DECREASE * _dot(point.gradient, step).flatten()
    size = torch.ones_like(l2)
    after = objective(point.weights + step, l2)
    for _ in range(_MOST_HALVINGS):
        allowed = point.value + size * slope + _ROUNDING * point.value.clamp_min(1)
        high = ~(after.value <= allowed)  # NaN is too high.
        if not high.any():
            break
        size[high] /= 2
        shorter = point.weights[high] + size[high, None, None] * step[high]
        for all_of_them, some in zip(after, objective(shorter, l2[high]), strict=True):
            all_of_them[high] = some
    return after


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """[P, K, d] each -> [P, 1, 1]."""
    return (a * b).sum((1, 2), keepdim=True)
