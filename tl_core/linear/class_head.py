"""The head of a task of classes on one training subset, also where some of them have no image.

Axes: K classes, D features.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from tl_core.linear.losses import LogLoss
from tl_core.linear.subset import Head, Subset
from tl_core.objectives.losses import classification_loss


def class_head(
    subset: Subset, labels: Tensor, n_classes: int, class_weights: Tensor | None
) -> Head:
    """Solve logistic regression; each class has a training image.

    `class_weights` are what each class counts in its loss, of mean 1 over the images, [K].
    """
    own = labels[subset.train % len(labels)]
    counts = own.bincount(minlength=n_classes).double()
    # Where the penalty is infinite, the probabilities are the shares of the classes, as weighted.
    intercepts = _intercepts(counts if class_weights is None else counts * class_weights)
    start = intercepts.new_zeros(len(intercepts), subset.design.d)
    start[:, -1] = intercepts
    row_weights = None if class_weights is None else class_weights.double()[own]
    return subset.best(LogLoss(own, row_weights), start, classification_loss, labels)


def auxiliary_class_head(subset: Subset, target: Tensor, n_classes: int) -> Head:
    """Solve the classes that have a training image; the head has outputs of all."""
    counts = target[subset.train % len(target)].bincount(minlength=n_classes)
    there = counts.nonzero().flatten()
    if len(there) == n_classes:
        return class_head(subset, target, n_classes, None)
    # Without an image, a class has no minimum: its intercept would fall for ever. And images of it
    # do not tell which penalty is best.
    places = (counts > 0).cumsum(0) - 1
    val = subset.val[counts[target[subset.val]] > 0]
    if len(there) > 1 and len(val):
        head = class_head(replace(subset, val=val), places[target], len(there), None)
    else:
        head = _shares(subset, counts[there])
    return _with_all_classes(head, there, n_classes, len(subset.train))


def _shares(subset: Subset, counts: Tensor) -> Head:
    """The head where the penalty is infinite."""
    bias = _intercepts(counts)
    zero = bias.new_zeros(1)
    return Head(
        bias.new_zeros(1, len(bias), subset.rows.shape[1]), bias[None], subset.grid()[:1], zero
    )


def _with_all_classes(head: Head, there: Tensor, n_classes: int, n: int) -> Head:
    """Give the other classes a probability of at most 0.5 / n, half an image, for any features."""
    weight, bias = head.weight, head.bias
    if len(there) == 2:
        weight, bias = (torch.cat([-each, each], dim=1) / 2 for each in (weight, bias))
    # The mean of the logits of classes that are there is 0, so their exponentials sum to as many as
    # they are, or more.
    all_weights = weight.new_zeros(1, n_classes, weight.shape[-1])
    all_biases = torch.full_like(all_weights[..., 0], math.log(len(there) / (2 * n)))
    all_weights[:, there], all_biases[:, there] = weight, bias
    if n_classes == 2:
        all_weights, all_biases = (each.diff(dim=1) for each in (all_weights, all_biases))
    return replace(head, weight=all_weights, bias=all_biases)


def _intercepts(counts: Tensor) -> Tensor:
    """Logits of classes that have these shares, float64."""
    log = counts.double().log()
    return log[1:] - log[:1] if len(log) == 2 else log - log.mean()
