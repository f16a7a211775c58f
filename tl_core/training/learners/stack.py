"""Heads on cached features that learn stacked, one trial each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from tl_core.device import upload
from tl_core.models.heads import HeadStack
from tl_core.objectives.gradient import OutputGradient
from tl_core.objectives.losses import Targets, task_losses, two_task_loss
from tl_core.objectives.metrics import hits
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import LearnedWeights
from tl_core.training.learners.base import Learner
from tl_core.training.optimizers import StackAdamW


@dataclass(frozen=True)
class StackLearner(Learner):
    """H stacked heads of S seeds, as one batched computation.

    A step is a dozen small calls, so each one matters: the gradient of a linear head is written
    out, since autograd takes twice as long; what the outputs are compared with is laid out once
    for many steps; and the scores are computed once, after the last step.
    """

    model: HeadStack
    rows: Tensor
    """Features of every view, float32 [V, D]."""

    def inputs(self, views: np.ndarray) -> Tensor:
        """[B] -> [B, D], the same for all heads."""
        return self.rows.index_select(0, upload(views, self.rows.device))

    @cached_property
    def gradient(self) -> OutputGradient:
        """Of the loss by the outputs of the heads."""
        stack = self.model
        n_auxiliary = stack.n_outputs - stack.n_logits
        return OutputGradient(stack.n_logits, n_auxiliary, stack.kind == "regression")

    @torch.no_grad()
    def train_part(self, report: int, optimizer: StackAdamW) -> tuple[Tensor, Tensor, int]:
        """Take the steps before a report, which is counted from 1.

        Returns:
            Mean training loss [H] and accuracy [H], where the weights before each step score
            its images; and the number of images, summed over all seeds.
        """
        steps, batches, rates = zip(*self.budget.batches(report, self.order), strict=True)
        labelled = [batch.shape[-1] for batch in batches]
        if extra := self.extra:
            both = zip(batches, map(extra.views, steps), strict=True)
            batches = tuple(np.concatenate(pair, axis=-1) for pair in both)
        views = np.concatenate(batches, axis=-1)  # [S, n]
        sizes = [batch.shape[-1] for batch in batches]
        at = upload(views, self.rows.device)
        targets = self._standardized(self.training_targets(views, labelled))
        outputs = torch.cat([*self._steps(optimizer, at, targets, sizes, rates)], dim=1)
        logits, auxiliary = self.model.by_task(outputs)
        if extra:
            targets = self._by_batch(targets, labelled, extra.size)
        targets = targets.for_heads(self.model.width)
        loss = two_task_loss((logits, auxiliary), targets, self.weighting.aux_weight)
        right = hits(logits, targets.labels).float()
        if extra and targets.image_weights is not None:
            right = right * (targets.image_weights > 0)
        accuracy = right.sum(dim=-1) / sum(labelled)
        return loss.cpu(), accuracy.cpu(), views.size

    def _steps(
        self,
        optimizer: StackAdamW,
        views: Tensor,
        targets: Targets,
        sizes: list[int],
        rates: Sequence[float],
    ) -> Iterator[Tensor]:
        """Take steps on batches of these sizes; yield the outputs of each, before it learned.

        Views and targets are [S, n], n the sum of the sizes.
        """
        batches = [some.flatten() for some in torch.split(views, sizes, -1)]
        laid_out = self.gradient.lay_out(targets).split(sizes)
        learned = self.weighting if isinstance(self.weighting, LearnedWeights) else None
        fixed = {} if learned else {n: self._factors(n) for n in set(sizes)}
        of_heads = targets.for_heads(self.model.width).split(sizes) if learned else repeat(None)
        for n, rate, batch, aims, own in zip(sizes, rates, batches, laid_out, of_heads):  # noqa: B905
            # Four times as fast as rows[views] on a CPU.
            features = self.rows.index_select(0, batch).view(-1, n, self.rows.shape[1])
            yield (outputs := self.model.outputs(features))
            if learned and own:
                learned.set_gradient(task_losses(self.model.by_task(outputs), own))
            factors = self._factors(n) if learned else fixed[n]
            self.model.backward(features, self.gradient(outputs, aims, factors))
            optimizer.step(rate)

    def _factors(self, n: int) -> Tensor:
        """What errors of outputs are multiplied by in a batch of n, [S, 1, W, R]."""
        stack, of_losses = self.model, self.weighting.coefficients.to(self.rows.device) / n
        factors = self.gradient.factors(of_losses.expand(stack.n_heads, 2))
        return factors.view(-1, 1, stack.width, stack.n_outputs)

    def _by_batch(self, targets: Targets, labelled: list[int], n_extra: int) -> Targets:
        """Targets of batches [S, n] whose losses count as their images with a class label do.

        So the mean training loss does not tell how many other images a step sees.
        """
        n = np.array(labelled)
        share = n / (n + n_extra) * (n + n_extra).sum() / n.sum()
        each = upload(np.repeat(share, n + n_extra).astype(np.float32), self.rows.device)
        weights = (t if t is None else t * each for t in targets[2:])
        return Targets(targets.labels, targets.aux, *weights)

    def _standardized(self, targets: Targets) -> Targets:
        """Targets [S, n] on the scale of each seed, which its heads share."""
        mean, spread = (t[:: self.model.width] for t in (self.scale.mean, self.scale.spread))
        return targets._replace(aux=TargetScale(mean, spread).standardize(targets.aux))
