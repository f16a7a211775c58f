"""What learns in one stage of a trial: one whole net, or stacked heads on features."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tl_core.config import BatchNorm
from tl_core.device import upload
from tl_core.inputs.batches import Read, ReadChanged, ShrinkingBatches
from tl_core.models.heads import HeadStack, TwoHeadedNet
from tl_core.objectives.losses import task_losses, two_task_loss
from tl_core.objectives.metrics import hits
from tl_core.objectives.outputs import Outputs
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import Weighting
from tl_core.training.optimizers import StackAdamW, set_rate
from tl_core.training.schedule import Budget

_BATCHNORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Part:
    """Steps before a report that were taken, and what they add up to."""

    steps: int = 0
    n_images: int = 0
    sums: Tensor | None = None
    """Of the parts of the loss, and of hits, on the device; None before the first step."""


AfterStep = Callable[[Part], None]
"""Hears of each step before a report, but not of the last one."""


@dataclass(frozen=True)
class Learner(ABC):
    """A model, its inputs and its targets."""

    model: nn.Module
    labels: Tensor
    """int64 [N], on the device of the model, as `brightness`."""
    brightness: Tensor
    """float32 [N]."""
    scale: TargetScale
    """On which brightness is learned; `predict` gives its own unit."""
    weighting: Weighting
    """Combines the losses of the two tasks into one; it may learn as well."""
    order: Callable[[int], np.ndarray]
    """Pass, from 1 -> its training views in order, [n] or [S, n]."""
    budget: Budget
    eval_batch: int
    """Images in a forward pass when nothing learns."""
    class_weights: Tensor | None = field(default=None, kw_only=True)
    """Of the classification loss of training, [S, K] on the device; None to weight all alike."""

    @abstractmethod
    def inputs(self, views: np.ndarray) -> Tensor:
        """The model's input for some views."""

    def targets(self, views: np.ndarray) -> tuple[Tensor, Tensor]:
        """Labels and brightness of the views, both in the shape of `views`."""
        at = upload(views % len(self.labels), self.labels.device)
        return self.labels[at], self.brightness[at]

    def image_weights(self, labels: Tensor) -> Tensor | None:
        """What images of these classes count in training, in the shape of `labels`."""
        if self.class_weights is None:
            return None
        return self.class_weights.gather(1, labels.reshape(len(self.class_weights), -1)).view_as(
            labels
        )

    @cached_property
    def scoring(self) -> ShrinkingBatches:
        """Batches when nothing learns; what a GPU has no memory for stays smaller."""
        return ShrinkingBatches(self.eval_batch, self.labels.device)

    @torch.inference_mode()
    def predict(self, indices: np.ndarray) -> Outputs:
        """The outputs of every net on the images `indices`, [N], on the CPU."""
        self.model.eval()
        outputs = self.scoring.run(lambda batch: self.model(self.inputs(batch)), indices)
        logits, brightness = zip(*outputs, strict=True)
        restored = self.scale.restore(torch.cat(brightness, dim=-1).float())
        return Outputs(torch.cat(logits, dim=-2).float().cpu(), restored.cpu())


@dataclass(frozen=True)
class NetLearner(Learner):
    """One net that learns from pixels, or from any other input that `read` returns."""

    model: TwoHeadedNet
    read: Read
    batchnorm: BatchNorm = "frozen"
    read_changed: ReadChanged | None = None
    """Reads what training sees, if that is not the views themselves."""

    @cached_property
    def scaler(self) -> torch.amp.GradScaler:
        """Scales the loss so that float16 holds small gradients (Micikevicius et al., ICLR 2018).

        A step whose gradients overflow is left out. It changes nothing in other number formats,
        which have the exponents of float32.
        """
        fp16 = self.model.precision == "fp16"
        return torch.amp.GradScaler(self.labels.device.type, enabled=fp16)

    def inputs(self, views: np.ndarray) -> Tensor:
        """[B] -> what `read` returns."""
        return self.read(views)

    def train_mode(self) -> None:
        """Switch to training: dropout, and batch statistics unless BatchNorm is frozen."""
        self.model.train()
        if self.batchnorm == "frozen":
            for module in self.model.modules():
                if isinstance(module, _BATCHNORM):
                    module.eval()

    def train_part(
        self,
        report: int,
        optimizer: torch.optim.Optimizer,
        done: Part = Part(),
        after_step: AfterStep = lambda _: None,
    ) -> tuple[Tensor, Tensor, int]:
        """Take the steps before a report, counted from 1; continue after those `done`.

        Returns:
            Mean training loss [...] and accuracy [...], where the weights before each step score
            its images; and the number of images.
        """
        self.train_mode()
        zero = torch.zeros((), device=self.labels.device)
        # Summed on the device: if each step read a number, the device would wait.
        sums = zero if done.sums is None else done.sums.to(self.labels.device)
        steps, n_images = done.steps, done.n_images
        for step, views, rate in self.budget.batches(report, self.order, done.steps):
            set_rate(optimizer, rate)
            sums = sums + self.step(views, optimizer, step)
            steps, n_images = steps + 1, n_images + len(views)
            if steps < len(self.budget.part(report)):
                after_step(Part(steps, n_images, sums))
        *parts, accuracy = sums.cpu() / n_images
        return self.weighting.epoch_loss(*parts), accuracy, n_images

    def step(self, views: np.ndarray, optimizer: torch.optim.Optimizer, number: int = 0) -> Tensor:
        """Learn from one batch; return the sums over it of the parts of the loss, and of hits."""
        labels, brightness = self.targets(views)
        if self.read_changed:
            inputs, brightness = self.read_changed(views, number)
        else:
            inputs = self.inputs(views)
        outputs = self.model(inputs)
        light, weights = self.scale.standardize(brightness), self.image_weights(labels)
        tasks = task_losses(outputs, labels, light, weights)
        loss = self.weighting.loss(*tasks)
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(optimizer)
        self.scaler.update()
        sums = [part.detach() * len(views) for part in self.weighting.parts(loss, tasks)]
        return torch.stack([*sums, hits(outputs[0].detach(), labels).sum()])


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
        _, batches, rates = zip(*self.budget.batches(report, self.order), strict=True)
        views = np.concatenate(batches, axis=-1)  # [S, n]
        n_heads = len(self.model.weight) // len(views)
        labels, brightness = (t.repeat_interleave(n_heads, dim=0) for t in self.targets(views))
        brightness = self.scale.standardize(brightness)
        sizes = [batch.shape[-1] for batch in batches]
        at = upload(views, self.rows.device)
        weights = self.image_weights(labels)
        parts = [torch.split(t, sizes, -1) for t in (at, labels, brightness)]
        each = [None] * len(sizes) if weights is None else torch.split(weights, sizes, -1)
        outputs = []
        for rate, some, *targets in zip(rates, *parts, each, strict=True):
            outputs.append(self._step(some, targets))
            optimizer.step(rate)
        whole = torch.cat([o[0] for o in outputs], -2), torch.cat([o[1] for o in outputs], -1)
        loss = two_task_loss(whole, labels, brightness, self.weighting.aux_weight, weights)
        accuracy = hits(whole[0], labels).float().mean(dim=-1)
        return loss.cpu(), accuracy.cpu(), views.size

    def _step(self, views: Tensor, targets: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Set the gradients of one batch; return the outputs.

        Args:
            views: [S, B].
            targets: labels, brightness and the images' weights or None, [H, B] each.
        """
        # Four times as fast as rows[views] on a CPU.
        features = self.rows.index_select(0, views.flatten()).view(*views.shape, -1)
        outputs: tuple[Tensor, Tensor] = self.model(features)
        gradient = self.weighting.gradient(outputs, *targets)
        self.model.backward(features, *gradient)
        return outputs
