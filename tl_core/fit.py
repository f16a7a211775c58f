"""The training loop, the same for every mode: a model, what it reads, and what it should say."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tl_core.batches import Read, eval_batches, training_batches
from tl_core.config import TrialConfig
from tl_core.errors import DivergedError
from tl_core.losses import two_task_loss
from tl_core.metrics import hits, measure
from tl_core.splits import Split


@dataclass(frozen=True)
class EpochMetrics:
    """What every epoch reports; losses in nats (plus squared brightness error)."""

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
    """Training images a second; validation is not counted."""


Report = Callable[[EpochMetrics], None]


@dataclass(frozen=True)
class Learner:
    """What learns in one stage, what it reads, and what it should say."""

    model: nn.Module
    read: Read
    labels: Tensor
    brightness: Tensor
    aux_weight: float

    def targets(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Labels [B] and brightness [B] of the images `indices`."""
        at = torch.from_numpy(indices).to(self.labels.device)
        return self.labels[at], self.brightness[at]


def fit(
    learner: Learner, split: Split, config: TrialConfig, lr: float, report: Report
) -> tuple[EpochMetrics, ...]:
    """Train with Adam for `config.epochs` epochs and validate after each.

    Raises `DivergedError` when a metric leaves the finite numbers; names it and the epoch.
    """
    torch.manual_seed(config.seed)  # Dropout draws from the global generator.
    optimizer = torch.optim.Adam(learner.model.parameters(), lr=lr)
    history = []
    for epoch in range(1, config.epochs + 1):
        start = time.perf_counter()
        batches = training_batches(split.train, config.batch_size, config.seed, epoch)
        train = _train_epoch(learner, optimizer, batches)
        images_per_s = len(split.train) / (time.perf_counter() - start)
        val = {f"val_{name}": value for name, value in score(learner, split.val).items()}
        metrics = EpochMetrics(epoch, *train, **val, images_per_s=images_per_s)
        _check_finite(metrics)
        report(metrics)
        history.append(metrics)
    return tuple(history)


def _train_epoch(
    learner: Learner, optimizer: torch.optim.Optimizer, batches: Iterable[np.ndarray]
) -> tuple[float, float]:
    """Return the mean training loss and the training accuracy of the epoch."""
    learner.model.train()
    # Summed on the device: reading a number in every step would make the device wait.
    loss_sum = torch.zeros((), device=learner.labels.device)
    hit_sum = torch.zeros((), device=learner.labels.device)
    n = 0
    for batch in batches:
        labels, brightness = learner.targets(batch)
        outputs = learner.model(learner.read(batch))
        loss = two_task_loss(outputs, labels, brightness, learner.aux_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss_sum += loss.detach() * len(batch)
        hit_sum += hits(outputs[0].detach(), labels).sum()
        n += len(batch)
    return loss_sum.item() / n, hit_sum.item() / n


def score(learner: Learner, indices: np.ndarray) -> dict[str, float]:
    """Return `tl_core.metrics.measure` of the images `indices`."""
    logits, predicted = predict(learner.model, learner.read, indices)
    labels, brightness = learner.targets(indices)
    return measure((logits, predicted), labels.cpu(), brightness.cpu(), learner.aux_weight)


@torch.inference_mode()
def predict(model: nn.Module, read: Read, indices: np.ndarray) -> tuple[Tensor, Tensor]:
    """Class logits [N, 1] or [N, K] and brightness [N] of the images `indices`, on the CPU."""
    model.eval()
    device = next(model.parameters()).device
    outputs = [model(read(batch)) for batch in eval_batches(indices, device)]
    logits, brightness = (torch.cat(part).float().cpu() for part in zip(*outputs, strict=True))
    return logits, brightness


def _check_finite(metrics: EpochMetrics) -> None:
    for name, value in asdict(metrics).items():
        if not math.isfinite(value):
            raise DivergedError(f"{name} is {value} in epoch {metrics.epoch}")
