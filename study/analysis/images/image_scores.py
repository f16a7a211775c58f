"""The outputs of one confirming trial, as a value of each score for each test image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from study.analysis.images.calibration import bins_of, fit_temperature
from study.intervals.by_class import Interval, balanced_accuracy_interval, macro_f1_interval
from study.intervals.by_class_grouped import (
    Linear,
    balanced_accuracy_table,
    grouped_interval,
    macro_f1_table,
    values_around,
)
from study.intervals.grouped import number_groups
from study.intervals.linear import calibration_values, r2_values, skill_values
from study.intervals.pigeonhole import auroc_changes, auroc_draws, auroc_interval
from study.intervals.two_way import DIFFERENCE_PSEUDO, SHARE_PSEUDO, Floats, TInterval
from study.records.outputs import Targets
from tl_core.aux_task import BRIGHTNESS, AuxTask
from tl_core.models.heads import choose, probabilities
from tl_core.objectives.losses import log_losses
from tl_core.objectives.metrics import hits
from tl_core.objectives.outputs import Outputs


@dataclass(frozen=True)
class ImageScores:
    """One trained network on the N test images, which are the same in every trial of a study."""

    labels: np.ndarray
    """int64 [N]."""
    chosen: np.ndarray
    """Predicted classes, int64 [N]. Logits are not kept: those of many trials fill the memory."""
    values: dict[str, np.ndarray]
    """float64 [N] for each score that is the mean over the images: `test_accuracy`,
    `test_log_loss`, that of the auxiliary task such as `test_brightness_mae`; and, by linear values
    (`study.intervals.linear`), `test_calibration_mse` and its skill, such as `test_brightness_r2`.
    Those with `_scaled` are after temperature scaling. Those of the auxiliary task are NaN where
    its label is missing, and no skill is there if all labels are the same."""
    scores: dict[str, float] = field(default_factory=dict)
    """Those that a trial does not compute itself. `test_brightness_mae_baseline`, and that of any
    other auxiliary task, is the score of a constant: the training photos' mean or most frequent
    class."""
    groups: np.ndarray | None = None
    """int64 [N], from 0 to G - 1: images that are alike; None if each is its own."""
    named: bool = False
    """Whether users named the groups; else they are copies of a photo."""
    auroc_draws: np.ndarray = field(default_factory=lambda: np.empty(0))
    """AUROC on the images, then on draws of them (`study.intervals.pigeonhole`); float64 [1 + B],
    or empty if nothing asks for AUROC."""
    auroc_changes: np.ndarray = field(default_factory=lambda: np.empty(0))
    """How much AUROC changes with one more of each image; float64 [N], or empty as above."""

    def there(self, score: str) -> np.ndarray:
        """Which images have a score, bool [N]: some may lack the label of the auxiliary task."""
        return np.asarray(np.isfinite(self.values.get(score, self.labels)))

    def new_groups(self, score: str) -> int | None:
        """Groups that a user named, of the images with a score; None without any."""
        if not self.named or self.groups is None:
            return None
        return len(np.unique(self.groups[self.there(score)]))

    @property
    def of_one_group(self) -> bool:
        """Whether all images are of one group, which does not tell how much another differs."""
        return self.groups is not None and not self.groups.any()

    @property
    def own_groups(self) -> np.ndarray:
        """The groups, or each image as its own; int64 [N]."""
        return np.arange(len(self.labels)) if self.groups is None else self.groups


def score_images(
    outputs: Mapping[str, Outputs],
    targets: Mapping[str, Targets],
    named: bool = False,
    task: AuxTask = BRIGHTNESS,
) -> ImageScores:
    """Score every test image; validation gives the temperature.

    Args:
        outputs: of one network, on `val` and `test`.
        targets: of the same images.
        named: whether users named the groups of images.
        task: the auxiliary one.
    """
    test, truth = outputs["test"], targets["test"]
    logits, labels = test.logits.double(), torch.from_numpy(truth.labels)
    temperature = fit_temperature(outputs["val"].logits.numpy(), targets["val"].labels)
    right = hits(logits, labels).double().numpy()
    groups = None if truth.groups is None else number_groups(truth.groups)
    values = {"test_accuracy": right, **_of_task(task, test.auxiliary, truth.aux)}
    for name, scaled in (("", logits), ("_scaled", logits / temperature)):
        values[f"test_log_loss{name}"] = log_losses(scaled, labels).numpy()
        confidence = probabilities(scaled).amax(dim=-1).numpy()
        gaps, bins = right - confidence, bins_of(confidence)
        values[f"test_calibration_mse{name}"] = calibration_values(gaps, bins, groups)
    own = ("test_log_loss_scaled", "test_calibration_mse", "test_calibration_mse_scaled")
    scores = {name: float(values[name].mean()) for name in own}
    if truth.constant is not None:
        name = task.scores[0]
        constant = _against(task, np.full(len(labels), truth.constant), truth.aux)
        scores[f"test_{name}_baseline"] = float(np.nanmean(constant))
    changes = auroc_changes(logits.numpy(), truth.labels)
    draws = auroc_draws(logits.numpy(), truth.labels, groups, changes)
    chosen = choose(logits).numpy()
    return ImageScores(truth.labels, chosen, values, scores, groups, named, draws, changes)


def _of_task(task: AuxTask, outputs: Tensor, target: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of the auxiliary task of each image, [N] each, NaN where its label is missing."""
    if task.kind == "none":
        return {}
    is_number = task.kind == "regression"
    said = (outputs.double() if is_number else choose(outputs)).numpy()
    first, second = (f"test_{name}" for name in task.scores)
    own = _against(task, said, target)
    there = ~np.isnan(own)
    if not np.ptp(target[there]):
        return {first: own}
    skill = np.full(len(own), np.nan)
    if is_number:
        skill[there] = r2_values(said[there], target[there].astype(float))
    else:
        skill[there] = skill_values(own[there], target[there])
    return {first: own, second: skill}


def _against(task: AuxTask, said: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The error of each image in the task's own unit, or whether its class is right, [N]."""
    if task.kind == "regression":
        return np.asarray(np.abs(said - target.astype(float)))
    return np.where(target < 0, np.nan, said == target)


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
    table = linear(chosen, labels, groups)
    if other is None:
        return grouped_interval(table, labels, groups, SHARE_PSEUDO)
    table = table - linear(other, labels, groups)
    return grouped_interval(table, labels, groups, DIFFERENCE_PSEUDO)


def linear_values(score: str, networks: Sequence[ImageScores]) -> Floats:
    """Return values whose mean over the images is the score of each network, [S, N].

    They are exact for a score that is such a mean, and to first order for those of `OF_ALL_IMAGES`:
    how much each image adds to it, made up for its share of its class or of its group's.
    """
    if score not in OF_ALL_IMAGES:
        return np.array([one.values[score] for one in networks])
    labels, groups = networks[0].labels, networks[0].own_groups
    if score == "test_auroc":
        areas = np.array([one.auroc_draws[0] for one in networks])
        changes = np.array([one.auroc_changes for one in networks])
        return values_around(areas, changes, labels, groups)
    linear = {"test_balanced_accuracy": _BALANCED, "test_macro_f1": _F1}[score][1]
    return linear(np.array([one.chosen for one in networks]), labels, groups)


_BALANCED = (balanced_accuracy_interval, balanced_accuracy_table)
_F1 = (macro_f1_interval, macro_f1_table)
OF_ALL_IMAGES: dict[str, Callable[[Sequence[ImageScores], Sequence[ImageScores]], TInterval]] = {
    "test_auroc": _auroc,
    "test_balanced_accuracy": partial(_by_class, *_BALANCED),
    "test_macro_f1": partial(_by_class, *_F1),
}
"""Scores that are no means over images but have an interval on new photos: from a network for each
seed, and those to compare them with, if any."""
