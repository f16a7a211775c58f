"""Trials of a tiny net, for the tests of what a trial does."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.conftest import SIDE
from tl_core.config import EpochMetrics, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.models.article import ARTICLE_RECIPE
from tl_core.training.sweep import SweepResult
from tl_core.training.train import TrialResult, run_trial

CPU = torch.device("cpu")
NET = "timm:test_efficientnet"
"""The network of the trials: with BatchNorm, and a step takes a third of one of `TINY`."""

STILL = 1e-30
"""A learning rate at which no float32 weight moves."""


class Trials:
    """Runs trials of `NET` on one set of images, from the weights in a file."""

    def __init__(self, images: ImageSet, cache: Path, weights: Path) -> None:
        self.images, self.cache, self.weights = images, cache, str(weights)

    def config(self, mode: str, **changes: Any) -> TrialConfig:
        """A configuration of two short epochs, but for `changes`."""
        plain = {"mode": mode, "train_ratio": 0.5, "lr": 1e-3, "epochs": 2, "batch_size": 8}
        plain |= {"backbone": NET, "weights": self.weights, "image_size": SIDE, **ARTICLE_RECIPE}
        # A probe is solved, not trained.
        solved = {"lr": None, "epochs": 1, "aux_weight": 0.0} if mode == "probe" else {}
        return TrialConfig(**plain | changes | solved)

    def run(self, mode: str, read_test: bool = False, **changes: Any) -> TrialResult:
        """Run one; torch's generator is left where chance put it, as it is for a user."""
        torch.seed()
        config = self.config(mode, **changes)
        return run_trial(config, self.images, self.cache, CPU, read_test=read_test)


def with_r2(result: TrialResult, r2: float) -> TrialResult:
    """A result whose brightness is as well learned as that."""
    *before, last = result.history
    learned = replace(last, aux={**last.aux, "val_brightness_r2": r2})
    return replace(result, history=(*before, learned))


def untimed(result: TrialResult | SweepResult) -> list[EpochMetrics]:
    """The history without the one number that no seed decides."""
    return [replace(metrics, images_per_s=0.0) for metrics in result.history]


def state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    """The names of what is not bit-identical."""
    assert before.keys() == after.keys()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}
