"""One trial: from a TrialConfig and an ImageSet to metrics of each epoch and a trained net.

`run_trial` is one function of plain values that reports through a callback; it knows no tuner.
"""

import copy
import math
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tl_core.config import EpochMetrics, Precision, Report, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import Split, make_split
from tl_core.models.backbones import Backbone, library_versions, load_backbone
from tl_core.models.heads import Heads, HeadStack, TwoHeadedNet
from tl_core.text import pluralize
from tl_core.training.batches import epoch_order, eval_batch, pixel_reader, stacked_order
from tl_core.training.checkpoints import Checkpoint, CheckpointStore
from tl_core.training.features import load_features
from tl_core.training.fit import fit, score
from tl_core.training.learners import Learner, NetLearner, StackLearner
from tl_core.training.memory import explain_oom
from tl_core.training.weighting import Weighting, make_weighting

HEAD_LR = 1e-3
"""Adam's learning rate in the first stage of `lp_ft`, where the heads alone learn."""
_EVAL_ROWS = 8192
"""Rows of features that stacked heads score at once."""


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
    checkpoint: CheckpointStore | None = None,
    verify: bool = True,
) -> TrialResult:
    """Train one configuration; the last epoch is the one that counts.

    `freeze` trains the heads of `config.seeds` seeds on cached features, all at once, and reports
    their means. `lp_ft` (Kumar et al., ICLR 2022) does so for `config.epochs` epochs that are not
    reported, at `HEAD_LR`, and then trains everything.

    Args:
        config: what to train.
        images: the decoded data set, of the configuration's image size.
        cache: folder of the feature cache.
        device: where the net learns.
        report: called after every epoch.
        read_test: score the test set at the end. Off while a study searches: configurations are
            chosen on validation.
        checkpoint: where a trial that trains the whole network keeps its state. Each epoch but the
            last is saved before it is reported. If there is a state, the trial reports its epochs
            again and continues after them, to the same numbers. A damaged state, or that of
            another trial, is replaced, with a `CheckpointWarning`. The caller deletes the state
            once it has recorded the result.
        verify: check the hash of cached features before use; a study does so for its workers.

    Raises:
        InputError: a class would be missing from a split.
        BackboneError: the backbone is unknown, or its weights are unavailable.
        DivergedError: a metric is not finite; names it and the epoch.
        GpuMemoryError: the whole network does not fit the GPU; names the batch size that does.
        OSError: the checkpoint can't be written.
    """
    if images.image_size != config.image_size:
        raise ValueError(f"images are {images.image_size} px, config says {config.image_size} px")
    setup = _Setup(config, images, cache, device, verify)
    learner: Learner
    if config.mode == "freeze":
        learner, history = _train_heads(setup, config.lr, report)
    else:
        learner, history = _train_network(setup, report, checkpoint)
    scores = score(learner, setup.splits[0].test) if read_test else {}
    test = {f"test_{name}": value.mean().item() for name, value in scores.items()}
    setup.net.to(device)  # `freeze` has left its network where it was.
    warning = chance_warning(config, images, history[-1])
    warnings = (warning,) if warning else ()
    return TrialResult(history, setup.net, setup.backbone, setup.splits[0], test, warnings)


class _Setup:
    """What all stages of a trial share; one split and one pair of heads for each seed."""

    def __init__(
        self, config: TrialConfig, images: ImageSet, cache: Path, device: torch.device, verify: bool
    ) -> None:
        self.config, self.images, self.device = config, images, device
        self._cache, self._verify = cache, verify
        self.backbone = _backbone(config)
        self.seeds = range(config.seed, config.seed + config.seeds)
        ratio, split_seed = config.train_ratio, config.split_seed
        self.splits = [make_split(images.labels, ratio, split_seed, seed) for seed in self.seeds]
        self.heads = [_heads(self.backbone, len(images.classes), seed) for seed in self.seeds]
        self.net = TwoHeadedNet(self.backbone.network, self.heads[0], self.backbone.precision)
        # Shared as well: the next stage starts from the weights that one stage has learned.
        self._weighting = make_weighting(config.aux_weight, config.seeds, device)
        self._mirror = len(images.labels) if config.hflip else 0

    def on_features(self, stack: HeadStack) -> StackLearner:
        data = (self.images, self.backbone, self._cache)
        features = load_features(*data, self.device, self.config.hflip, self._verify)
        rows = torch.from_numpy(features).to(self.device)
        trains = [split.train for split in self.splits]
        order = partial(stacked_order, trains, self.seeds, mirror=self._mirror)
        stack.to(self.device)
        size = self.config.batch_size
        return StackLearner(stack, *self._targets(), order, size, _EVAL_ROWS, rows)

    def on_pixels(self) -> NetLearner:
        c = self.config
        model = self.net.to(self.device).to(memory_format=torch.channels_last)
        if c.compile:
            model.network.compile()
        read = pixel_reader(self.images, self.backbone, self.device)
        order = partial(epoch_order, self.splits[0].train, c.seed, mirror=self._mirror)
        size = eval_batch(self.device, self.images.image_size)
        return NetLearner(model, *self._targets(), order, c.batch_size, size, read)

    def identity(self) -> dict[str, Any]:
        """What decides the trial's numbers, as plain values."""
        # The content of a weights file counts, not its path on this machine.
        inputs = {"image_set": self.images.key, "weights_id": self.backbone.weights_id}
        where = {"device": self.device.type, **library_versions()}
        return self.config.model_dump(exclude={"weights"}) | inputs | where

    def _targets(self) -> tuple[Tensor, Tensor, Weighting]:
        labels = torch.from_numpy(self.images.labels).to(self.device)
        brightness = torch.from_numpy(self.images.brightness).to(self.device)
        return labels, brightness, self._weighting


def _train_heads(
    setup: _Setup, lr: float, report: Report
) -> tuple[StackLearner, tuple[EpochMetrics, ...]]:
    """Train the heads on the features of the frozen backbone; the net gets the first seed's."""
    stack = HeadStack(setup.heads)
    learner = setup.on_features(stack)
    history = fit(learner, setup.splits[0], setup.config, lr, report)
    stack.copy_to(setup.net.heads)
    return learner, history


def _train_network(
    setup: _Setup, report: Report, store: CheckpointStore | None
) -> tuple[NetLearner, tuple[EpochMetrics, ...]]:
    """Train everything, after the checkpoint if there is one."""
    config, split = setup.config, setup.splits[0]
    checkpoint = Checkpoint(store, setup.identity()) if store else None
    if needs_features(config.mode) and not (checkpoint and checkpoint.resumes):
        _train_heads(setup, HEAD_LR, lambda _: None)
    learner = setup.on_pixels()
    train = partial(fit, learner, split, config, config.lr, report, checkpoint)
    return learner, explain_oom(learner, train)


def needs_pretrained(mode: str) -> bool:
    """Whether the mode starts from the weights that `weights` names."""
    return mode != "scratch"


def needs_features(mode: str) -> bool:
    """Whether the mode trains heads on the features of the frozen backbone."""
    return mode in ("freeze", "lp_ft")


def _backbone(config: TrialConfig) -> Backbone:
    """Return the backbone; a copy if it will learn."""
    if config.mode == "scratch" or config.weights == "none":
        torch.manual_seed(config.seed)
        drawn = load_backbone(config.backbone, "none", config.image_size)
        weights_id = f"random seed {config.seed} torch {torch.__version__}"
        return replace(drawn, weights_id=weights_id, precision=config.precision)
    kept = pretrained(config.backbone, config.weights, config.image_size, config.precision)
    if config.mode == "freeze":
        return kept
    return replace(kept, network=copy.deepcopy(kept.network))


@lru_cache(maxsize=1)
def pretrained(name: str, weights: str, image_size: int, precision: Precision) -> Backbone:
    """Return `load_backbone(...)`, kept between trials: callers must not change it."""
    return replace(load_backbone(name, weights, image_size), precision=precision)


def _heads(backbone: Backbone, n_classes: int, seed: int) -> Heads:
    # Seeded here, after the backbone is built, so that all modes start from the same heads.
    torch.manual_seed(seed)
    return Heads(backbone.n_features, n_classes)


def chance_warning(config: TrialConfig, images: ImageSet, last: EpochMetrics) -> str | None:
    """Return a warning if frozen features separate the classes no better than chance does."""
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
        f"chance ({chance:.3f}, the share of the largest class) on {counts.sum()} validation "
        "images: is the preprocessing right for these weights, does the learning rate "
        f"{config.lr:.2g} fit {pluralize(config.epochs, 'epoch')}, or are these images too few to "
        "tell?"
    )
