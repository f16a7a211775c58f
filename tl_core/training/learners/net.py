"""One net that learns from pixels or activations."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tl_core.config import BatchNorm
from tl_core.inputs.readers import ChangedReader, Gather, Read, ReadChanged, Reader
from tl_core.models.heads import TwoHeadedNet
from tl_core.objectives.losses import Targets, task_losses
from tl_core.objectives.metrics import hits
from tl_core.objectives.outputs import Outputs
from tl_core.training.learners.base import Learner
from tl_core.training.optimizers import set_rate
from tl_core.training.schedule import Batch

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
TakeSteps = Callable[[Iterable[Batch], Tensor], Iterator[tuple[int, Tensor]]]
"""Takes steps; after each it gives the images of its batch, and the sums of `NetLearner.step` so
far, added to those given. It may change the same tensor in each step."""


@dataclass(frozen=True)
class NetLearner(Learner):
    """One net that learns from pixels, or from any other input that `read` returns."""

    model: TwoHeadedNet
    read: Read
    batchnorm: BatchNorm = "frozen"
    read_changed: ReadChanged | None = None
    """Reads what training sees, if that is not the views themselves."""
    compiled: bool = field(default=False, kw_only=True)
    """Whether the network is."""

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

    @property
    def gather(self) -> Gather | None:
        """How training reads from a table on the device; None if something comes from the host."""
        reader = self.read_changed or self.read
        return reader.gather if isinstance(reader, Reader | ChangedReader) else None

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
        done: Part,
        after_step: AfterStep = lambda _: None,
        take: TakeSteps | None = None,
    ) -> tuple[Tensor, Tensor, int]:
        """Take the steps before a report, counted from 1; continue after those `done`.

        `take` takes them; None takes one after another.

        Returns:
            Mean training loss [...] and accuracy [...], where the weights before each step score
            its images; and the number of images that these steps saw.
        """
        self.train_mode()
        sums = torch.zeros((), device=self.labels.device)
        if done.sums is not None:
            sums = done.sums.to(self.labels.device)
        steps, n_images = done.steps, done.n_images
        batches = self.budget.batches(report, self.order, done.steps)
        for n, sums in (take or partial(self.take_steps, optimizer))(batches, sums):  # noqa: B020
            steps, n_images = steps + 1, n_images + n
            if steps < len(self.budget.part(report)):
                after_step(Part(steps, n_images, sums))
        *parts, accuracy = sums.cpu() / n_images
        n_extra = (steps - done.steps) * (self.extra.size if self.extra else 0)
        n_seen = n_images - done.n_images + n_extra
        return self.weighting.epoch_loss(*parts), accuracy, n_seen

    def take_steps(
        self, optimizer: torch.optim.Optimizer, batches: Iterable[Batch], sums: Tensor
    ) -> Iterator[tuple[int, Tensor]]:
        """Take one step after another, as `TakeSteps`."""
        for number, views, rate in batches:
            set_rate(optimizer, rate)
            # Summed on the device: if each step read a number, the device would wait.
            sums = sums + self.step(views, optimizer, number)
            yield len(views), sums

    def step(self, views: np.ndarray, optimizer: torch.optim.Optimizer, number: int = 0) -> Tensor:
        """Learn from one batch and the `extra` images of the step.

        Returns the sums over the batch of the parts of the loss, and of hits.
        """
        n = len(views)
        views = self.with_extra(views, number)
        targets = self.training_targets(views, [n])
        inputs, brightness = self.training_inputs(views, number)
        with self._uncompiled() if n != self.budget.full_batch else nullcontext():
            return self.learn(inputs, brightness, targets, optimizer, n)

    def predict(self, indices: np.ndarray) -> Outputs:
        """As any learner; a compiled network runs as it was before."""
        with self._uncompiled():
            return super().predict(indices)

    def _uncompiled(self) -> AbstractContextManager[Any]:
        """Have a compiled network run as it was: it is compiled for full batches that learn alone.

        Else it would be compiled for each other size, or for any size, which is slower.
        """
        return torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()

    def with_extra(self, views: np.ndarray, number: int) -> np.ndarray:
        """The views of a step, then those of its `extra` images."""
        if self.extra is None:
            return views
        return np.concatenate([views, self.extra.views(number)[0]])

    def training_inputs(self, views: np.ndarray, number: int) -> tuple[Tensor, Tensor | None]:
        """What a step sees of its views, and the brightness of that if it was changed."""
        if self.read_changed:
            return self.read_changed(views, number)
        return self.inputs(views), None

    def learn(
        self,
        inputs: Tensor,
        brightness: Tensor | None,
        targets: Targets,
        optimizer: torch.optim.Optimizer,
        n: int,
    ) -> Tensor:
        """Learn from inputs on the device, of which the first n have a class label; as `step`."""
        if brightness is not None and self.task.of_pixels:
            targets = targets._replace(aux=brightness)
        outputs = self.model(inputs)
        targets = targets._replace(aux=self.scale.standardize(targets.aux))
        tasks = task_losses(outputs, targets)
        loss = self.weighting.loss(*tasks)
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(optimizer)
        self.scaler.update()
        sums = [part.detach() * n for part in self.weighting.parts(loss, tasks)]
        return torch.stack([*sums, hits(outputs[0][:n].detach(), targets.labels[:n]).sum()])
