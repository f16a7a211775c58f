"""Trials on classes of different sizes, weighted so that all classes count alike in training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import SIDE, draw_folder
from tests.support.core.trials import CPU, STILL, Trials, untimed
from tl_core.config import FROZEN, MODES, Mode
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.objectives.losses import classification_loss
from tl_core.training.setup import Inputs, TrialSetup
from tl_core.training.sweep import run_sweep
from tl_core.training.train import TrialResult, run_trial

PLENTY = 12
"""Images of the first class in a training subset at 0.6; there are 4 of the second."""


@pytest.fixture(scope="module")
def uneven_images(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> ImageSet:
    """20 images of one class and 7 of the other."""
    folder = draw_folder(tmp_path_factory.mktemp("uneven") / "photos", ("cat", "dog"))
    for path in sorted((folder / "dog").iterdir())[7:]:
        path.unlink()
    return load_images(folder_source(folder), SIDE, shared_cache)


@pytest.fixture
def uneven(trials: Trials, uneven_images: ImageSet) -> Trials:
    return Trials(uneven_images, trials.cache, Path(trials.weights))


def run(trials: Trials, mode: str, class_weights: str = "balanced", **changes: Any) -> TrialResult:
    changes = {"train_ratio": 0.6, "read_test": True} | changes
    return trials.run(mode, class_weights=class_weights, **changes)


def test_every_seed_has_the_same_weights(uneven: Trials) -> None:
    inputs = Inputs(uneven.images, uneven.cache, CPU)
    for seed in range(5):
        setup = TrialSetup(uneven.config("freeze", train_ratio=0.6, seed=seed), inputs)
        assert setup.class_weights([seed]) is None
        balanced = setup.config.model_copy(update={"class_weights": "balanced"})
        weights = TrialSetup(balanced, inputs).class_weights([seed])
        assert weights is not None
        # N / (K n_c) with 12 and 4 training images.
        assert np.bincount(uneven.images.labels[setup.split(seed).train]).tolist() == [PLENTY, 4]
        assert weights[0].tolist() == pytest.approx([16 / 24, 16 / 8])


@pytest.mark.parametrize("mode", ["freeze", "probe"])
def test_a_trial_of_several_seeds_is_the_mean_of_its_seeds(uneven: Trials, mode: Mode) -> None:
    together, *alone = (
        run(uneven, mode, seed=seed, seeds=seeds)
        for seed, seeds in ((3, 3), (3, 1), (4, 1), (5, 1))
    )
    last = together.history[-1]
    for name in ("train_loss", "val_log_loss", "val_loss", "val_balanced_accuracy"):
        mean = np.mean([getattr(one.history[-1], name) for one in alone])
        assert getattr(last, name) == pytest.approx(mean, abs=1e-4), name
    mean = np.mean([one.test["test_log_loss"] for one in alone])
    assert together.test["test_log_loss"] == pytest.approx(mean, abs=1e-4)


def test_a_trial_of_a_sweep_has_the_numbers_that_it_has_alone(uneven: Trials) -> None:
    changes = {"class_weights": "balanced", "train_ratio": 0.6}
    inputs = Inputs(uneven.images, uneven.cache, CPU)
    configs = [
        uneven.config("freeze", lr=lr, aux_weight=weight, seed=seed, **changes)
        for lr, weight, seed in ((1e-3, 0.0, 0), (1e-2, 0.3, 0), (1e-3, 0.3, 1))
    ]
    for config, swept in zip(configs, run_sweep(configs, inputs, read_test=True), strict=True):
        alone = run_trial(config, uneven.images, uneven.cache, CPU, read_test=True)
        assert swept.test == pytest.approx(alone.test, abs=1e-4)
        for one, other in zip(swept.history, alone.history, strict=True):
            assert one.train_loss == pytest.approx(other.train_loss, abs=1e-4)
            assert one.val_log_loss == pytest.approx(other.val_log_loss, abs=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_training_is_weighted_and_scores_are_not(uneven: Trials, mode: Mode) -> None:
    """At a rate of almost zero, the training loss is that of the start: weighted, or not."""
    still = {"lr": STILL, "epochs": 1, "head_lr_ratio": 1.0}
    plain, weighted = (run(uneven, mode, kind, **still) for kind in ("none", "balanced"))
    assert plain.test["test_log_loss"] == pytest.approx(_test_loss(plain, uneven.images))
    assert weighted.test["test_log_loss"] == pytest.approx(_test_loss(weighted, uneven.images))
    started_alike = mode in ("freeze", "finetune", "scratch")
    same = weighted.history[-1].val_log_loss == pytest.approx(plain.history[-1].val_log_loss)
    assert same == started_alike, "partial and lp_ft start from the probe, which is weighted"
    assert weighted.history[-1].train_loss != pytest.approx(plain.history[-1].train_loss)


def _test_loss(result: TrialResult, images: ImageSet) -> float:
    labels = torch.from_numpy(images.labels[result.split.test])
    return classification_loss(result.outputs["test"].logits.double(), labels).item()


@pytest.mark.parametrize("mode", MODES)
def test_classes_of_one_size_are_weighted_alike(trials: Trials, mode: Mode) -> None:
    changes = {"seeds": 2 if mode in FROZEN else 1}
    plain, weighted = (run(trials, mode, kind, **changes) for kind in ("none", "balanced"))
    for one, other in zip(untimed(plain), untimed(weighted), strict=True):
        for name, value in vars(one).items():
            assert value is getattr(other, name) or value == pytest.approx(getattr(other, name))


@pytest.mark.parametrize("mode", ["freeze", "finetune", "probe"])
def test_the_small_class_is_found_more_often(uneven: Trials, mode: Mode) -> None:
    """Its mean probability rises on the images of validation and test."""
    sure = []
    for kind in ("none", "balanced"):
        result = run(uneven, mode, kind, epochs=4)
        logits = torch.cat([part.logits for part in result.outputs.values()])
        sure.append(logits.sigmoid().mean().item())
    assert sure[1] > sure[0]
