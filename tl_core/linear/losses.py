"""The losses of linear models, with their first and second derivatives by the outputs.

Axes: P penalties, K outputs, n training rows, b rows of a block.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Loss(Protocol):
    """A loss of K outputs, one for each of n rows."""

    @property
    def row_weights(self) -> Tensor | None:
        """What each row counts in the mean over the rows, of mean 1, float64 [n]; None if alike.

        The losses and derivatives below are without them.
        """

    def errors(self, outputs: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """Outputs [P, K, b] of some rows -> their losses [P, b], the derivatives [P, K, b]."""

    def state(self, outputs: Tensor) -> Tensor:
        """What the second derivative depends on, [P, K, b]."""

    def bend(self, state: Tensor, change: Tensor) -> Tensor:
        """Second derivative times a change of the outputs [P, K, b], which it may overwrite."""

    def diagonal(self, state: Tensor) -> Tensor:
        """Second derivative by each output alone, [P, K, b]."""


@dataclass(frozen=True)
class LogLoss:
    """Log loss in nats; of two classes on one logit, else of K logits."""

    labels: Tensor
    """int64 [n]."""
    row_weights: Tensor | None = None

    def errors(self, outputs: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """As for every loss."""
        labels, errors = self.labels[rows], self.state(outputs)
        if outputs.shape[1] == 1:
            losses = F.softplus(outputs) - outputs * labels
            return losses.squeeze(1), errors.sub_(labels)
        at = labels, torch.arange(len(labels), device=labels.device)
        losses = outputs.logsumexp(1) - outputs[:, *at]
        errors[:, *at] -= 1
        return losses, errors

    def state(self, outputs: Tensor) -> Tensor:
        """Probabilities: of the second of two classes, or of all K."""
        return outputs.sigmoid() if outputs.shape[1] == 1 else outputs.softmax(1)

    def bend(self, state: Tensor, change: Tensor) -> Tensor:
        """As for every loss."""
        if state.shape[1] == 1:
            return change.mul_(self.diagonal(state))
        return change.sub_((state * change).sum(1, keepdim=True)).mul_(state)

    def diagonal(self, state: Tensor) -> Tensor:
        """As for every loss."""
        return state * (1 - state)


@dataclass(frozen=True)
class SquaredLoss:
    """Half the squared error of one output."""

    target: Tensor
    """float64 [n]."""
    row_weights: None = None

    def errors(self, outputs: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """As for every loss."""
        errors = outputs - self.target[rows]
        return errors.square().squeeze(1) / 2, errors

    def state(self, outputs: Tensor) -> Tensor:
        """The second derivative itself, 1."""
        return torch.ones_like(outputs)

    def bend(self, state: Tensor, change: Tensor) -> Tensor:
        """As for every loss."""
        return change

    def diagonal(self, state: Tensor) -> Tensor:
        """As for every loss."""
        return state
