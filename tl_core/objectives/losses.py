"""The weighted two-task loss, for one net or for S nets at once."""

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


def task_losses(
    outputs: tuple[Tensor, Tensor],
    labels: Tensor,
    brightness: Tensor,
    image_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean log loss and mean squared brightness error over the batch.

    Args:
        outputs: class logits [..., B, 1] or [..., B, K], and predicted brightness [..., B].
        labels: int64 [..., B], or [B] for all.
        brightness: [..., B] or [B], in [0, 1].
        image_weights: of the classification, as for `classification_loss`.

    Returns:
        [...] each.
    """
    logits, predicted = outputs
    squared = (predicted - brightness).square().mean(dim=-1)
    return classification_loss(logits, labels, image_weights), squared


def mix(classification: Tensor, squared: Tensor, aux_weight: float | Tensor) -> Tensor:
    """(1 - w) * classification + w * squared brightness error; w in [0, 1], 0 for one task."""
    return (1 - aux_weight) * classification + aux_weight * squared


def two_task_loss(
    outputs: tuple[Tensor, Tensor],
    labels: Tensor,
    brightness: Tensor,
    aux_weight: float | Tensor,
    image_weights: Tensor | None = None,
) -> Tensor:
    """`mix` of `task_losses`, which takes the same, [...]; the weight is one for all, or [...]."""
    return mix(*task_losses(outputs, labels, brightness, image_weights), aux_weight)


def two_task_gradient(
    outputs: tuple[Tensor, Tensor],
    labels: Tensor,
    brightness: Tensor,
    weights: tuple[float, float] | tuple[Tensor, Tensor],
    image_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Derivatives of a weighted sum of `task_losses`, which takes the same, by each output.

    `weights` are those of classification and of brightness: numbers, or tensors in the shape of
    their output.

    Returns:
        [..., B, 1] or [..., B, K], and [..., B].
    """
    logits, predicted = outputs
    n = logits.shape[-2]
    if logits.shape[-1] == 1:
        error = torch.sigmoid(logits) - labels.unsqueeze(-1)
    else:
        error = torch.softmax(logits, dim=-1) - F.one_hot(labels, logits.shape[-1])
    if image_weights is not None:
        error = error * image_weights.unsqueeze(-1)
    classification, squared = weights
    return error * (classification / n), (predicted - brightness) * (2 * squared / n)
