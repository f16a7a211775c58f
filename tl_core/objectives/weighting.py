"""How a trial weights its two tasks: by a fixed number, or by weights that it learns with the net.

Axes: H heads (1 for a whole net).
"""

from typing import Any

import torch
from torch import Tensor, nn

from tl_core.aux_task import AuxKind, AuxWeight
from tl_core.objectives.losses import mix

LOG_VARIANCE_LR = 5e-2
"""Adam's learning rate for log-variances, whatever the learning rate of the net. A hundred steps
then move them far enough; at a rate that suits pretrained weights no trial would be long enough."""


class Weighting:
    """loss = (1 - w) * classification + w * auxiliary, with a fixed w.

    `classification` is the mean log loss. `auxiliary` is that of the auxiliary task: the mean
    squared error of a number, or the mean log loss of classes.
    """

    def __init__(self, aux_weight: float | Tensor) -> None:
        self._w = aux_weight

    @property
    def aux_weight(self) -> float | Tensor:
        """w, the share of the auxiliary task in the sum of both coefficients, a number or [H]."""
        return self._w

    def loss(self, classification: Tensor, auxiliary: Tensor) -> Tensor:
        """The scalar that a step of one net minimises, from the scalar losses of both tasks."""
        return mix(classification, auxiliary, self.aux_weight)

    @property
    def coefficients(self) -> Tensor:
        """What the losses of the two tasks are multiplied by, [2] or [H, 2]."""
        w = torch.as_tensor(self._w)
        return torch.stack([1 - w, w], dim=-1)

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


class HeldWeighting(Weighting):
    """A fixed w of one net whose coefficients are a tensor: a recorded step reads the present w."""

    def __init__(self, device: torch.device) -> None:
        """Start at w = 0."""
        super().__init__(0.0)
        self._held = torch.tensor([1.0, 0.0], device=device)

    def hold(self, aux_weight: float) -> None:
        """Change w."""
        self._w = aux_weight
        # Rounded as torch rounds a factor that is a number.
        self._held.copy_(torch.tensor([1 - aux_weight, aux_weight]))

    def loss(self, classification: Tensor, auxiliary: Tensor) -> Tensor:
        """As for a number, bit by bit."""
        return self._held[0] * classification + self._held[1] * auxiliary


class LearnedWeights(Weighting):
    """Homoscedastic uncertainty (Kendall, Gal and Cipolla, CVPR 2018, section 3.2).

    Each task has a variance sigma^2, learned as its logarithm s. The Gaussian likelihood of a
    number gives squared / (2 sigma^2) + log(sigma); that of a class, its logits divided by
    sigma^2, is about log loss / sigma^2 + log(sigma):

        loss = exp(-s_c) * classification + exp(-s_a) / 2 * squared + (s_c + s_a) / 2

    It is smallest where exp(s_c) = 2 * classification and exp(s_a) = squared, which makes the
    coefficients 1 / (2 * classification) and 1 / (2 * squared). An auxiliary task of classes has a
    log loss in place of squared / 2.

    This loss may fall below 0, and its scale changes during training. So a trial reports the loss
    of a fixed weight, (1 - w) * classification + w * auxiliary, where w is the `aux_weight` at the
    end of the epoch.
    """

    def __init__(
        self, n_heads: int, device: torch.device | None = None, kind: AuxKind = "regression"
    ) -> None:
        """Start at variance 1, where w is 1/3, or 1/2 if both tasks have classes."""
        self.log_variances = nn.Parameter(torch.zeros(n_heads, 2, device=device))  # s_c, s_a
        half = 0.5 if kind == "regression" else 1.0
        self._scale = torch.tensor([1.0, half], device=device)

    @property
    def coefficients(self) -> Tensor:
        """As for a fixed weight."""
        return self._scale * torch.exp(-self.log_variances)

    @property
    def aux_weight(self) -> Tensor:
        """w of each pair of heads, [H], in (0, 1)."""
        weights = self.coefficients.detach()
        return weights[:, 1] / weights.sum(dim=1)

    def loss(self, classification: Tensor, auxiliary: Tensor) -> Tensor:
        """As for a fixed weight; the losses of H nets, [H] each, give their sum."""
        tasks = torch.stack([classification, auxiliary], dim=-1)
        return (self.coefficients * tasks + self.log_variances / 2).sum()

    def set_gradient(self, tasks: tuple[Tensor, Tensor]) -> None:
        """Set the gradient of the log-variances, from the losses of both tasks, [H] each."""
        # d/ds of c * exp(-s) * task + s / 2.
        losses = torch.stack(tasks, dim=-1)
        self.log_variances.grad = 0.5 - self.coefficients.detach() * losses

    def parts(self, loss: Tensor, tasks: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """The losses of both tasks; the end of the epoch decides their weights."""
        return tasks

    def epoch_loss(self, *parts: Tensor) -> Tensor:
        """As for a fixed weight."""
        classification, auxiliary = parts
        return mix(classification, auxiliary, self.aux_weight.to(auxiliary.device))

    def groups(self) -> list[dict[str, Any]]:
        """The log-variances, at a learning rate of their own."""
        return [{"params": [self.log_variances], "lr": LOG_VARIANCE_LR}]

    def metrics(self) -> dict[str, Tensor]:
        """w of each pair of heads, [H]."""
        return {"aux_weight_learned": self.aux_weight}


def make_weighting(
    aux_weight: AuxWeight | list[AuxWeight], device: torch.device, kind: AuxKind = "regression"
) -> Weighting:
    """Return the weighting that a configuration asks for; `auto` learns it.

    A list has one for each of H heads: numbers, or `auto` for all.
    """
    if isinstance(aux_weight, list):
        fixed = [w for w in aux_weight if not isinstance(w, str)]
        if not fixed:
            return LearnedWeights(len(aux_weight), device, kind)
        return Weighting(torch.tensor(fixed, device=device))
    if isinstance(aux_weight, str):
        return LearnedWeights(1, device, kind)
    return Weighting(aux_weight)
