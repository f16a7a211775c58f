"""The heads of one task on one training subset: solved for all penalties, the best chosen.

Axes: V views, D features, K outputs, P penalties.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from tl_core.linear.design import Design, make_design, split, total
from tl_core.linear.losses import Loss
from tl_core.linear.newton import GROUP, MOST_STEPS, TOLERANCE, solve_path
from tl_core.linear.objective import Objective

N_PENALTIES = 45
_SPREADS = (0.01, 100.0)
"""Least and largest prior spread of a logit: see `penalty_grid`."""
_EQUAL = TOLERANCE
"""Scores this close are equal: what is solved to a tolerance is not known better."""

Score = Callable[[Tensor, Tensor], Tensor]
"""Outputs [P, b, K] of some images, their targets [b] -> means over these images, [P, ...]."""


def penalty_grid(n: int, n_features: int) -> Tensor:
    """The penalties to choose from, from strong to weak: a geometric series, float64 [45].

    Mean loss + penalty / 2 * |w|^2 over n rows is the posterior of weights with a Gaussian prior
    of variance 1 / (n * penalty), so features whose RMS is 1 give logits a prior variance of
    D / (n * penalty). The grid runs over its root. At 0.01 nothing is learned, and at 100 the
    probabilities are 0 or 1; what is best lies between, whatever n and D: photos with n from 4 to
    1,920 had 1 to 12. (For a number, logits stand for signal over noise.) A grid that does not
    know n would have to be four decades wider, and pay for them.
    """
    strongest, weakest = (n_features / (n * spread**2) for spread in _SPREADS)
    return torch.from_numpy(np.geomspace(strongest, weakest, N_PENALTIES))


@dataclass(frozen=True)
class Head:
    """One task's head for P penalties; float64."""

    weight: Tensor
    """[P, K, D]."""
    bias: Tensor
    """[P, K]."""
    l2: Tensor
    """[P]."""
    gradient: Tensor
    """Its norm, [P]."""

    def outputs(self, features: Tensor) -> Tensor:
        """[b, D] -> [P, b, K]."""
        return (self.weight @ features.double().mT + self.bias.unsqueeze(-1)).mT

    def __getitem__(self, i: int) -> "Head":
        return Head(*(getattr(self, field.name)[i : i + 1] for field in fields(self)))


@dataclass(frozen=True)
class Subset:
    """The views that a head learns from, and those that choose its penalty."""

    number: int
    rows: Tensor
    """[V, D]."""
    train: Tensor
    """Views, int64 [n]."""
    val: Tensor
    """Views, int64."""
    design: Design

    @classmethod
    def of(cls, number: int, rows: Tensor, n: int, train: np.ndarray, val: np.ndarray) -> "Subset":
        """The views of some of `n` images, training ones mirrored if there are mirrored rows."""
        views = torch.from_numpy(train).to(rows.device)
        if len(rows) == 2 * n:
            views = torch.cat([views, views + n])
        validation = torch.from_numpy(val).to(rows.device)
        return cls(number, rows, views, validation, make_design(rows, views))

    def grid(self) -> Tensor:
        """The penalties, [45]."""
        return penalty_grid(len(self.train), self.rows.shape[1]).to(self.rows.device)

    def mean(self, score: Score, head: Head, views: Tensor, target: Tensor) -> Tensor:
        """Mean score [P, ...] of heads over some views of images with the targets [N]."""
        scores = (
            score(head.outputs(self.rows.index_select(0, part)), target[part % len(target)])
            * len(part)
            for part in split(views, self.rows.shape[1])
        )
        return total(scores) / len(views)

    def best(
        self, loss: Loss, start: Tensor, score: Score, target: Tensor, group: int = GROUP
    ) -> Head:
        """Solve for all penalties; return the head with the least mean score on validation.

        Of equals, to `_EQUAL`, it is the first, which has the strongest penalty.
        """
        found = self._best_of_groups(loss, start, score, target, group)
        least, best = next(found)
        for other, head in found:
            if other < least - _EQUAL:
                least, best = other, head
        return best

    def _best_of_groups(
        self, loss: Loss, start: Tensor, score: Score, target: Tensor, group: int
    ) -> Iterator[tuple[float, Head]]:
        left = self.grid()
        for weights, norms in solve_path(Objective(self.design, loss), left, start, group):
            l2, left = left[: len(norms)], left[len(norms) :]
            self._check(l2, norms)
            heads = Head(*self.design.to_raw(weights), l2, norms)
            scores = self.mean(score, heads, self.val, target)
            if not scores.isfinite().all():
                raise ValueError(
                    f"features must be finite, but in some of {len(self.val)} validation rows "
                    "they are not"
                )
            i = int((scores <= scores.min() + _EQUAL).byte().argmax())
            yield scores[i].item(), heads[i]

    def _check(self, l2: Tensor, norms: Tensor) -> None:
        worst = int(norms.argmax())
        if not norms[worst] <= TOLERANCE:
            raise RuntimeError(
                f"training subset {self.number}: the gradient's norm must reach {TOLERANCE:g}, but "
                f"at the penalty {l2[worst]:.3g} it is {norms[worst]:.3g} after {MOST_STEPS} "
                "Newton steps"
            )
