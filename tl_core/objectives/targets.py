"""The scale on which the auxiliary target is learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tl_core.models.heads import Heads


@dataclass(frozen=True)
class TargetScale:
    """Shifts and divides the auxiliary target, for one net or for H heads at once.

    On the standard scale of the training subset, a squared error of 1 is that of predicting the
    subset's mean, whatever the task and its unit. So one auxiliary weight means the same for any
    task, and a fresh head starts at the mean.
    """

    mean: Tensor
    """Of the training images, in the task's unit, [] or [H]."""
    spread: Tensor
    """Their standard deviation, [] or [H]; 1 where it is 0."""

    @classmethod
    def of(cls, target: Tensor, trains: Sequence[np.ndarray]) -> Self:
        """Return the scale of each training subset, [S].

        Args:
            target: of all images, [N].
            trains: the images of each subset that have one.
        """
        subsets = [target[torch.from_numpy(train).to(target.device)].double() for train in trains]
        spreads = torch.stack([subset.std(correction=0) for subset in subsets])
        means = torch.stack([subset.mean() for subset in subsets])
        spreads = spreads.where(spreads > 0, 1.0)
        return cls(means.to(target.dtype), spreads.to(target.dtype))

    @classmethod
    def raw(cls, n: int, device: torch.device) -> Self:
        """Return the task's own scale, mean 0 and spread 1, [n]; classes have no other."""
        return cls(torch.zeros(n, device=device), torch.ones(n, device=device))

    def each(self, times: int) -> Self:
        """Return the scale of so many heads of each seed, side by side, [S * times]."""
        return type(self)(self.mean.repeat_interleave(times), self.spread.repeat_interleave(times))

    def one(self) -> Self:
        """Return the scale of the only subset, []."""
        return type(self)(self.mean.squeeze(), self.spread.squeeze())

    def standardize(self, target: Tensor) -> Tensor:
        """From the task's unit, [..., B]; classes stay what they are."""
        if not target.is_floating_point():
            return target
        return (target - self.mean.unsqueeze(-1)) / self.spread.unsqueeze(-1)

    def restore(self, outputs: Tensor) -> Tensor:
        """To the task's unit, [..., B]."""
        return outputs * self.spread.unsqueeze(-1) + self.mean.unsqueeze(-1)

    @torch.no_grad()
    def into(self, heads: Heads) -> None:
        """Change heads that predict the task's unit to the scale; of one net."""
        if head := heads.auxiliary:
            mean, spread = (part.to(head.weight.device) for part in (self.mean, self.spread))
            head.bias.sub_(mean).div_(spread)
            head.weight.div_(spread)

    @torch.no_grad()
    def out_of(self, heads: Heads) -> None:
        """The opposite of `into`: the heads need no scale any more."""
        if head := heads.auxiliary:
            mean, spread = (part.to(head.weight.device) for part in (self.mean, self.spread))
            head.weight.mul_(spread)
            head.bias.mul_(spread).add_(mean)
