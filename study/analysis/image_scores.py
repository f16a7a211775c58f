"""The outputs of one confirming trial, as a value of each score for each test image."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from study.analysis.calibration import calibration_error, fit_temperature
from study.intervals.pigeonhole import auroc_draws
from study.records.outputs import Targets
from tl_core.models.heads import probabilities
from tl_core.objectives.losses import log_losses
from tl_core.objectives.metrics import hits
from tl_core.objectives.outputs import Outputs


@dataclass(frozen=True)
class ImageScores:
    """One trained network on the N test images, which are the same in every trial of a study."""

    labels: np.ndarray
    """int64 [N]."""
    logits: np.ndarray
    """float64 [N, 1] for two classes, else [N, K]."""
    values: dict[str, np.ndarray]
    """float64 [N] for `test_accuracy`, `test_log_loss`, the same after temperature scaling
    (`test_log_loss_scaled`), and `test_brightness_mae`: the score is the mean over the images."""
    scores: dict[str, float] = field(default_factory=dict)
    """Those that a trial does not compute itself. `test_brightness_mae_baseline` is that of
    predicting the training photos' mean."""

    @cached_property
    def auroc_draws(self) -> np.ndarray:
        """AUROC on the images, then on draws of them; float64 [1 + B]."""
        return auroc_draws(self.logits, self.labels)


def score_images(outputs: Mapping[str, Outputs], targets: Mapping[str, Targets]) -> ImageScores:
    """Score every test image; validation gives the temperature.

    Args:
        outputs: of one network, on `val` and `test`.
        targets: of the same images.
    """
    test, truth = outputs["test"], targets["test"]
    logits, labels = test.logits.double(), torch.from_numpy(truth.labels)
    temperature = fit_temperature(outputs["val"].logits.numpy(), targets["val"].labels)
    right, light = hits(logits, labels), torch.from_numpy(truth.brightness)
    values = {
        "test_accuracy": right.double(),
        "test_log_loss": log_losses(logits, labels),
        "test_log_loss_scaled": log_losses(logits / temperature, labels),
        "test_brightness_mae": (test.brightness.double() - light).abs(),
    }
    errors = {
        f"test_calibration_error{name}": calibration_error(
            probabilities(scaled).amax(dim=-1).numpy(), right.numpy()
        )
        for name, scaled in (("", logits), ("_scaled", logits / temperature))
    }
    if truth.train_brightness is not None:
        off = (light - truth.train_brightness).abs().mean().item()
        errors["test_brightness_mae_baseline"] = off
    return ImageScores(
        truth.labels,
        logits.numpy(),
        {name: found.numpy() for name, found in values.items()},
        {"test_log_loss_scaled": values["test_log_loss_scaled"].mean().item(), **errors},
    )
