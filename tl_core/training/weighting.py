"""How a trial weights its two tasks: by a number, or by what it learns with the net.

Axes: S seeds; of a whole net one.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from tl_core.config import AuxWeight
from tl_core.training.losses import mix, task_losses, two_task_gradient

LOG_VARIANCE_LR = 5e-2
"""Adam's learning rate for log-variances, whatever that of the net. A hundred steps can take them
as far as they have to go; at rates that suit pretrained weights no trial would be long enough."""


class Weighting(ABC):
    """What makes one loss of two: mean log loss and mean squared brightness error."""

    @property
    @abstractmethod
    def aux_weight(self) -> float | Tensor:
        """Share of brightness in the sum of both coefficients, in [0, 1]; a number, or [S]."""

    @abstractmethod
    def loss(self, classification: Tensor, squared: Tensor) -> Tensor:
        """What one net's step makes smaller, a scalar, from the scalar losses of the tasks."""

    @abstractmethod
    def gradient(
        self, outputs: tuple[Tensor, Tensor], labels: Tensor, brightness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Derivatives of S nets' losses by their outputs; leaves its own in its parameters.

        Args:
            outputs: class logits [S, B, 1] or [S, B, K], and predicted brightness [S, B].
            labels: int64 [S, B].
            brightness: [S, B].

        Returns:
            [S, B, 1] or [S, B, K], and [S, B].
        """

    @abstractmethod
    def parts(self, loss: Tensor, tasks: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Those of a step's losses whose means over the epoch `epoch_loss` takes."""

    @abstractmethod
    def epoch_loss(self, *parts: Tensor) -> Tensor:
        """What is reported of an epoch: a scalar, or [S]."""

    def groups(self) -> list[dict[str, Any]]:
        """What the optimizer is to learn here, beside the net."""
        return []

    def metrics(self) -> dict[str, Tensor]:
        """What an epoch reports of the weighting itself, [S] each."""
        return {}


class FixedWeight(Weighting):
    """loss = (1 - w) * classification + w * brightness."""

    def __init__(self, aux_weight: float) -> None:
        self._w = aux_weight

    @property
    def aux_weight(self) -> float:
        """The number given."""
        return self._w

    def loss(self, classification: Tensor, squared: Tensor) -> Tensor:
        """As for every weighting."""
        return mix(classification, squared, self._w)

    def gradient(
        self, outputs: tuple[Tensor, Tensor], labels: Tensor, brightness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As for every weighting."""
        return two_task_gradient(outputs, labels, brightness, (1 - self._w, self._w))

    def parts(self, loss: Tensor, tasks: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """The loss itself: its weight stands still."""
        return (loss,)

    def epoch_loss(self, *parts: Tensor) -> Tensor:
        """As for every weighting."""
        (loss,) = parts
        return loss


class LearnedWeights(Weighting):
    """Homoscedastic uncertainty (Kendall, Gal and Cipolla, CVPR 2018, section 3.2).

    Each task has a variance sigma^2, learned as its logarithm s. The Gaussian likelihood of the
    brightness gives squared / (2 sigma^2) + log(sigma); that of the class, its logits divided by
    sigma^2, is about log loss / sigma^2 + log(sigma):

        loss = exp(-s_c) * classification + exp(-s_b) / 2 * squared + (s_c + s_b) / 2

    It is smallest where exp(s_c) = 2 * classification and exp(s_b) = squared, which makes the
    coefficients 1 / (2 * classification) and 1 / (2 * squared).

    It may fall below 0, and its scale changes as it is learned. So what is reported is what a trial
    of fixed weight would report, (1 - w) * classification + w * squared, w being the `aux_weight`
    that the epoch ends with.
    """

    def __init__(self, n_seeds: int, device: torch.device | None = None) -> None:
        """Start at variance 1, where w is 1/3."""
        self.log_variances = nn.Parameter(torch.zeros(n_seeds, 2, device=device))  # s_c, s_b
        self._scale = torch.tensor([1.0, 0.5], device=device)

    @property
    def aux_weight(self) -> Tensor:
        """w of each seed, [S], in (0, 1)."""
        weights = self._coefficients().detach()
        return weights[:, 1] / weights.sum(dim=1)

    def loss(self, classification: Tensor, squared: Tensor) -> Tensor:
        """As for every weighting; the losses of S nets, [S] each, give their sum."""
        tasks = torch.stack([classification, squared], dim=-1)
        return (self._coefficients() * tasks + self.log_variances / 2).sum()

    def gradient(
        self, outputs: tuple[Tensor, Tensor], labels: Tensor, brightness: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As for every weighting."""
        weights = self._coefficients().detach()
        tasks = torch.stack(task_losses(outputs, labels, brightness), dim=-1)
        # d/ds of c * exp(-s) * task + s / 2.
        self.log_variances.grad = 0.5 - weights * tasks
        classification, squared = weights[:, :1, None], weights[:, 1:]
        return two_task_gradient(outputs, labels, brightness, (classification, squared))

    def parts(self, loss: Tensor, tasks: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """The losses of both tasks, to be weighted as the epoch ends."""
        return tasks

    def epoch_loss(self, *parts: Tensor) -> Tensor:
        """As for every weighting."""
        classification, squared = parts
        return mix(classification, squared, self.aux_weight.to(squared.device))

    def groups(self) -> list[dict[str, Any]]:
        """As for every weighting."""
        return [{"params": [self.log_variances], "lr": LOG_VARIANCE_LR}]

    def metrics(self) -> dict[str, Tensor]:
        """As for every weighting."""
        return {"aux_weight_learned": self.aux_weight}

    def _coefficients(self) -> Tensor:
        """Of classification and of brightness, [S, 2]."""
        return self._scale * torch.exp(-self.log_variances)


def make_weighting(aux_weight: AuxWeight, n_seeds: int, device: torch.device) -> Weighting:
    """Return the weighting that a configuration asks for; `auto` learns it."""
    if isinstance(aux_weight, str):
        return LearnedWeights(n_seeds, device)
    return FixedWeight(aux_weight)
