"""The outputs of one confirming trial, as a value of each score for each test image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
import torch

from study.analysis.images.calibration import bins_of, fit_temperature
from study.intervals.by_class import Interval, balanced_accuracy_interval, macro_f1_interval
from study.intervals.grouped import grouped_with_pseudo, number_groups
from study.intervals.grouped_by_class import (
    Linear,
    balanced_accuracy_table,
    macro_f1_table,
)
from study.intervals.linear import calibration_values, r2_values
from study.intervals.pigeonhole import auroc_draws, auroc_interval
from study.intervals.two_way import DIFFERENCE_PSEUDO, SHARE_PSEUDO, TInterval, two_way
from study.records.outputs import Targets
from tl_core.models.heads import choose, probabilities
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
    """float64 [N] for each score that is the mean over the images: `test_accuracy`,
    `test_log_loss`, `test_brightness_mae`; and, by linear values (`study.intervals.linear`),
    `test_calibration_mse` and `test_brightness_r2`. Those with `_scaled` are after temperature
    scaling. No R2 if all images are equally bright."""
    scores: dict[str, float] = field(default_factory=dict)
    """Those that a trial does not compute itself. `test_brightness_mae_baseline` is that of
    predicting the training photos' mean."""
    groups: np.ndarray | None = None
    """int64 [N], from 0 to G - 1: images that are alike; None if each is its own."""
    named: bool = False
    """Whether users named the groups; else they are copies of a photo."""

    @property
    def new_groups(self) -> int | None:
        """Groups that a user named, whose number counts for new ones; None without any."""
        return int(self.groups.max()) + 1 if self.named and self.groups is not None else None

    @property
    def of_one_group(self) -> bool:
        """Whether all images are of one group, which does not tell how much another differs."""
        return self.groups is not None and not self.groups.any()

    @property
    def chosen(self) -> np.ndarray:
        """Predicted classes, int64 [N]."""
        return choose(torch.from_numpy(self.logits)).numpy()

    @cached_property
    def auroc_draws(self) -> np.ndarray:
        """AUROC on the images, then on draws of them; float64 [1 + B]."""
        return auroc_draws(self.logits, self.labels, self.groups)


def score_images(
    outputs: Mapping[str, Outputs], targets: Mapping[str, Targets], named: bool = False
) -> ImageScores:
    """Score every test image; validation gives the temperature.

    Args:
        outputs: of one network, on `val` and `test`.
        targets: of the same images.
        named: whether users named the groups of images.
    """
    test, truth = outputs["test"], targets["test"]
    logits, labels = test.logits.double(), torch.from_numpy(truth.labels)
    temperature = fit_temperature(outputs["val"].logits.numpy(), targets["val"].labels)
    right = hits(logits, labels).double().numpy()
    light, predicted = truth.brightness.astype(float), test.brightness.double().numpy()
    groups = None if truth.groups is None else number_groups(truth.groups)
    values = {"test_accuracy": right, "test_brightness_mae": np.abs(predicted - light)}
    for name, scaled in (("", logits), ("_scaled", logits / temperature)):
        values[f"test_log_loss{name}"] = log_losses(scaled, labels).numpy()
        confidence = probabilities(scaled).amax(dim=-1).numpy()
        gaps, bins = right - confidence, bins_of(confidence)
        values[f"test_calibration_mse{name}"] = calibration_values(gaps, bins, groups)
    if np.ptp(light) > 0:
        values["test_brightness_r2"] = r2_values(predicted, light)
    own = ("test_log_loss_scaled", "test_calibration_mse", "test_calibration_mse_scaled")
    scores = {name: float(values[name].mean()) for name in own}
    if truth.train_brightness is not None:
        off = np.abs(light - truth.train_brightness).mean()
        scores["test_brightness_mae_baseline"] = float(off)
    return ImageScores(truth.labels, logits.numpy(), values, scores, groups, named)


def _auroc(networks: Sequence[ImageScores], minus: Sequence[ImageScores]) -> TInterval:
    draws = np.array([one.auroc_draws for one in networks])
    if minus:
        draws = draws - np.array([one.auroc_draws for one in minus])
    return auroc_interval(draws, networks[0].labels, networks[0].groups)


def _by_class(
    interval: Interval,
    linear: Linear,
    networks: Sequence[ImageScores],
    minus: Sequence[ImageScores],
) -> TInterval:
    chosen = np.array([one.chosen for one in networks])
    other = np.array([one.chosen for one in minus]) if minus else None
    labels, groups = networks[0].labels, networks[0].groups
    if groups is None:
        return interval(chosen, labels, other)
    table = linear(chosen, labels)
    if other is None:
        return two_way(grouped_with_pseudo(table, groups, SHARE_PSEUDO))
    return two_way(grouped_with_pseudo(table - linear(other, labels), groups, DIFFERENCE_PSEUDO))


_BALANCED = (balanced_accuracy_interval, balanced_accuracy_table)
_F1 = (macro_f1_interval, macro_f1_table)
OF_ALL_IMAGES: dict[str, Callable[[Sequence[ImageScores], Sequence[ImageScores]], TInterval]] = {
    "test_auroc": _auroc,
    "test_balanced_accuracy": partial(_by_class, *_BALANCED),
    "test_macro_f1": partial(_by_class, *_F1),
}
"""Scores that are no means over images but have an interval on new photos: from a network for each
seed, and those to compare them with, if any."""
