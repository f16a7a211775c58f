"""One trial: a TrialConfig and an ImageSet become epochs of metrics and a trained net.

The trial is one function of plain values that reports through a callback; it knows no tuner.
"""

import copy
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from tl_core.backbones import Backbone, load_backbone
from tl_core.batches import pixel_reader, row_reader
from tl_core.config import TrialConfig
from tl_core.datasets import ImageSet
from tl_core.features import load_features
from tl_core.fit import EpochMetrics, Learner, Report, fit, score
from tl_core.heads import Heads, TwoHeadedNet
from tl_core.splits import Split, make_split

HEAD_LR = 1e-3
"""Adam's learning rate in the first stage of `lp_ft`, where the heads alone learn."""


@dataclass(frozen=True)
class TrialResult:
    """A finished trial."""

    history: tuple[EpochMetrics, ...]
    net: TwoHeadedNet
    backbone: Backbone
    split: Split
    test: dict[str, float]
    """`test_accuracy` and the other test scores; empty unless the test set was read."""
    warnings: tuple[str, ...]


def run_trial(
    config: TrialConfig,
    images: ImageSet,
    cache: Path,
    device: torch.device,
    report: Report = lambda _: None,
    read_test: bool = False,
) -> TrialResult:
    """Train one configuration with one seed; the last epoch is the one that counts.

    `freeze` trains the heads on cached features. `lp_ft` (Kumar et al., ICLR 2022) does so for
    `config.epochs` epochs that are not reported, at `HEAD_LR`, and then trains everything.

    Args:
        config: what to train.
        images: the decoded data set, of the configuration's image size.
        cache: folder of the feature cache.
        device: where the net learns.
        report: called after every epoch.
        read_test: score the test set at the end. Off while searching: configurations are chosen
            on validation.

    Raises:
        InputError: a class would be missing from a split.
        BackboneError: unknown backbone, or its weights can't be had.
        DivergedError: a metric left the finite numbers; names it and the epoch.
    """
    if images.image_size != config.image_size:
        raise ValueError(f"images are {images.image_size} px, config says {config.image_size} px")
    split = make_split(images.labels, config.train_ratio, config.split_seed, config.seed)
    backbone = _backbone(config)
    net = TwoHeadedNet(backbone.network, _heads(backbone, len(images.classes), config.seed))
    labels = torch.from_numpy(images.labels).to(device)
    brightness = torch.from_numpy(images.brightness).to(device)

    def on_features() -> Learner:
        read = row_reader(load_features(images, backbone, cache, device), device)
        return Learner(net.heads.to(device), read, labels, brightness, config.aux_weight)

    def on_pixels() -> Learner:
        model = net.to(device).to(memory_format=torch.channels_last)
        read = pixel_reader(images, backbone, device)
        return Learner(model, read, labels, brightness, config.aux_weight)

    if config.mode == "lp_ft":
        fit(on_features(), split, config, HEAD_LR, lambda _: None)
    learner = on_features() if config.mode == "freeze" else on_pixels()
    history = fit(learner, split, config, config.lr, report)
    test = {f"test_{k}": v for k, v in score(learner, split.test).items()} if read_test else {}
    net.to(device)  # After `freeze`, whose network had no need to be there.
    warning = chance_warning(config, images, history[-1])
    return TrialResult(history, net, backbone, split, test, (warning,) if warning else ())


def needs_pretrained(mode: str) -> bool:
    """Whether the mode starts from the weights that `weights` names."""
    return mode != "scratch"


def needs_features(mode: str) -> bool:
    """Whether the mode trains heads on the features of the frozen backbone."""
    return mode in ("freeze", "lp_ft")


def _backbone(config: TrialConfig) -> Backbone:
    """Return the backbone, one's own copy if it will learn."""
    if config.mode == "scratch" or config.weights == "none":
        torch.manual_seed(config.seed)
        drawn = load_backbone(config.backbone, "none", config.image_size)
        return replace(drawn, weights_id=f"random seed {config.seed} torch {torch.__version__}")
    kept = pretrained(config.backbone, config.weights, config.image_size)
    if config.mode == "freeze":
        return kept
    return replace(kept, network=copy.deepcopy(kept.network))


@lru_cache(maxsize=1)
def pretrained(name: str, weights: str, image_size: int) -> Backbone:
    """Return `load_backbone(...)`, kept between trials: nothing may write to it."""
    return load_backbone(name, weights, image_size)


def _heads(backbone: Backbone, n_classes: int, seed: int) -> Heads:
    # Seeded after the backbone is built, so that all modes start from the same heads.
    torch.manual_seed(seed)
    return Heads(backbone.n_features, n_classes)


def chance_warning(config: TrialConfig, images: ImageSet, last: EpochMetrics) -> str | None:
    """Say so when frozen features tell the classes apart no better than guessing does."""
    if config.mode != "freeze" or config.weights == "none" or config.aux_weight == 1:
        return None
    split = make_split(images.labels, config.train_ratio, config.split_seed, config.seed)
    counts = np.bincount(images.labels[split.val])
    chance = counts.max() / counts.sum()
    noise = 2 * math.sqrt(chance * (1 - chance) / counts.sum())
    if last.val_accuracy >= chance + noise:
        return None
    return (
        f"frozen validation accuracy {last.val_accuracy:.3f} is within two standard errors of "
        f"chance ({chance:.3f}): is the preprocessing right for these weights, or the learning "
        f"rate {config.lr:g} too low for {config.epochs} epochs?"
    )
