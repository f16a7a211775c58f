"""What is measured on a set of images, for one net or for S nets at once."""

import torch
from torch import Tensor

from tl_core.aux_task import BRIGHTNESS, AuxTask
from tl_core.models.heads import choose, probabilities
from tl_core.objectives.losses import auxiliary_loss, classification_loss, mix

_AT_ONCE = 2**20
"""Outputs of all nets that are scored at once: the scores take up to 100 bytes for each."""


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
    logits, predicted = outputs
    n_nets = len(logits) if logits.ndim > 2 else 1
    if n_nets == 1:
        return _measure(outputs, labels, target, aux_weight, spread, task)
    of_each = (torch.as_tensor(x, dtype=torch.float64).expand(n_nets) for x in (aux_weight, spread))
    each = max(1, _AT_ONCE * n_nets // (logits.numel() + predicted.numel()))
    of_nets = zip(*(torch.split(t, each) for t in (logits, predicted, *of_each)), strict=True)
    found = [_measure((a, b), labels, target, w, s, task) for a, b, w, s in of_nets]
    return {name: torch.cat([scores[name] for scores in found]) for name in found[0]}


def _measure(
    outputs: tuple[Tensor, Tensor],
    labels: Tensor,
    target: Tensor,
    aux_weight: float | Tensor,
    spread: float | Tensor,
    task: AuxTask,
) -> dict[str, Tensor]:
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
    classes = torch.tensor([1]) if logits.shape[-1] == 1 else torch.arange(logits.shape[-1])
    each = max(1, _AT_ONCE * len(classes) // scores.numel())
    some = zip(torch.split(scores, each, -1), torch.split(classes, each), strict=True)
    return torch.cat([_areas(part, labels, of) for part, of in some], dim=-1).mean(dim=-1)


def _areas(scores: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Those of some classes, [..., C], by their scores [..., N, C]."""
    scores = scores.mT.contiguous()  # [..., C, N]
    ordered, order = scores.sort(dim=-1)
    ranks = _mean_ranks(ordered)
    of_class = (labels == classes.unsqueeze(-1)).double()  # [C, N]
    n_in = of_class.sum(dim=-1)
    n_out = len(labels) - n_in
    rank_sums = (ranks * of_class.expand_as(order).gather(-1, order)).sum(dim=-1)
    wins = rank_sums - n_in * (n_in + 1) / 2
    return (wins / (n_in * n_out)).where(scores.isfinite().all(dim=-1), torch.nan)


def _mean_ranks(ordered: Tensor) -> Tensor:
    """Ranks of sorted numbers [..., N], from 1; equal ones share their mean rank. float64."""
    at = torch.arange(ordered.shape[-1], device=ordered.device).expand_as(ordered)
    rises = ordered[..., 1:] != ordered[..., :-1]
    edge = torch.ones_like(ordered[..., :1], dtype=torch.bool)
    first = torch.where(torch.cat([edge, rises], -1), at, 0).cummax(-1).values
    last = torch.where(torch.cat([rises, edge], -1), at, at.shape[-1] - 1)
    last = last.flip(-1).cummin(-1).values.flip(-1)
    return (first + last).double() / 2 + 1
