"""The training loop, the same for every mode, and what it measures."""

import math
import time
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from tl_core.config import EpochMetrics, Report, TrialConfig
from tl_core.data.splits import Split
from tl_core.errors import DivergedError
from tl_core.training.checkpoints import Checkpoint
from tl_core.training.learners import Learner
from tl_core.training.metrics import measure


def fit(
    learner: Learner,
    split: Split,
    config: TrialConfig,
    lr: float,
    report: Report,
    checkpoint: Checkpoint | None = None,
) -> tuple[EpochMetrics, ...]:
    """Train with Adam for `config.epochs` epochs and validate on `split.val` after each.

    Continues from the `checkpoint` if it has a state: first reports its epochs again.

    Raises `DivergedError` when a metric is not finite; names it and the epoch.
    """
    torch.manual_seed(config.seed)  # Dropout draws from the global generator.
    optimizer = make_optimizer(learner, lr)
    history = checkpoint.restore(learner, optimizer) if checkpoint else []
    for metrics in history:
        report(metrics)
    for epoch in range(len(history) + 1, config.epochs + 1):
        history.append(_run_epoch(learner, split, epoch, optimizer))
        if checkpoint and epoch < config.epochs:
            # Saved before it is reported: a reported epoch must survive a crash.
            checkpoint.save(learner, optimizer, history)
        report(history[-1])
    return tuple(history)


def make_optimizer(learner: Learner, lr: float) -> torch.optim.Optimizer:
    """Adam, with a state for everything that learns."""
    # Adam works element by element, so stacked heads move as each would alone.
    return torch.optim.Adam(learner.groups(), lr=lr, fused=True)


def score(learner: Learner, indices: np.ndarray) -> dict[str, Tensor]:
    """Return `tl_core.training.metrics.measure` of the images `indices`."""
    outputs = learner.predict(indices)
    labels, brightness = learner.targets(indices)
    # On the device and in the precision of the outputs, so that nothing is rounded.
    weight = torch.as_tensor(learner.weighting.aux_weight, dtype=torch.float64, device="cpu")
    return measure(outputs, labels.cpu(), brightness.cpu(), weight)


def _run_epoch(
    learner: Learner, split: Split, epoch: int, optimizer: torch.optim.Optimizer
) -> EpochMetrics:
    start = time.perf_counter()
    loss, accuracy, n_images = learner.train_epoch(epoch, optimizer)
    images_per_s = n_images / (time.perf_counter() - start)
    scores = {"train_loss": loss, "train_accuracy": accuracy}
    scores |= {f"val_{name}": value for name, value in score(learner, split.val).items()}
    scores |= learner.weighting.metrics()
    # Means over the seeds, and the spread of the two scores that are compared most.
    means = {name: value.mean().item() for name, value in scores.items()}
    spread = {
        f"{name}_std": scores[name].std().item()
        for name in ("val_log_loss", "val_accuracy")
        if scores[name].numel() > 1
    }
    metrics = EpochMetrics(epoch=epoch, images_per_s=images_per_s, **means, **spread)
    for name, value in asdict(metrics).items():
        if value is not None and not math.isfinite(value):
            raise DivergedError(name, value, epoch)
    return metrics
