"""The weighted two-task loss."""

import torch.nn.functional as F
from torch import Tensor


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean log loss in nats: binary cross-entropy on one logit, else cross-entropy.

    Args:
        logits: [B, 1] for two classes, else [B, K].
        labels: int64 [B].
    """
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype))
    return F.cross_entropy(logits, labels)


def two_task_loss(
    outputs: tuple[Tensor, Tensor], labels: Tensor, brightness: Tensor, aux_weight: float
) -> Tensor:
    """(1 - w) * classification + w * squared brightness error, averaged over the batch.

    Args:
        outputs: class logits [B, 1] or [B, K], and predicted brightness [B].
        labels: int64 [B].
        brightness: [B] in [0, 1].
        aux_weight: w in [0, 1]; 0 is single-task.
    """
    logits, predicted = outputs
    classification = classification_loss(logits, labels)
    return (1 - aux_weight) * classification + aux_weight * F.mse_loss(predicted, brightness)
