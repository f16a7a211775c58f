"""What the study must find on real photos, with a backbone whose weights come in a package."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from tl_core.config import Mode, TrialConfig
from tl_core.data.datasets import load_images
from tl_core.data.sources import folder_source
from tl_core.runtime import keep_freed_memory
from tl_core.training.train import TrialResult, run_trial

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


class Photos:
    """Runs trials on the photos; decoded images and features are kept between tests."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache

    def run(
        self, mode: Mode, train_ratio: float, lr: float | None = None, **changes: Any
    ) -> TrialResult:
        """Train one trial on the CPU and read the test set.

        At 128 px all share one run of the backbone, which takes half a minute of a core. At 224 px,
        the size of the weights, it takes three times as long, and accuracies are 4 points higher.
        """
        plain = {"backbone": "efficientnet_lite0", "image_size": 128, "lr": lr}
        config = TrialConfig(mode=mode, train_ratio=train_ratio, **plain | changes)
        images = load_images(folder_source(self.folder), config.image_size, self.cache)
        return run_trial(config, images, self.cache, torch.device("cpu"), read_test=True)

    def val_log_losses(self, result: TrialResult) -> Tensor:
        """Of S seeds on N validation images, [S, N]."""
        images = load_images(folder_source(self.folder), 128, self.cache)
        logits = result.outputs["val"].logits.squeeze(-1)
        labels = torch.from_numpy(images.labels[result.split.val]).expand_as(logits)
        return binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")


@pytest.fixture(scope="module")
def kept_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keep_freed_memory()
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def photos(cat_dog: Path, kept_cache: Path) -> Photos:
    return Photos(cat_dog, kept_cache)


@pytest.mark.parametrize(
    ("train_ratio", "lr", "epochs", "least"), [(0.1, 3e-3, 10, 0.92), (0.01, 3e-3, 30, 0.87)]
)
def test_frozen_backbone_needs_few_labels(
    photos: Photos, train_ratio: float, lr: float, epochs: int, least: float
) -> None:
    result = photos.run("freeze", train_ratio, lr, epochs=epochs, seeds=5)
    assert result.test["test_accuracy"] >= least


def test_fully_connected_net_stays_behind(photos: Photos) -> None:
    result = photos.run("scratch", 0.8, 1e-3, backbone="mlp", image_size=64, epochs=5)
    assert result.test["test_accuracy"] < 0.8


def test_finetuning_beats_random_weights(photos: Photos) -> None:
    # At 96 px and for 5 epochs: a fraction of the article's cost, and the gap is as wide.
    small = {"image_size": 96, "epochs": 5, "min_steps": 0}
    # At 1e-3, on some processors, the first steps destroy what the weights know.
    finetune = photos.run("finetune", 0.1, 1e-4, **small).test["test_accuracy"]
    scratch = photos.run("scratch", 0.1, 1e-3, **small).test["test_accuracy"]
    assert finetune - scratch >= 0.2


@pytest.mark.parametrize("train_ratio", [0.02, 0.1, 0.8])
def test_a_probe_is_not_above_the_best_trial_of_freeze(photos: Photos, train_ratio: float) -> None:
    """Up to two standard errors of the difference, over seeds and over validation images."""
    probe = photos.run("probe", train_ratio, seeds=5)
    rates = (1e-3, 3e-3, 1e-2, 3e-2)
    heads = [photos.run("freeze", train_ratio, lr, seeds=5) for lr in rates]
    best = min(heads, key=lambda head: head.history[-1].val_log_loss)
    lead = photos.val_log_losses(probe) - photos.val_log_losses(best)
    assert float(lead.mean()) == pytest.approx(
        probe.history[-1].val_log_loss - best.history[-1].val_log_loss, abs=1e-4
    )
    variance = sum(float(lead.mean(over).var()) / lead.shape[1 - over] for over in (0, 1))
    assert float(lead.mean()) <= 2 * math.sqrt(variance)


def test_at_a_rate_of_almost_zero_a_network_stays_where_it_starts(photos: Photos) -> None:
    """At 128 px the statistics of BatchNorm are not those of the weights: they must not move."""
    small = {"epochs": 1, "min_steps": 10}
    still, begun = photos.run("lp_ft", 0.02, 1e-9, **small), photos.run("probe", 0.02, **small)
    losses = [result.history[-1].val_log_loss for result in (still, begun)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert still.test["test_log_loss"] == pytest.approx(begun.test["test_log_loss"], abs=1e-4)
