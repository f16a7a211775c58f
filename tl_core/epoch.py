"""What is known of a trial after each epoch; imports no torch, since who only reads needs none."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochMetrics:
    """What every epoch reports: means over the seeds; losses in nats (plus squared error)."""

    epoch: int
    """1 for the first."""
    train_loss: float
    """Mean over the epoch's images, each scored by the weights that its step started from; this
    and `val_loss` with the fixed `aux_weight`, or the one learned by the end of the epoch."""
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
    aux_weight_learned: float | None = None
    """w that `auto` has come to, mean over the seeds; a fixed weight learns none."""


Report = Callable[[EpochMetrics], None]
