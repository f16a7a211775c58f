"""What is measured on a set of images, for one net or for S nets at once."""

import torch
from torch import Tensor

from tl_core.aux_task import BRIGHTNESS, AuxTask
from tl_core.models.heads import choose, probabilities
from tl_core.objectives.losses import auxiliary_loss, classification_loss, mix


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Which predictions are right, bool [..., B]."""
    return choose(logits) == labels


def measure(
    outputs: tuple[Tensor, Tensor],
    labels: Tensor,
    target: Tensor,
    aux_weight: float | Tensor,
    spread: float | Tensor = 1.0,
    task: AuxTask = BRIGHTNESS,
) -> dict[str, Tensor]:
    """Score the predictions of one or several nets on the same N images.

    Args:
        outputs: class logits [..., N, 1] or [..., N, K], and those of the auxiliary task, of the M
            images that have its label: [..., M] of a number, else [..., M, A].
        labels: int64 [N], each class at least once.
        target: of the auxiliary task, [M].
        aux_weight: w of the loss, one for all nets or [...].
        spread: what the loss divides errors of a number by, one for all nets or [...].
        task: the auxiliary one.

    Returns:
        `loss` (both tasks), `log_loss` (classification alone, nats), `accuracy`,
        `balanced_accuracy` (the mean recall of the classes), `macro_f1` (the mean F1 of the
        classes), `auroc` (more than two classes: mean of one against the rest), and `task.scores`,
        such as `brightness_mae` and `brightness_r2`; each float64 [...]. They are not finite where
        training diverged.
    """
    logits, predicted = (part.double() for part in outputs)
    log_loss = classification_loss(logits, labels)
    auxiliary = auxiliary_loss(predicted, target) / spread**2
    return {
        "loss": mix(log_loss, auxiliary, aux_weight),
        "log_loss": log_loss,
        "accuracy": hits(logits, labels).double().mean(dim=-1),
        **_by_class(choose(logits), labels),
        "auroc": auroc(logits, labels),
        **dict(zip(task.scores, _of_auxiliary(predicted, target), strict=True)),
    }


def _of_auxiliary(predicted: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    """The scores of `AuxTask.scores`, [...] each.

    The constant that skill is measured against is the best one for these images themselves.
    """
    if target.is_floating_point():
        error, values = predicted - target, target.double()
        variance, squared = (values - values.mean()).square().mean(), error.square().mean(dim=-1)
        # Whatever the unit. Where all values are alike, no net is better than the constant.
        r2 = 1 - squared / variance if values.min() < values.max() else squared * 0
        return error.abs().mean(dim=-1), r2
    if predicted.shape[-1] == 0:
        return ()
    accuracy = hits(predicted, target).double().mean(dim=-1)
    wrong = 1 - target.bincount().max().double() / len(target)
    # A net that diverged has chosen nothing.
    accuracy = accuracy.where(predicted.isfinite().all(dim=-1).all(dim=-1), torch.nan)
    return accuracy, 1 - (1 - accuracy) / wrong.clamp_min(1e-12)


def _by_class(chosen: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Means over the classes, which count alike however many images they have.

    Args:
        chosen: predicted classes, int64 [..., N].
        labels: int64 [N], each class at least once.
    """
    classes = torch.arange(int(labels.max()) + 1, device=labels.device)
    of_class = (labels.unsqueeze(-1) == classes).double()  # [N, K]
    right = (chosen == labels).double() @ of_class  # [..., K]
    n_true = of_class.sum(dim=0)
    n_chosen = torch.stack([(chosen == k).sum(dim=-1) for k in classes], dim=-1)
    return {
        "balanced_accuracy": (right / n_true).mean(dim=-1),
        "macro_f1": (2 * right / (n_true + n_chosen)).mean(dim=-1),
    }


def auroc(logits: Tensor, labels: Tensor) -> Tensor:
    """Area under the ROC curve; for more than two classes the mean of one against the rest.

    It is the Mann-Whitney statistic: the probability that an image of the class is ranked above
    one of the rest, where ties count half (Hanley and McNeil, Radiology 143, 1982).

    Args:
        logits: [..., N, 1] for two classes, else [..., N, K].
        labels: int64 [N].

    Returns:
        float64 [...].
    """
    # One logit ranks as its probability does, but is not rounded to 1 where it is large.
    scores = logits if logits.shape[-1] == 1 else probabilities(logits.double())
    scores = scores.mT.contiguous()  # [..., K, N]
    ordered, order = scores.sort(dim=-1)
    ranks = _mean_ranks(ordered)
    classes = torch.tensor([1]) if logits.shape[-1] == 1 else torch.arange(logits.shape[-1])
    of_class = (labels == classes.unsqueeze(-1)).double()  # [K, N]
    n_in = of_class.sum(dim=-1)
    n_out = len(labels) - n_in
    rank_sums = (ranks * of_class.expand_as(order).gather(-1, order)).sum(dim=-1)
    wins = rank_sums - n_in * (n_in + 1) / 2
    areas = (wins / (n_in * n_out)).where(scores.isfinite().all(dim=-1), torch.nan)
    return areas.mean(dim=-1)


def _mean_ranks(ordered: Tensor) -> Tensor:
    """Ranks of sorted numbers [..., N], from 1; equal ones share their mean rank. float64."""
    at = torch.arange(ordered.shape[-1], device=ordered.device).expand_as(ordered)
    rises = ordered[..., 1:] != ordered[..., :-1]
    edge = torch.ones_like(ordered[..., :1], dtype=torch.bool)
    first = torch.where(torch.cat([edge, rises], -1), at, 0).cummax(-1).values
    last = torch.where(torch.cat([rises, edge], -1), at, at.shape[-1] - 1)
    last = last.flip(-1).cummin(-1).values.flip(-1)
    return (first + last).double() / 2 + 1
