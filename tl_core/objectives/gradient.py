"""The gradient of the two-task loss by the outputs of stacked heads, in few calls.

Axes: S seeds, W heads of each, H = S * W, B images, R outputs of a head: K class logits (1 for two
classes), then those of the auxiliary task (1 for a number, 0 without a task).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tl_core.objectives.losses import Targets


class OutputTargets(NamedTuple):
    """What is true of images, laid out as the outputs of a head are."""

    values: Tensor
    """Numbers; 0 or 1 of each class; float32 [S, B, 1, R]."""
    image_weights: Tensor | None
    """What each counts in the loss of its task, in the same shape; None if all count alike."""

    def split(self, sizes: list[int]) -> Iterator["OutputTargets"]:
        """Yield those of batches of these sizes."""
        weights = self.image_weights
        of_batches = [None] * len(sizes) if weights is None else torch.split(weights, sizes, 1)
        return map(OutputTargets, torch.split(self.values, sizes, 1), of_batches)


@dataclass(frozen=True)
class OutputGradient:
    """Derivatives of c_1 * classification loss + c_2 * auxiliary loss by each output.

    Log loss and squared error belong to generalised linear models with their canonical links: the
    derivative by an output is the mean that it stands for minus what is true (McCullagh and
    Nelder, 2nd edition 1989, section 2.5).
    """

    n_logits: int
    n_auxiliary: int
    is_number: bool
    """Whether the auxiliary task is a number."""

    def lay_out(self, targets: Targets) -> OutputTargets:
        """Targets [S, B] -> in the layout of the outputs."""
        values = [
            _by_output(targets.labels, self.n_logits),
            _by_output(targets.aux, self.n_auxiliary),
        ]
        weights = targets.image_weights, targets.aux_weights
        if all(w is None for w in weights):
            return OutputTargets(torch.cat(values, dim=-1).unsqueeze(2), None)
        counts = [
            (torch.ones_like(of_task) if w is None else w.unsqueeze(-1).expand_as(of_task))
            for w, of_task in zip(weights, values, strict=True)
        ]
        both = (torch.cat(parts, dim=-1).unsqueeze(2) for parts in (values, counts))
        return OutputTargets(*both)

    def factors(self, coefficients: Tensor) -> Tensor:
        """c_1 and c_2 of each head, [H, 2] -> what the errors of its outputs are multiplied by.

        The result is [H, R]; the losses are sums over the images.
        """
        first, second = torch.split(coefficients, 1, dim=-1)
        second = 2 * second if self.is_number else second
        parts = first.expand(-1, self.n_logits), second.expand(-1, self.n_auxiliary)
        return torch.cat(parts, dim=-1)

    def __call__(self, outputs: Tensor, targets: OutputTargets, factors: Tensor) -> Tensor:
        """[S, B, W, R] -> in the same shape; the factors broadcast against it."""
        sizes = [self.n_logits, self.n_auxiliary]
        logits, auxiliary = torch.split(outputs, sizes, dim=-1)
        means = _means(logits), auxiliary if self.is_number else _means(auxiliary)
        error = torch.cat(means, dim=-1).sub_(targets.values)
        if targets.image_weights is not None:
            error.mul_(targets.image_weights)
        return error.mul_(factors)


def _by_output(target: Tensor, n: int) -> Tensor:
    """Numbers, or classes of n logits: float32 [..., n]."""
    if n == 0:
        return target.new_zeros((*target.shape, 0), dtype=torch.float32)
    if target.is_floating_point() or n == 1:
        return target.float().unsqueeze(-1)
    return F.one_hot(target, n).float()


def _means(logits: Tensor) -> Tensor:
    """The probabilities of the classes, [..., K]; of one logit that of the second class."""
    return torch.sigmoid(logits) if logits.shape[-1] == 1 else torch.softmax(logits, dim=-1)
