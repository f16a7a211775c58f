"""The weighted two-task loss, for one net or for S nets at once."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def classification_loss(
    logits: Tensor, labels: Tensor, image_weights: Tensor | None = None
) -> Tensor:
    """The mean of `log_losses`, which takes the same, over the images: [...].

    With `image_weights`, [..., B] or [B], each loss is multiplied by its image's. The sum is
    divided by B and not, as in `torch.nn.CrossEntropyLoss`, by the sum of the weights. The mean
    weight of a training subset is 1, so over the subset both are the same; but in a batch of one
    class alone, dividing by the sum would undo the weights. By B, the mean of all batches is the
    loss of the subset.
    """
    losses = log_losses(logits, labels)
    return (losses if image_weights is None else losses * image_weights).mean(dim=-1)


def log_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Log loss of each image in nats: binary cross-entropy on one logit, else cross-entropy.

    Args:
        logits: [..., B, 1] for two classes, else [..., B, K].
        labels: int64 [..., B], or [B] for all.

    Returns:
        [..., B].
    """
    labels = labels.expand(logits.shape[:-1])
    if logits.shape[-1] == 1:
        target = labels.to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits[..., 0], target, reduction="none")
    flat = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    return flat.view(labels.shape)


class Targets(NamedTuple):
    """What is true of the B images of a batch, and what each counts in the loss of each task."""

    labels: Tensor
    """int64 [..., B], or [B] for all."""
    aux: Tensor
    """Of the auxiliary task, in the same shape: a number, or a class as int64."""
    image_weights: Tensor | None = None
    """Of the classification, as for `classification_loss`, [..., B] or [B]; None if all count
    alike."""
    aux_weights: Tensor | None = None
    """The same of the auxiliary task; 0 where its label is missing."""

    def for_heads(self, times: int) -> "Targets":
        """Those of so many heads of each seed, side by side: [S, B] -> [S * times, B]."""
        labels, *rest = (t if t is None else t.repeat_interleave(times, dim=0) for t in self)
        assert labels is not None
        return Targets(labels, *rest)  # type: ignore[arg-type]

    def split(self, sizes: list[int]) -> Iterator["Targets"]:
        """Yield those of batches of these sizes."""
        parts = ([None] * len(sizes) if t is None else torch.split(t, sizes, -1) for t in self)
        return (Targets(*batch) for batch in zip(*parts, strict=True))


def auxiliary_loss(predicted: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error of numbers, mean log loss of classes, over the images: [...].

    Args:
        predicted: numbers [..., B]; or logits [..., B, 1] of two classes, else [..., B, A], where
            A = 0 is no task, with the loss 0.
        target: [..., B] or [B]; float, or int64 for classes.
        weights: as for `classification_loss`.
    """
    if target.is_floating_point():
        losses = (predicted - target).square()
        return (losses if weights is None else losses * weights).mean(dim=-1)
    if predicted.shape[-1] == 0:
        return predicted.sum(dim=(-2, -1))
    return classification_loss(predicted, target, weights)


def task_losses(outputs: tuple[Tensor, Tensor], targets: Targets) -> tuple[Tensor, Tensor]:
    """Return `classification_loss` and `auxiliary_loss` of a batch, [...] each.

    `outputs` are class logits [..., B, 1] or [..., B, K], and those of the auxiliary task.
    """
    classification = classification_loss(outputs[0], targets.labels, targets.image_weights)
    return classification, auxiliary_loss(outputs[1], targets.aux, targets.aux_weights)


def mix(classification: Tensor, auxiliary: Tensor, aux_weight: float | Tensor) -> Tensor:
    """(1 - w) * classification + w * auxiliary loss; w in [0, 1], 0 for one task."""
    return (1 - aux_weight) * classification + aux_weight * auxiliary


def two_task_loss(
    outputs: tuple[Tensor, Tensor], targets: Targets, aux_weight: float | Tensor
) -> Tensor:
    """`mix` of `task_losses`, which takes the same, [...]; the weight is one for all, or [...]."""
    return mix(*task_losses(outputs, targets), aux_weight)


def balanced_weights(labels: Tensor, n_classes: int) -> Tensor:
    """Return the weight of each class, N / (K n_c), float32 [K].

    Each class then has the same share of the loss, and the mean weight of the N images is 1, so a
    learning rate and a penalty mean what they mean without weights. The definition is that of
    scikit-learn's `compute_class_weight("balanced")`.

    Args:
        labels: of the N training images, int64 [N].
        n_classes: K.

    Raises `ValueError` if a class has no image: no weight would make it count.
    """
    counts = labels.bincount(minlength=n_classes)
    if missing := (counts == 0).nonzero().flatten().tolist():
        raise ValueError(
            f"each of the {n_classes} classes must have a training image, but {missing} have none; "
            "use a larger training ratio"
        )
    return (len(labels) / (n_classes * counts.double())).to(torch.float32)
