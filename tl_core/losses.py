"""The weighted two-task loss, for one net or for S nets at once."""

import torch
import torch.nn.functional as F
from torch import Tensor


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean log loss in nats: binary cross-entropy on one logit, else cross-entropy.

    Args:
        logits: [..., B, 1] for two classes, else [..., B, K].
        labels: int64 [..., B], or [B] that all share.

    Returns:
        [...], one mean over B each.
    """
    labels = labels.expand(logits.shape[:-1])
    if logits.shape[-1] == 1:
        wanted = labels.to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits[..., 0], wanted, reduction="none")
    else:
        flat = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
        losses = flat.view(labels.shape)
    return losses.mean(dim=-1)


def two_task_loss(
    outputs: tuple[Tensor, Tensor], labels: Tensor, brightness: Tensor, aux_weight: float
) -> Tensor:
    """(1 - w) * classification + w * squared brightness error, averaged over the batch.

    Args:
        outputs: class logits [..., B, 1] or [..., B, K], and predicted brightness [..., B].
        labels: int64 [..., B], or [B] that all share.
        brightness: [..., B] or [B], in [0, 1].
        aux_weight: w in [0, 1]; 0 is single-task.

    Returns:
        [...], one loss each.
    """
    logits, predicted = outputs
    squared = (predicted - brightness).square().mean(dim=-1)
    return (1 - aux_weight) * classification_loss(logits, labels) + aux_weight * squared


def two_task_gradient(
    outputs: tuple[Tensor, Tensor], labels: Tensor, brightness: Tensor, aux_weight: float
) -> tuple[Tensor, Tensor]:
    """Derivatives of `two_task_loss`, which takes the same, by each of the two outputs.

    Returns:
        [..., B, 1] or [..., B, K], and [..., B].
    """
    logits, predicted = outputs
    n = logits.shape[-2]
    if logits.shape[-1] == 1:
        error = torch.sigmoid(logits) - labels.unsqueeze(-1)
    else:
        error = torch.softmax(logits, dim=-1) - F.one_hot(labels, logits.shape[-1])
    return error * ((1 - aux_weight) / n), (predicted - brightness) * (2 * aux_weight / n)
