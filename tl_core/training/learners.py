"""What learns in one stage of a trial: one whole net, or the heads of all seeds on features."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tl_core.models.heads import HeadStack
from tl_core.training.batches import Read, eval_batches, split_batches, upload
from tl_core.training.losses import task_losses, two_task_loss
from tl_core.training.metrics import hits
from tl_core.training.weighting import Weighting


@dataclass(frozen=True)
class Learner(ABC):
    """A model, its inputs and its targets."""

    model: nn.Module
    labels: Tensor
    """int64 [N], on the device of the model, as `brightness`."""
    brightness: Tensor
    """float32 [N]."""
    weighting: Weighting
    """Combines the losses of the two tasks into one; it may learn as well."""
    order: Callable[[int], np.ndarray]
    """Epoch, from 1 -> its training views in order, [n] or [S, n]."""
    batch_size: int
    eval_batch: int
    """Images in a forward pass when nothing learns."""

    @abstractmethod
    def train_epoch(
        self, epoch: int, optimizer: torch.optim.Optimizer
    ) -> tuple[Tensor, Tensor, int]:
        """Train for one epoch.

        Returns:
            Mean training loss [...] and accuracy [...], where the weights before each step score
            its images; and the number of images, summed over all seeds.
        """

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups of everything that the optimizer learns."""
        return [{"params": self.model.parameters()}, *self.weighting.groups()]

    @abstractmethod
    def inputs(self, views: np.ndarray) -> Tensor:
        """The model's input for some views."""

    def targets(self, views: np.ndarray) -> tuple[Tensor, Tensor]:
        """Labels and brightness of the views, both in the shape of `views`."""
        at = upload(views % len(self.labels), self.labels.device)
        return self.labels[at], self.brightness[at]

    @torch.inference_mode()
    def predict(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Class logits [..., N, K] (K = 1 for two classes) and brightness [..., N], on the CPU."""
        self.model.eval()
        batches = eval_batches(indices, self.eval_batch)
        outputs = [self.model(self.inputs(batch)) for batch in batches]
        logits, brightness = zip(*outputs, strict=True)
        return torch.cat(logits, dim=-2).float().cpu(), torch.cat(brightness, dim=-1).float().cpu()


@dataclass(frozen=True)
class NetLearner(Learner):
    """One net that learns from pixels, or from any other input that `read` returns."""

    read: Read

    def inputs(self, views: np.ndarray) -> Tensor:
        """[B] -> what `read` returns."""
        return self.read(views)

    def train_epoch(
        self, epoch: int, optimizer: torch.optim.Optimizer
    ) -> tuple[Tensor, Tensor, int]:
        """As for every learner."""
        self.model.train()
        # Summed on the device: if each step read a number, the device would wait.
        sums = torch.zeros((), device=self.labels.device)
        order = self.order(epoch)
        for views in split_batches(order, self.batch_size):
            sums = sums + self.step(views, optimizer)
        *parts, accuracy = sums.cpu() / len(order)
        return self.weighting.epoch_loss(*parts), accuracy, len(order)

    def step(self, views: np.ndarray, optimizer: torch.optim.Optimizer) -> Tensor:
        """Learn from one batch; return the sums over it of the parts of the loss, and of hits."""
        labels, brightness = self.targets(views)
        outputs = self.model(self.inputs(views))
        tasks = task_losses(outputs, labels, brightness)
        loss = self.weighting.loss(*tasks)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        sums = [part.detach() * len(views) for part in self.weighting.parts(loss, tasks)]
        return torch.stack([*sums, hits(outputs[0].detach(), labels).sum()])


@dataclass(frozen=True)
class StackLearner(Learner):
    """The S stacked heads of a frozen trial, as one batched computation.

    A step is a dozen small calls, so each one matters: the gradient of a linear head is written
    out, since autograd takes twice as long, and the scores are computed once, after the epoch.
    """

    model: HeadStack
    rows: Tensor
    """Features of every view, float32 [V, D]."""

    def inputs(self, views: np.ndarray) -> Tensor:
        """[B] -> [B, D], the same for all seeds."""
        return self.rows.index_select(0, upload(views, self.rows.device))

    @torch.no_grad()
    def train_epoch(
        self, epoch: int, optimizer: torch.optim.Optimizer
    ) -> tuple[Tensor, Tensor, int]:
        """As for every learner."""
        order = self.order(epoch)  # [S, n]
        labels, brightness = self.targets(order)
        size, at = self.batch_size, upload(order, self.rows.device)
        batches = zip(
            split_batches(at, size),
            split_batches(labels, size),
            split_batches(brightness, size),
            strict=True,
        )
        outputs = [self._step(*batch, optimizer) for batch in batches]
        whole = torch.cat([o[0] for o in outputs], -2), torch.cat([o[1] for o in outputs], -1)
        loss = two_task_loss(whole, labels, brightness, self.weighting.aux_weight)
        accuracy = hits(whole[0], labels).float().mean(dim=-1)
        return loss.cpu(), accuracy.cpu(), order.size

    def _step(
        self,
        views: Tensor,
        labels: Tensor,
        brightness: Tensor,
        optimizer: torch.optim.Optimizer,
    ) -> tuple[Tensor, Tensor]:
        """Learn from one batch [S, B]; return the outputs of the heads before the step."""
        # Four times as fast as rows[views] on a CPU.
        features = self.rows.index_select(0, views.flatten()).view(*views.shape, -1)
        outputs: tuple[Tensor, Tensor] = self.model(features)
        gradient = self.weighting.gradient(outputs, labels, brightness)
        self.model.backward(features, *gradient)
        optimizer.step()
        return outputs
