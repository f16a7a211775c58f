"""Heads on cached features that learn stacked, one trial each."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tl_core.device import upload
from tl_core.models.heads import HeadStack
from tl_core.objectives.losses import Targets, two_task_loss
from tl_core.objectives.metrics import hits
from tl_core.training.learners import Learner
from tl_core.training.optimizers import StackAdamW


@dataclass(frozen=True)
class StackLearner(Learner):
    """H stacked heads of S seeds, as one batched computation.

    A step is a dozen small calls, so each one matters: the gradient of a linear head is written
    out, since autograd takes twice as long, and the scores are computed once, after the last step.
    """

    model: HeadStack
    rows: Tensor
    """Features of every view, float32 [V, D]."""

    def inputs(self, views: np.ndarray) -> Tensor:
        """[B] -> [B, D], the same for all heads."""
        return self.rows.index_select(0, upload(views, self.rows.device))

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
        n_heads = len(self.model.weight) // len(views)
        targets = self.training_targets(views, labelled).for_heads(n_heads)
        targets = targets._replace(aux=self.scale.standardize(targets.aux))
        sizes = [batch.shape[-1] for batch in batches]
        at = torch.split(upload(views, self.rows.device), sizes, -1)
        outputs = []
        for rate, some, of_step in zip(rates, at, targets.split(sizes), strict=True):
            outputs.append(self._step(some, of_step))
            optimizer.step(rate)
        logits = torch.cat([o[0] for o in outputs], dim=1)
        auxiliary = torch.cat([o[1] for o in outputs], dim=1)
        loss = two_task_loss((logits, auxiliary), targets, self.weighting.aux_weight)
        right = hits(logits, targets.labels).float()
        if extra and targets.image_weights is not None:
            right = right * (targets.image_weights > 0)
        accuracy = right.sum(dim=-1) / sum(labelled)
        return loss.cpu(), accuracy.cpu(), views.size

    def _step(self, views: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        """Set the gradients of one batch [S, B]; return the outputs.

        The targets are those of each head, [H, B].
        """
        # Four times as fast as rows[views] on a CPU.
        features = self.rows.index_select(0, views.flatten()).view(*views.shape, -1)
        outputs: tuple[Tensor, Tensor] = self.model(features)
        gradient = self.weighting.gradient(outputs, targets)
        self.model.backward(features, *gradient)
        return outputs
