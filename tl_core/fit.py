"""The training loop, the same for every mode: a model, what it reads, and what it should say."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tl_core.batches import Batches, Read, eval_batches, upload
from tl_core.config import TrialConfig
from tl_core.errors import DivergedError
from tl_core.heads import HeadStack
from tl_core.losses import two_task_gradient, two_task_loss
from tl_core.metrics import hits, measure
from tl_core.splits import Split


@dataclass(frozen=True)
class EpochMetrics:
    """What every epoch reports: means over the seeds; losses in nats (plus squared error)."""

    epoch: int
    """1 for the first."""
    train_loss: float
    """Mean over the epoch's images, each scored by the weights that its step started from."""
    train_accuracy: float
    val_loss: float
    val_log_loss: float
    """Classification alone, so that trials with different auxiliary weights compare."""
    val_accuracy: float
    val_auroc: float
    val_brightness_mae: float
    val_brightness_r2: float
    images_per_s: float
    """Training images a second, over all seeds; validation is not counted."""
    val_log_loss_std: float | None = None
    """Standard deviation over the seeds of a frozen trial; one seed has none."""
    val_accuracy_std: float | None = None


Report = Callable[[EpochMetrics], None]


@dataclass(frozen=True)
class Learner:
    """A net, what it reads, and what it should say; one learns in each stage of a trial."""

    model: nn.Module
    read: Read
    batches: Batches
    labels: Tensor
    brightness: Tensor
    aux_weight: float
    eval_batch: int
    """Images a forward pass when nothing learns."""

    def targets(self, views: np.ndarray) -> tuple[Tensor, Tensor]:
        """Labels and brightness of the views, both in their shape."""
        at = upload(views % len(self.labels), self.labels.device)
        return self.labels[at], self.brightness[at]

    def gradients(self, views: np.ndarray) -> tuple[Tensor, Tensor]:
        """Leave the gradients of a batch in the parameters; return losses [...], hits [..., B]."""
        labels, brightness = self.targets(views)
        outputs = self.model(self.read(views))
        loss = two_task_loss(outputs, labels, brightness, self.aux_weight)
        self.model.zero_grad(set_to_none=True)
        loss.sum().backward()  # type: ignore[no-untyped-call]
        return loss.detach(), hits(outputs[0].detach(), labels)


@dataclass(frozen=True)
class StackLearner(Learner):
    """The S stacked heads of a frozen trial: everything has a leading axis S, batches are [S, B].

    The gradient of a linear head is written out: autograd takes twice as long.
    """

    model: HeadStack

    @torch.no_grad()
    def gradients(self, views: np.ndarray) -> tuple[Tensor, Tensor]:
        """As for one net."""
        labels, brightness = self.targets(views)
        features = self.read(views)
        outputs = self.model(features)
        w = self.aux_weight
        self.model.backward(features, *two_task_gradient(outputs, labels, brightness, w))
        return two_task_loss(outputs, labels, brightness, w), hits(outputs[0], labels)


def fit(
    learner: Learner, split: Split, config: TrialConfig, lr: float, report: Report
) -> tuple[EpochMetrics, ...]:
    """Train with Adam for `config.epochs` epochs and validate on `split.val` after each.

    Raises `DivergedError` when a metric leaves the finite numbers; names it and the epoch.
    """
    torch.manual_seed(config.seed)  # Dropout draws from the global generator.
    # Step by step and element by element, so stacked heads move as each would alone.
    optimizer = torch.optim.Adam(learner.model.parameters(), lr=lr, fused=True)
    history = []
    for epoch in range(1, config.epochs + 1):
        start = time.perf_counter()
        loss, accuracy, n_images = _train_epoch(learner, optimizer, learner.batches(epoch))
        images_per_s = n_images / (time.perf_counter() - start)
        scores = {"train_loss": loss, "train_accuracy": accuracy}
        scores |= {f"val_{name}": value for name, value in score(learner, split.val).items()}
        metrics = EpochMetrics(epoch, **_over_seeds(scores), images_per_s=images_per_s)
        _check_finite(metrics)
        report(metrics)
        history.append(metrics)
    return tuple(history)


def _train_epoch(
    learner: Learner, optimizer: torch.optim.Optimizer, batches: Iterable[np.ndarray]
) -> tuple[Tensor, Tensor, int]:
    """Return mean training loss [...], training accuracy [...] and the images seen by all."""
    learner.model.train()
    # Summed on the device: reading a number in every step would make the device wait.
    loss_sum = torch.zeros((), device=learner.labels.device)
    hit_sum = torch.zeros((), device=learner.labels.device)
    n, n_images = 0, 0
    for batch in batches:
        loss, hit = learner.gradients(batch)
        optimizer.step()
        loss_sum = loss_sum + loss * batch.shape[-1]
        hit_sum = hit_sum + hit.sum(dim=-1)
        n, n_images = n + batch.shape[-1], n_images + batch.size
    return loss_sum.cpu() / n, hit_sum.cpu() / n, n_images


def score(learner: Learner, indices: np.ndarray) -> dict[str, Tensor]:
    """Return `tl_core.metrics.measure` of the images `indices`."""
    outputs = predict(learner.model, learner.read, indices, learner.eval_batch)
    labels, brightness = learner.targets(indices)
    return measure(outputs, labels.cpu(), brightness.cpu(), learner.aux_weight)


@torch.inference_mode()
def predict(
    model: nn.Module, read: Read, indices: np.ndarray, eval_batch: int
) -> tuple[Tensor, Tensor]:
    """Class logits [..., N, 1] or [..., N, K] and brightness [..., N] of the images, on the CPU."""
    model.eval()
    logits, brightness = [], []
    for batch in eval_batches(indices, eval_batch):
        some_logits, some_brightness = model(read(batch))
        logits.append(some_logits)
        brightness.append(some_brightness)
    return torch.cat(logits, dim=-2).float().cpu(), torch.cat(brightness, dim=-1).float().cpu()


def _over_seeds(scores: dict[str, Tensor]) -> dict[str, Any]:
    """Mean of each score over the seeds, and the spread of the two that are compared most."""
    means = {name: value.mean().item() for name, value in scores.items()}
    spread = {
        f"{name}_std": value.std().item()
        for name, value in scores.items()
        if name in ("val_log_loss", "val_accuracy") and value.numel() > 1
    }
    return means | spread


def _check_finite(metrics: EpochMetrics) -> None:
    for name, value in asdict(metrics).items():
        if value is not None and not math.isfinite(value):
            raise DivergedError(f"{name} is {value} in epoch {metrics.epoch}")
