"""What every trial starts from: its backbone, its splits, its heads and its targets."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tl_core.config import FROZEN, Precision, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import Split
from tl_core.device import choose_algorithms
from tl_core.errors import InputError
from tl_core.inputs.features import load_features
from tl_core.inputs.unlabelled import Unlabelled, aux_table
from tl_core.models.backbones import Backbone, library_versions, load_backbone
from tl_core.models.heads import Heads
from tl_core.objectives.losses import balanced_weights
from tl_core.objectives.targets import TargetScale


@dataclass(frozen=True)
class Inputs:
    """Where a trial's data are, and where it learns."""

    images: ImageSet
    cache: Path
    """Folder of the feature cache."""
    device: torch.device
    verify: bool = True
    """Check the hash of cached features before use."""
    threads: int = 1
    """That heads of several seeds learn in on a CPU, each thread with some of the seeds. Unlike
    torch's own threads they do not wait for each other in each product, which takes ten times as
    long as one thread if another program has one of the cores."""

    def targets(self) -> tuple[Tensor, Tensor]:
        """Labels [N] and auxiliary targets [N], 0 where they are missing, on the device."""
        aux = self.images.aux
        filled = np.where(aux.known, aux.values, 0).astype(aux.values.dtype)
        labels, targets = map(torch.from_numpy, (self.images.labels, filled))
        return labels.to(self.device), targets.to(self.device)


class TrialSetup:
    """A configuration with its data."""

    def __init__(self, config: TrialConfig, inputs: Inputs) -> None:
        """Check that the images are those that the configuration names, and load the backbone.

        Raises `InputError` if they are not, `BackboneError` if the backbone is unknown, or its
        weights are unavailable.
        """
        images = inputs.images
        here = {
            "image_size": images.image_size,
            "resize": images.resize,
            "aux": images.aux.task.name,
        }
        faults = [
            f"images have {name} {value}, config says {getattr(config, name)}"
            for name, value in here.items()
            if value != getattr(config, name)
        ]
        if faults:
            raise InputError(faults)
        choose_algorithms(inputs.device, config.precision)  # Frozen trials may run no network.
        self.config, self.inputs = config, inputs
        self.task = images.aux.task
        self.backbone = load_for(config)
        self.mirror = len(images.labels) if config.hflip else 0
        """N, if training sees mirror images, else 0."""

    def of(self, config: TrialConfig) -> "TrialSetup":
        """That of a trial of the same sweep, whose splits, and mostly features, are the same."""
        if config == self.config:
            return self
        other = TrialSetup(config, self.inputs)
        other._known_others = self._known_others
        if other.backbone.weights_id == self.backbone.weights_id:  # Not if they are random.
            other.rows = self.rows
        return other

    @cached_property
    def rows(self) -> Tensor:
        """Features of every view by the frozen backbone, float32 [V, D], on the device."""
        i = self.inputs
        features = load_features(
            i.images, self.backbone, i.cache, i.device, bool(self.mirror), i.verify
        )
        return torch.from_numpy(features).to(i.device)

    def split(self, seed: int) -> Split:
        """The images of a seed's three parts."""
        c = self.config
        return self.inputs.images.split(c.train_ratio, c.split_seed, seed)

    def n_train(self, seeds: Sequence[int]) -> int:
        """The largest training subset of some seeds, which decides how many steps they take."""
        return max(len(self.split(seed).train) for seed in seeds)

    def heads(self, seed: int) -> Heads:
        """Fresh heads, the same for all modes of a seed."""
        # Heads are drawn on the CPU. `torch.manual_seed` also takes down the call's stack for each
        # kind of GPU that is not there, which takes milliseconds.
        torch.default_generator.manual_seed(seed)
        return Heads(self.backbone.n_features, len(self.inputs.images.classes), self.task)

    def class_weights(self, seeds: Sequence[int]) -> Tensor | None:
        """What each class counts in each seed's training, [S, K] on the device.

        None if all images count alike.
        """
        if self.config.class_weights == "none":
            return None
        labels, n_classes = self.inputs.images.labels, len(self.inputs.images.classes)
        trains = [self.split(seed).train for seed in seeds]
        each = [balanced_weights(torch.from_numpy(labels[train]), n_classes) for train in trains]
        return torch.stack(each).to(self.inputs.device)

    def scale(self, seeds: Sequence[int]) -> TargetScale:
        """The scale on which each seed learns the auxiliary task, [S]."""
        if self.config.aux_target == "raw" or self.task.kind != "regression":
            return TargetScale.raw(len(seeds), self.inputs.device)
        return TargetScale.of(self.inputs.targets()[1], [self.teaching(s) for s in seeds])

    def teaching(self, seed: int) -> np.ndarray:
        """The images from which a seed learns the auxiliary task, sorted."""
        images = self.inputs.images
        return images.aux.teaching(self.config.aux_on, self.split(seed), images.rules)

    def n_extra(self, seeds: Sequence[int]) -> int:
        """E, how many images without a class label a step of some seeds sees: 0 if one has none."""
        c = self.config
        if self.task.kind == "none" or c.aux_on != "all" or c.mode == "probe":
            return 0
        return min(c.batch_size, *(len(self._others(seed)) for seed in seeds))

    def auxiliary(self, seeds: Sequence[int], n_extra: int) -> dict[str, Any]:
        """What a learner needs for the auxiliary task of some seeds.

        Where no weight makes it count, `n_extra` had better be 0: they would change nothing.
        """
        if self.task.kind == "none":
            return {"task": self.task}
        aux, trains = self.inputs.images.aux, [self.split(seed).train for seed in seeds]
        others, extra = [train[:0] for train in trains], None
        if n_extra:
            others = [self._others(seed) for seed in seeds]
            extra = Unlabelled(others, seeds, n_extra, self.mirror)
        table = aux_table(aux.known, trains, others)
        weights = None if table is None else torch.from_numpy(table).to(self.inputs.device)
        known = None if aux.known.all() else aux.known
        return {"task": self.task, "known": known, "aux_weights": weights, "extra": extra}

    def _others(self, seed: int) -> np.ndarray:
        """The images without a class label from which a seed learns the auxiliary task."""
        if seed not in self._known_others:
            there = np.setdiff1d(self.teaching(seed), self.split(seed).train)
            self._known_others[seed] = there
        return self._known_others[seed]

    @cached_property
    def _known_others(self) -> dict[int, np.ndarray]:
        # Their number is asked for when trials are put together, and again when they learn.
        return {}

    def identity(self) -> dict[str, Any]:
        """What decides the trial's numbers, as plain values."""
        images = self.inputs.images
        task = {"aux_labels": images.own_aux.digest} if images.own_aux else {}
        # The content of a weights file counts, not its path on this machine.
        inputs = {"image_set": images.key, "weights_id": self.backbone.weights_id}
        where = {"device": self.inputs.device.type, **library_versions()}
        return self.config.model_dump(exclude={"weights"}) | task | inputs | where


def needs_pretrained(mode: str) -> bool:
    """Whether the mode starts from the weights that `weights` names."""
    return mode != "scratch"


def needs_features(mode: str) -> bool:
    """Whether the mode trains heads on the features of the frozen backbone."""
    return mode in (*FROZEN, "lp_ft", "partial")


def load_for(config: TrialConfig) -> Backbone:
    """Return the backbone of a trial; a copy if it will learn."""
    if config.mode == "scratch" or config.weights == "none":
        torch.manual_seed(config.seed)
        drawn = load_backbone(config.backbone, "none", config.image_size)
        weights_id = f"random seed {config.seed} torch {torch.__version__}"
        return replace(drawn, weights_id=weights_id, precision=config.precision)
    kept = pretrained(config.backbone, config.weights, config.image_size, config.precision)
    if config.mode in FROZEN:
        return kept
    return replace(kept, network=copy.deepcopy(kept.network))


@lru_cache(maxsize=1)
def pretrained(name: str, weights: str, image_size: int, precision: Precision) -> Backbone:
    """Return `load_backbone(...)`, kept between trials: callers must not change it."""
    return replace(load_backbone(name, weights, image_size), precision=precision)
