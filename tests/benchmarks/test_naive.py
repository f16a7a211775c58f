"""The naive loop is the study's own trial, only slower: or their ratio would mean nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.speed.rows.study import finetune_gates
from benchmarks.speed.studies.naive import Photos, train_naively
from tests.conftest import SIDE, TINY
from tests.support.core.trials import CPU, Trials
from tl_core.config import EpochMetrics
from tl_core.data.datasets import ImageSet
from tl_core.models.backbones import load_backbone
from tl_core.training.batches import pixel_reader


@pytest.fixture
def own_trials(images: ImageSet, own_cache: Path, tiny_weights: Path) -> Trials:
    return Trials(images, own_cache, tiny_weights)


def series(history: list[EpochMetrics]) -> list[tuple[float, ...]]:
    return [(m.train_loss, m.train_accuracy, m.val_loss, m.val_log_loss) for m in history]


@pytest.mark.parametrize(
    ("mode", "changes", "within"),
    [
        ("freeze", {"lr": 1e-2, "epochs": 3}, 1e-4),
        # Adam's first step takes the sign of each gradient, and of tiny ones rounding decides that.
        ("finetune", {"lr": 1e-5, "epochs": 1}, 1e-3),
    ],
)
def test_naive_and_fast_trials_give_the_same_numbers(
    own_trials: Trials, photo_folder: Path, mode: str, changes: dict[str, Any], within: float
) -> None:
    changes |= {"aux_weight": 0.3, "seed": 3}
    fast = own_trials.run(mode, **changes).history
    told: list[EpochMetrics] = []
    naive = train_naively(own_trials.config(mode, **changes), photo_folder, CPU, told.append)
    assert told == naive
    assert [m.epoch for m in naive] == [m.epoch for m in fast]
    np.testing.assert_allclose(series(naive), series(list(fast)), atol=within)
    assert naive[-1].val_brightness_mae == pytest.approx(fast[-1].val_brightness_mae, abs=within)


def test_naive_trials_learn_no_weights(own_trials: Trials, photo_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"^the naive loop takes a fixed aux_weight, not auto$"):
        train_naively(own_trials.config("freeze", aux_weight="auto"), photo_folder, CPU)


def test_frozen_means_frozen_here_too(own_trials: Trials, photo_folder: Path) -> None:
    at_once, far = (
        train_naively(own_trials.config("freeze", lr=lr, epochs=1), photo_folder, CPU)[0]
        for lr in (1e-30, 1e-2)
    )
    assert at_once.val_log_loss != far.val_log_loss


def test_photos_are_what_the_pixel_reader_gives(
    images: ImageSet, photo_folder: Path, tiny_weights: Path
) -> None:
    backbone = load_backbone(TINY, str(tiny_weights), SIDE)
    photos = Photos(photo_folder, backbone, SIDE)
    everything = range(len(images.labels))
    read = pixel_reader(images, backbone, CPU)(np.array(everything))
    torch.testing.assert_close(torch.stack([photos[i][0] for i in everything]), read)
    np.testing.assert_array_equal([photos[i][1] for i in everything], images.labels)
    brightness = [photos[i][2] for i in everything]
    np.testing.assert_allclose(brightness, images.brightness, atol=1e-7)


def metrics(train_loss: float, val_accuracy: float) -> EpochMetrics:
    return EpochMetrics(1, train_loss, 0.5, 0.7, 0.7, val_accuracy, 0.5, 0.1, 0.0, 1.0)


@pytest.mark.parametrize(
    ("loss", "accuracy", "expected"),
    [
        (0.5099, 0.9, [True, True]),
        (0.5101, 0.9, [False, True]),
        (0.5, 0.87, [True, True]),
        (0.5, 0.86, [True, False]),
        (float("nan"), 0.9, [False, True]),
    ],
)
def test_finetune_gates(loss: float, accuracy: float, expected: list[bool]) -> None:
    gates = finetune_gates("trial 0", [metrics(loss, accuracy)], [metrics(0.5, 0.9)], 100)
    assert [gate.ok for gate in gates] == expected
