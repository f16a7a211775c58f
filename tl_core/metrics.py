"""What is measured on a set of images: named scalars, logged by nobody here."""

import torch
from sklearn.metrics import mean_absolute_error, r2_score, roc_auc_score
from torch import Tensor

from tl_core.heads import probabilities
from tl_core.losses import classification_loss, two_task_loss


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Which predictions are right, bool [B]; one logit is cut at probability 0.5."""
    predicted = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
    return predicted == labels


def measure(
    outputs: tuple[Tensor, Tensor], labels: Tensor, brightness: Tensor, aux_weight: float
) -> dict[str, float]:
    """Score N predictions.

    Args:
        outputs: class logits [N, 1] or [N, K], and predicted brightness [N].
        labels: int64 [N].
        brightness: [N] in [0, 1].
        aux_weight: w of the loss.

    Returns:
        `loss` (both tasks), `log_loss` (classification alone, nats), `accuracy`, `auroc` (more
        than two classes: mean of one against the rest), `brightness_mae`, `brightness_r2`.
        Where training diverged, `auroc` and the brightness scores are NaN.
    """
    logits, predicted = outputs
    scores = {
        "loss": two_task_loss(outputs, labels, brightness, aux_weight).item(),
        "log_loss": classification_loss(logits, labels).item(),
        "accuracy": hits(logits, labels).double().mean().item(),
        "auroc": float("nan"),
        "brightness_mae": float("nan"),
        "brightness_r2": float("nan"),
    }
    if torch.isfinite(logits).all():
        scores["auroc"] = auroc(logits, labels)
    if torch.isfinite(predicted).all():
        scores["brightness_mae"] = float(mean_absolute_error(brightness, predicted))
        scores["brightness_r2"] = float(r2_score(brightness, predicted))
    return scores


def auroc(logits: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve; for more than two classes the mean of one against the rest.

    Args:
        logits: [N, 1] for two classes, else [N, K].
        labels: int64 [N].
    """
    if logits.shape[1] == 1:
        # Logits rank as probabilities do, but those of sure predictions are all rounded to 1.
        return float(roc_auc_score(labels.numpy(), logits[:, 0].numpy()))
    probability = probabilities(logits.double()).numpy()
    return float(roc_auc_score(labels.numpy(), probability, multi_class="ovr"))
