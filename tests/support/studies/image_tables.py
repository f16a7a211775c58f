"""Confirming trials with what each network says of each test image."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from study.analysis.estimates import Confirmed
from study.analysis.images.image_scores import ImageScores
from study.intervals.pigeonhole import auroc_changes, auroc_draws
from tests.support.studies.builders import make_confirmed
from tl_core.config import Mode
from tl_core.models.heads import choose


def with_images(
    trials: Sequence[Confirmed],
    hits: np.ndarray,
    groups: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    ranked: bool = True,
) -> list[Confirmed]:
    """Give each of S trials its row of hits, [S, N]: accuracies follow, and log losses.

    The labels take turns, if none are given. A network is as sure of a wrong answer as of a right
    one, at a log loss of 0.25 or 1.5. Without `ranked` it has no AUROC, whose draws take long.
    """
    if labels is None:
        labels = np.arange(hits.shape[1]) % 2
    sides = np.where(hits == 1, 1.0, -1.0) * np.where(labels == 1, 1.0, -1.0)
    found = []
    for trial, row, side in zip(trials, hits.astype(float), sides, strict=True):
        losses = np.where(row == 1, 0.25, 1.5)
        values = {"test_accuracy": row, "test_log_loss": losses}
        scores = {name: float(value.mean()) for name, value in values.items()}
        recalls = [row[labels == label].mean() for label in np.unique(labels)]
        scores["test_balanced_accuracy"] = float(np.mean(recalls))
        scores = trial.scores | scores
        if ranked:
            images = of_logits(labels, side[:, None], values, groups)
        else:
            images = ImageScores(labels, (side > 0).astype(np.int64), values, groups=groups)
            scores.pop("test_auroc", None)
        found.append(replace(trial, scores=scores, images=images))
    return found


def of_logits(
    labels: np.ndarray,
    logits: np.ndarray,
    values: dict[str, np.ndarray] | None = None,
    groups: np.ndarray | None = None,
) -> ImageScores:
    """One network, from its logits [N, 1] or [N, K]."""
    return ImageScores(
        labels,
        choose(torch.from_numpy(logits)).numpy(),
        values or {},
        groups=groups,
        auroc_draws=auroc_draws(logits, labels, groups),
        auroc_changes=auroc_changes(logits, labels),
    )


def seen(
    mode: Mode,
    train_ratio: float,
    hits: np.ndarray,
    groups: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    ranked: bool = True,
) -> list[Confirmed]:
    """One cell's trials, a row of hits each, [S, N]."""
    trials = make_confirmed(mode, train_ratio, [0.0] * len(hits))
    return with_images(trials, hits, groups, labels, ranked)


def seen_in_study(
    hits: np.ndarray, modes: Sequence[Mode], ratios: Sequence[float]
) -> list[Confirmed]:
    """The trials of a study, from hits [M, R, S, N], without AUROC."""
    return [
        trial
        for mode, curve in zip(modes, hits, strict=True)
        for ratio, cell in zip(ratios, curve, strict=True)
        for trial in seen(mode, ratio, cell, ranked=False)
    ]
