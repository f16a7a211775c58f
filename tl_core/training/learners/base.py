"""What all learners have: a model with its inputs, targets and order, and how it predicts."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from tl_core.aux_task import BRIGHTNESS, AuxTask
from tl_core.device import upload
from tl_core.inputs.batches import ShrinkingBatches
from tl_core.inputs.unlabelled import Unlabelled, shares
from tl_core.objectives.losses import Targets
from tl_core.objectives.outputs import Outputs
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import Weighting
from tl_core.training.schedule import Budget


@dataclass(frozen=True)
class Learner(ABC):
    """A model, its inputs and its targets."""

    model: nn.Module
    labels: Tensor
    """int64 [N], on the device of the model, as `aux`."""
    aux: Tensor
    """The auxiliary target: float32 [N], or int64 [N] of classes; any value where it is missing."""
    scale: TargetScale
    """On which a number is learned; `predict` gives its own unit."""
    weighting: Weighting
    """Combines the losses of the two tasks into one; it may learn as well."""
    order: Callable[[int], np.ndarray]
    """Pass, from 1 -> its training views in order, [n] or [S, n]."""
    budget: Budget
    eval_batch: int
    """Images in a forward pass when nothing learns."""
    class_weights: Tensor | None = field(default=None, kw_only=True)
    """Of the classification loss of training, [S, K] on the device; None to weight all alike."""
    aux_weights: Tensor | None = field(default=None, kw_only=True)
    """What each image counts in the auxiliary loss, [S, N] (`aux_table`); None if all alike."""
    known: np.ndarray | None = field(default=None, kw_only=True)
    """Which images have the auxiliary label, bool [N]; None if all have."""
    extra: Unlabelled | None = field(default=None, kw_only=True)
    """Images without a class label that each step sees as well."""
    task: AuxTask = field(default=BRIGHTNESS, kw_only=True)

    @abstractmethod
    def inputs(self, views: np.ndarray) -> Tensor:
        """The model's input for some views."""

    def targets(self, views: np.ndarray) -> tuple[Tensor, Tensor]:
        """Labels and auxiliary targets of the views, both in the shape of `views`."""
        at = upload(views % len(self.labels), self.labels.device)
        return self.labels[at], self.aux[at]

    def training_targets(self, views: np.ndarray, sizes: Sequence[int]) -> Targets:
        """The targets of views [n] or [S, n], and what they count.

        They are batches that have so many images with a class label, then the `extra` ones.
        """
        at = upload(views % len(self.labels), self.labels.device)
        return self.targets_at(at, self.shares(sizes))

    def shares(self, sizes: Sequence[int]) -> tuple[Tensor, Tensor] | None:
        """What images of such batches count by their place, for each task; None if all alike."""
        if self.extra is None:
            return None
        of_class, of_aux = shares(sizes, self.extra.size)
        return upload(of_class, self.labels.device), upload(of_aux, self.labels.device)

    def targets_at(self, at: Tensor, by_place: tuple[Tensor, Tensor] | None) -> Targets:
        """The targets of images [n] or [S, n], on the device, with their `shares`."""
        labels, aux = self.labels[at], self.aux[at]
        weights, aux_weights = self.image_weights(labels), None
        if self.aux_weights is not None:
            rows = at.reshape(len(self.aux_weights), -1)
            aux_weights = self.aux_weights.gather(1, rows).view_as(labels)
        if by_place:
            of_class, of_aux = by_place
            weights = of_class.expand(labels.shape) if weights is None else weights * of_class
            aux_weights = of_aux if aux_weights is None else aux_weights * of_aux
        return Targets(labels, aux, weights, aux_weights)

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
        images = outputs[0][0].ndim - 2  # The axis of the images in both outputs.
        logits, auxiliary = (torch.cat(part, images).float() for part in zip(*outputs, strict=True))
        if self.task.kind == "regression":
            auxiliary = self.scale.restore(auxiliary)
        return Outputs(logits.cpu(), auxiliary.cpu())
