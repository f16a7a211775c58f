"""The outputs of one confirming trial, as a value of each score for each test image."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from study.analysis.pigeonhole import auroc_draws
from study.records.outputs import Targets
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
    """float64 [N] for `test_accuracy`, `test_log_loss` and `test_brightness_mae`: the score is the
    mean over the images."""

    @cached_property
    def auroc_draws(self) -> np.ndarray:
        """AUROC on the images, then on draws of them; float64 [1 + B]."""
        return auroc_draws(self.logits, self.labels)


def score_images(outputs: Outputs, targets: Targets) -> ImageScores:
    """Score every image; both have the same N."""
    logits, labels = outputs.logits.double(), torch.from_numpy(targets.labels)
    error = outputs.brightness.double() - torch.from_numpy(targets.brightness)
    values = {
        "test_accuracy": hits(logits, labels).double(),
        "test_log_loss": log_losses(logits, labels),
        "test_brightness_mae": error.abs(),
    }
    return ImageScores(
        targets.labels, logits.numpy(), {name: found.numpy() for name, found in values.items()}
    )
