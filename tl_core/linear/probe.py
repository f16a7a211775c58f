"""A converged linear probe: the heads of S seeds on features, without a learning rate or steps.

The class head is L2-regularised multinomial logistic regression, its penalty chosen on validation
from 45 (Kornblith, Shlens and Le, Do Better ImageNet Models Transfer Better?, CVPR 2019). The
auxiliary head is ridge regression of a number, or another such regression of classes, its penalty
chosen likewise.

Axes: S seeds, N images, V views, D features, K logits (1 for two classes), A outputs of the
auxiliary task (1 for a number, 0 without one), T tasks (2, or 1), P penalties.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tl_core.aux_task import BRIGHTNESS, AuxTask
from tl_core.linear.class_head import auxiliary_class_head, class_head
from tl_core.linear.losses import SquaredLoss
from tl_core.linear.subset import N_PENALTIES, Head, Score, Subset
from tl_core.objectives.losses import classification_loss
from tl_core.objectives.metrics import hits


@dataclass(frozen=True)
class Probe:
    """The heads of S seeds; weight and bias are as `HeadStack.fill` takes them."""

    weight: Tensor
    """[S, K + A, D] in the dtype of the features, which it applies to as they are; last the
    auxiliary task."""
    bias: Tensor
    """[S, K + A]."""
    l2: Tensor
    """Chosen penalties of the class and the auxiliary head, float64 [S, T]."""
    at_end: Tensor
    """Whether that is the weakest or strongest of all, so that the best may lie beyond; [S, T]."""
    gradient: Tensor
    """Norm of the gradient at the solution, float64 [S, T]; at most `TOLERANCE`."""
    train_log_loss: Tensor
    """Mean over the training views, nats, as weighted, without the penalty; float64 [S]."""
    train_accuracy: Tensor
    """float64 [S]."""
    train_auxiliary: Tensor
    """Mean squared error of the number, or mean log loss of the auxiliary classes, over the views
    that the head learned from; float64 [S, T - 1]."""


@dataclass(frozen=True)
class AuxRows:
    """The auxiliary task, and the images that have its label."""

    task: AuxTask
    trains: Sequence[np.ndarray]
    """Those that each seed learns it from, int64 [m]."""
    val: np.ndarray
    """Those of validation, int64."""


@torch.no_grad()
def solve_probe(
    rows: Tensor,
    labels: Tensor,
    target: Tensor,
    trains: Sequence[np.ndarray],
    val: np.ndarray,
    n_classes: int,
    class_weights: Tensor | None = None,
    aux: AuxRows | None = None,
) -> Probe:
    """Solve both heads of every seed for all penalties, and choose the penalties on validation.

    Seeds that train on the same images are solved once. Beyond the features, it needs as much
    memory as those of one training subset, and about 0.3 GB.

    Args:
        rows: features [V, D], on any device: V = N, or 2 N with those of the mirror images in the
            second half, which then are trained on as well.
        labels: int64 [N], on the device of the features, as `target`.
        target: of the auxiliary task, [N]; int64 for classes.
        trains: training images of each seed, int64 [n].
        val: validation images, int64; not mirrored.
        n_classes: 2 for one logit, more for one each.
        class_weights: what each class counts in the class head's training loss of each seed, of
            mean 1 over its training images, [S, K]; None to weight all images alike. Validation has
            no weights.
        aux: the auxiliary task; by default brightness, of the same images.

    Raises:
        ValueError: a seed lacks a class, or features are not finite.
        RuntimeError: a head did not converge; names training subset, penalty and gradient.
    """
    aux = aux or AuxRows(BRIGHTNESS, trains, val)
    subsets = [(np.sort(a), np.sort(b)) for a, b in zip(trains, aux.trains, strict=True)]
    keys = [(a.tobytes(), b.tobytes()) for a, b in subsets]
    solved: dict[tuple[bytes, bytes], Probe] = {}
    for number, (train, taught) in enumerate(subsets):
        if keys[number] in solved:
            continue
        first = Subset.of(number, rows, len(labels), train, val)
        same = np.array_equal(train, taught) and np.array_equal(val, aux.val)
        own = None if class_weights is None else class_weights[number]
        solutions = [_solve_classes(first, labels, n_classes, own)]
        if aux.task.kind != "none":
            second = first if same else Subset.of(number, rows, len(labels), taught, aux.val)
            solutions.append(_solve_auxiliary(second, target, aux.task))
        dtype = torch.promote_types(rows.dtype, torch.float32)
        solved[keys[number]] = _joined(solutions, dtype)
    each = [solved[key] for key in keys]
    return Probe(**{f.name: torch.stack([getattr(p, f.name) for p in each]) for f in fields(Probe)})


class _Solution(NamedTuple):
    """The head of one task on one subset."""

    head: Head
    """With the penalty that was chosen."""
    at_end: Tensor
    """Whether that is at an end of the grid, [1]."""
    fitted: Tensor
    """Log loss and accuracy of the classes, or the loss of the auxiliary task, on the training
    views; float64 [2] or [1]."""


def _joined(solutions: Sequence[_Solution], dtype: torch.dtype) -> Probe:
    """The probe of one training subset, without the axis of the seeds."""
    heads = [solution.head for solution in solutions]
    log_loss, accuracy, *auxiliary = torch.cat([s.fitted for s in solutions]).cpu()
    return Probe(
        weight=torch.cat([head.weight[0] for head in heads]).to(dtype),
        bias=torch.cat([head.bias[0] for head in heads]).to(dtype),
        l2=torch.cat([head.l2 for head in heads]).cpu(),
        at_end=torch.cat([s.at_end for s in solutions]).cpu(),
        gradient=torch.cat([head.gradient for head in heads]).cpu(),
        train_log_loss=log_loss,
        train_accuracy=accuracy,
        train_auxiliary=torch.stack(auxiliary) if auxiliary else log_loss.new_zeros(0),
    )


def _solution(subset: Subset, head: Head, score: Score, target: Tensor) -> _Solution:
    grid = subset.grid()
    at_end = (head.l2 == grid[0]) | (head.l2 == grid[-1])
    return _Solution(head, at_end, subset.mean(score, head, subset.train, target)[0].reshape(-1))


def _solve_classes(
    subset: Subset, labels: Tensor, n_classes: int, class_weights: Tensor | None
) -> _Solution:
    counts = labels[subset.train % len(labels)].bincount(minlength=n_classes)
    if missing := (counts == 0).nonzero().flatten().tolist():
        raise ValueError(
            f"training subset {subset.number}: each of the {n_classes} classes must have an image, "
            f"but {missing} have none; use a larger training ratio"
        )
    head = class_head(subset, labels, n_classes, class_weights)
    return _solution(
        subset, head, partial(_log_loss_and_accuracy, class_weights=class_weights), labels
    )


def _solve_auxiliary(subset: Subset, target: Tensor, task: AuxTask) -> _Solution:
    if task.kind == "regression":
        target = target.double()
        return _solution(subset, _number_head(subset, target), _squared, target)
    head = auxiliary_class_head(subset, target, len(task.classes))
    return _solution(subset, head, classification_loss, target)


def _number_head(subset: Subset, target: Tensor) -> Head:
    own = target[subset.train % len(target)]
    # In units of its spread, so that penalty and tolerance mean the same for any target.
    mean, spread = own.mean(), own.std(correction=0)
    spread = spread.where(spread > 0, 1)
    start = own.new_zeros(1, subset.design.d)
    loss = SquaredLoss((own - mean) / spread)
    # All at once: in one step it is at the minimum, wherever it starts.
    found = subset.best(loss, start, _squared, (target - mean) / spread, N_PENALTIES)
    return replace(found, weight=found.weight * spread, bias=found.bias * spread + mean)


def _log_loss_and_accuracy(outputs: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
    accuracy = hits(outputs, labels).double().mean(dim=-1)
    weights = None if class_weights is None else class_weights[labels]
    return torch.stack([classification_loss(outputs, labels, weights), accuracy], dim=-1)


def _squared(outputs: Tensor, target: Tensor) -> Tensor:
    return (outputs[..., 0] - target).square().mean(dim=-1)
