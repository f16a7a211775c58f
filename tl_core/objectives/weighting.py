"""How a trial weights its two tasks: by a fixed number, or by weights that it learns with the net.

Axes: H heads (1 for a whole net), B images, K logits (1 for two classes).
"""

from typing import Any

import torch
from torch import Tensor, nn

from tl_core.config import AuxWeight
from tl_core.objectives.losses import mix, task_losses, two_task_gradient

LOG_VARIANCE_LR = 5e-2
"""Adam's learning rate for log-variances, whatever the learning rate of the net. A hundred steps
then move them far enough; at a rate that suits pretrained weights no trial would be long enough."""


class Weighting:
    """loss = (1 - w) * classification + w * brightness, with a fixed w.

    `classification` is the mean log loss and `brightness` the mean squared brightness error.
    """

    def __init__(self, aux_weight: float | Tensor) -> None:
        self._w = aux_weight

    @property
    def aux_weight(self) -> float | Tensor:
        """w, the share of brightness in the sum of both coefficients, a number or [H]."""
        return self._w

    def loss(self, classification: Tensor, squared: Tensor) -> Tensor:
        """The scalar that a step of one net minimises, from the scalar losses of both tasks."""
        return mix(classification, squared, self.aux_weight)

    def gradient(
        self,
        outputs: tuple[Tensor, Tensor],
        labels: Tensor,
        brightness: Tensor,
        image_weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Derivatives of the losses of H nets by their outputs; sets those of its own parameters.

        Args:
            outputs: class logits [H, B, K], and predicted brightness [H, B].
            labels: int64 [H, B].
            brightness: [H, B].
            image_weights: of the classification, [H, B].

        Returns:
            [H, B, K] and [H, B].
        """
        w = self._w
        shares: tuple[float, float] | tuple[Tensor, Tensor]
        shares = ((1 - w).view(-1, 1, 1), w.view(-1, 1)) if isinstance(w, Tensor) else (1 - w, w)
        return two_task_gradient(outputs, labels, brightness, shares, image_weights)

    def parts(self, loss: Tensor, tasks: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Choose the losses of a step whose means over the epoch `epoch_loss` needs."""
        return (loss,)

    def epoch_loss(self, *parts: Tensor) -> Tensor:
        """The training loss that an epoch reports: a scalar, or [H]."""
        return parts[0]

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups that the optimizer learns here, beside those of the net."""
        return []

    def metrics(self) -> dict[str, Tensor]:
        """What an epoch reports about the weighting itself, [H] each."""
        return {}


class LearnedWeights(Weighting):
    """Homoscedastic uncertainty (Kendall, Gal and Cipolla, CVPR 2018, section 3.2).

    Each task has a variance sigma^2, learned as its logarithm s. The Gaussian likelihood of the
    brightness gives squared / (2 sigma^2) + log(sigma); that of the class, its logits divided by
    sigma^2, is about log loss / sigma^2 + log(sigma):

        loss = exp(-s_c) * classification + exp(-s_b) / 2 * squared + (s_c + s_b) / 2

    It is smallest where exp(s_c) = 2 * classification and exp(s_b) = squared, which makes the
    coefficients 1 / (2 * classification) and 1 / (2 * squared).

    This loss may fall below 0, and its scale changes during training. So a trial reports the loss
    of a fixed weight, (1 - w) * classification + w * squared, where w is the `aux_weight` at the
    end of the epoch.
    """

    def __init__(self, n_heads: int, device: torch.device | None = None) -> None:
        """Start at variance 1, where w is 1/3."""
        self.log_variances = nn.Parameter(torch.zeros(n_heads, 2, device=device))  # s_c, s_b
        self._scale = torch.tensor([1.0, 0.5], device=device)

    @property
    def aux_weight(self) -> Tensor:
        """w of each pair of heads, [H], in (0, 1)."""
        weights = self._coefficients().detach()
        return weights[:, 1] / weights.sum(dim=1)

    def loss(self, classification: Tensor, squared: Tensor) -> Tensor:
        """As for a fixed weight; the losses of H nets, [H] each, give their sum."""
        tasks = torch.stack([classification, squared], dim=-1)
        return (self._coefficients() * tasks + self.log_variances / 2).sum()

    def gradient(
        self,
        outputs: tuple[Tensor, Tensor],
        labels: Tensor,
        brightness: Tensor,
        image_weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As for a fixed weight."""
        weights = self._coefficients().detach()
        tasks = torch.stack(task_losses(outputs, labels, brightness, image_weights), dim=-1)
        # d/ds of c * exp(-s) * task + s / 2.
        self.log_variances.grad = 0.5 - weights * tasks
        classification, squared = weights[:, :1, None], weights[:, 1:]
        shares = classification, squared
        return two_task_gradient(outputs, labels, brightness, shares, image_weights)

    def parts(self, loss: Tensor, tasks: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """The losses of both tasks; the end of the epoch decides their weights."""
        return tasks

    def epoch_loss(self, *parts: Tensor) -> Tensor:
        """As for a fixed weight."""
        classification, squared = parts
        return mix(classification, squared, self.aux_weight.to(squared.device))

    def groups(self) -> list[dict[str, Any]]:
        """The log-variances, at a learning rate of their own."""
        return [{"params": [self.log_variances], "lr": LOG_VARIANCE_LR}]

    def metrics(self) -> dict[str, Tensor]:
        """w of each pair of heads, [H]."""
        return {"aux_weight_learned": self.aux_weight}

    def _coefficients(self) -> Tensor:
        """Of classification and of brightness, [S, 2]."""
        return self._scale * torch.exp(-self.log_variances)


def make_weighting(aux_weight: AuxWeight, n_heads: int, device: torch.device) -> Weighting:
    """Return the weighting that a configuration asks for; `auto` learns it."""
    if isinstance(aux_weight, str):
        return LearnedWeights(n_heads, device)
    return Weighting(aux_weight)
