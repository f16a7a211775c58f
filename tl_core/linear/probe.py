"""A converged linear probe: the heads of S seeds on features, without a learning rate or steps.

The class head is L2-regularised multinomial logistic regression, its penalty chosen on validation
from 45 (Kornblith, Shlens and Le, Do Better ImageNet Models Transfer Better?, CVPR 2019). The
brightness head is ridge regression, its penalty chosen likewise.

Axes: S seeds, N images, V views, D features, K logits (1 for two classes), P penalties.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tl_core.linear.design import Design, make_design, split, total
from tl_core.linear.losses import LogLoss, Loss, SquaredLoss
from tl_core.linear.newton import GROUP, MOST_STEPS, TOLERANCE, Objective, solve_path
from tl_core.objectives.losses import classification_loss
from tl_core.objectives.metrics import hits

N_PENALTIES = 45
_SPREADS = (0.01, 100.0)
"""Least and largest prior spread of a logit: see `penalty_grid`."""
_EQUAL = TOLERANCE
"""Scores this close are equal: what is solved to a tolerance is not known better."""

Score = Callable[[Tensor, Tensor], Tensor]
"""Outputs [P, b, K] of some images, their targets [b] -> means over these images, [P, ...]."""


@dataclass(frozen=True)
class Probe:
    """The heads of S seeds; weight and bias are laid out as in `HeadStack`."""

    weight: Tensor
    """[S, K + 1, D] in the dtype of the features, which it applies to as they are; last the
    brightness."""
    bias: Tensor
    """[S, K + 1]."""
    l2: Tensor
    """Chosen penalties of the class and the brightness head, float64 [S, 2]."""
    at_end: Tensor
    """Whether that is the weakest or strongest of all, so that the best may lie beyond; [S, 2]."""
    gradient: Tensor
    """Norm of the gradient at the solution, float64 [S, 2]; at most `TOLERANCE`."""
    train_log_loss: Tensor
    """Mean over the training views, nats, as weighted, without the penalty; float64 [S]."""
    train_accuracy: Tensor
    """float64 [S]."""
    train_squared: Tensor
    """Mean squared error of the brightness; float64 [S]."""


def penalty_grid(n: int, n_features: int) -> Tensor:
    """The penalties to choose from, from strong to weak: a geometric series, float64 [45].

    Mean loss + penalty / 2 * |w|^2 over n rows is the posterior of weights with a Gaussian prior
    of variance 1 / (n * penalty), so features whose RMS is 1 give logits a prior variance of
    D / (n * penalty). The grid runs over its root. At 0.01 nothing is learned, and at 100 the
    probabilities are 0 or 1; what is best lies between, whatever n and D: photos with n from 4 to
    1,920 had 1 to 12. (For brightness, logits stand for signal over noise.) A grid that does not
    know n would have to be four decades wider, and pay for them.
    """
    strongest, weakest = (n_features / (n * spread**2) for spread in _SPREADS)
    return torch.from_numpy(np.geomspace(strongest, weakest, N_PENALTIES))


@torch.no_grad()
def solve_probe(
    rows: Tensor,
    labels: Tensor,
    brightness: Tensor,
    trains: Sequence[np.ndarray],
    val: np.ndarray,
    n_classes: int,
    class_weights: Tensor | None = None,
) -> Probe:
    """Solve both heads of every seed for all penalties, and choose the penalties on validation.

    Seeds that train on the same images are solved once. Beyond the features, it needs as much
    memory as those of one training subset, and about 0.3 GB.

    Args:
        rows: features [V, D], on any device: V = N, or 2 N with those of the mirror images in the
            second half, which then are trained on as well.
        labels: int64 [N], on the device of the features, as `brightness`.
        brightness: [N].
        trains: training images of each seed, int64 [n].
        val: validation images, int64; not mirrored.
        n_classes: 2 for one logit, more for one each.
        class_weights: what each class counts in the class head's training loss of each seed, of
            mean 1 over its training images, [S, K]; None to weight all images alike. Validation has
            no weights.

    Raises:
        ValueError: a seed lacks a class, or features are not finite.
        RuntimeError: a head did not converge; names training subset, penalty and gradient.
    """
    validation = torch.from_numpy(val).to(rows.device)
    subsets = [np.sort(train) for train in trains]
    solved: dict[bytes, Probe] = {}
    for number, train in enumerate(subsets):
        if train.tobytes() not in solved:
            views = torch.from_numpy(train).to(rows.device)
            if len(rows) == 2 * len(labels):
                views = torch.cat([views, views + len(labels)])
            subset = _Subset(number, rows, views, validation, make_design(rows, views))
            own = None if class_weights is None else class_weights[number]
            data = labels, brightness.double(), n_classes, own
            solved[train.tobytes()] = _solve_subset(subset, *data)
    each = [solved[train.tobytes()] for train in subsets]
    return Probe(**{f.name: torch.stack([getattr(p, f.name) for p in each]) for f in fields(Probe)})


@dataclass(frozen=True)
class _Head:
    """One task's head for P penalties; float64."""

    weight: Tensor
    """[P, K, D]."""
    bias: Tensor
    """[P, K]."""
    l2: Tensor
    """[P]."""
    gradient: Tensor
    """Its norm, [P]."""

    def outputs(self, features: Tensor) -> Tensor:
        """[b, D] -> [P, b, K]."""
        return (self.weight @ features.double().mT + self.bias.unsqueeze(-1)).mT

    def __getitem__(self, i: int) -> "_Head":
        return _Head(*(getattr(self, field.name)[i : i + 1] for field in fields(self)))


@dataclass(frozen=True)
class _Subset:
    """What both heads of one training subset share."""

    number: int
    rows: Tensor
    """[V, D]."""
    train: Tensor
    """Views, int64 [n]."""
    val: Tensor
    """Views, int64."""
    design: Design

    def grid(self) -> Tensor:
        """The penalties, [45]."""
        return penalty_grid(len(self.train), self.rows.shape[1]).to(self.rows.device)

    def mean(self, score: Score, head: _Head, views: Tensor, target: Tensor) -> Tensor:
        """Mean score [P, ...] of heads over some views of images with the targets [N]."""
        scores = (
            score(head.outputs(self.rows.index_select(0, part)), target[part % len(target)])
            * len(part)
            for part in split(views, self.rows.shape[1])
        )
        return total(scores) / len(views)

    def best(
        self, loss: Loss, start: Tensor, score: Score, target: Tensor, group: int = GROUP
    ) -> _Head:
        """Solve for all penalties; return the head with the least mean score on validation.

        Of equals, to `_EQUAL`, it is the first, which has the strongest penalty.
        """
        found = self._best_of_groups(loss, start, score, target, group)
        least, best = next(found)
        for other, head in found:
            if other < least - _EQUAL:
                least, best = other, head
        return best

    def _best_of_groups(
        self, loss: Loss, start: Tensor, score: Score, target: Tensor, group: int
    ) -> Iterator[tuple[float, _Head]]:
        left = self.grid()
        for weights, norms in solve_path(Objective(self.design, loss), left, start, group):
            l2, left = left[: len(norms)], left[len(norms) :]
            self._check(l2, norms)
            heads = _Head(*self.design.to_raw(weights), l2, norms)
            scores = self.mean(score, heads, self.val, target)
            if not scores.isfinite().all():
                raise ValueError(
                    f"features must be finite, but in some of {len(self.val)} validation rows "
                    "they are not"
                )
            i = int((scores <= scores.min() + _EQUAL).byte().argmax())
            yield scores[i].item(), heads[i]

    def _check(self, l2: Tensor, norms: Tensor) -> None:
        worst = int(norms.argmax())
        if not norms[worst] <= TOLERANCE:
            raise RuntimeError(
                f"training subset {self.number}: the gradient's norm must reach {TOLERANCE:g}, but "
                f"at the penalty {l2[worst]:.3g} it is {norms[worst]:.3g} after {MOST_STEPS} "
                "Newton steps"
            )


def _solve_subset(
    subset: _Subset,
    labels: Tensor,
    brightness: Tensor,
    n_classes: int,
    class_weights: Tensor | None,
) -> Probe:
    """The probe of one training subset, without the axis of the seeds."""
    classes = _class_head(subset, labels, n_classes, class_weights)
    light = _brightness_head(subset, brightness)
    fitted = partial(_log_loss_and_accuracy, class_weights=class_weights)
    log_loss, accuracy = subset.mean(fitted, classes, subset.train, labels)[0].cpu()
    squared = subset.mean(_squared, light, subset.train, brightness)[0].cpu()
    dtype = torch.promote_types(subset.rows.dtype, torch.float32)
    l2 = torch.cat([classes.l2, light.l2])
    grid = subset.grid()
    return Probe(
        weight=torch.cat([classes.weight[0], light.weight[0]]).to(dtype),
        bias=torch.cat([classes.bias[0], light.bias[0]]).to(dtype),
        l2=l2.cpu(),
        at_end=((l2 == grid[0]) | (l2 == grid[-1])).cpu(),
        gradient=torch.cat([classes.gradient, light.gradient]).cpu(),
        train_log_loss=log_loss,
        train_accuracy=accuracy,
        train_squared=squared,
    )


def _class_head(
    subset: _Subset, labels: Tensor, n_classes: int, class_weights: Tensor | None
) -> _Head:
    own = labels[subset.train % len(labels)]
    counts = own.bincount(minlength=n_classes).double()
    if missing := (counts == 0).nonzero().flatten().tolist():
        raise ValueError(
            f"training subset {subset.number}: each of the {n_classes} classes must have an image, "
            f"but {missing} have none; use a larger training ratio"
        )
    # Where the penalty is infinite, the probabilities are the shares of the classes, as weighted.
    log = (counts if class_weights is None else counts * class_weights).log()
    intercepts = log[1:] - log[:1] if n_classes == 2 else log - log.mean()
    start = log.new_zeros(len(intercepts), subset.design.d)
    start[:, -1] = intercepts
    row_weights = None if class_weights is None else class_weights.double()[own]
    return subset.best(LogLoss(own, row_weights), start, classification_loss, labels)


def _brightness_head(subset: _Subset, brightness: Tensor) -> _Head:
    own = brightness[subset.train % len(brightness)]
    # In units of its spread, so that penalty and tolerance mean the same for any target.
    mean, spread = own.mean(), own.std(correction=0)
    spread = spread.where(spread > 0, 1)
    start = own.new_zeros(1, subset.design.d)
    loss = SquaredLoss((own - mean) / spread)
    # All at once: in one step it is at the minimum, wherever it starts.
    found = subset.best(loss, start, _squared, (brightness - mean) / spread, N_PENALTIES)
    return replace(found, weight=found.weight * spread, bias=found.bias * spread + mean)


def _log_loss_and_accuracy(outputs: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
    accuracy = hits(outputs, labels).double().mean(dim=-1)
    weights = None if class_weights is None else class_weights[labels]
    return torch.stack([classification_loss(outputs, labels, weights), accuracy], dim=-1)


def _squared(outputs: Tensor, target: Tensor) -> Tensor:
    return (outputs[..., 0] - target).square().mean(dim=-1)
