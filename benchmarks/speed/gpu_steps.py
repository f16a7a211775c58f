"""ResNet18 at 224 as a trial trains it and as features are made, on images that lie on the GPU."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tl_core.config import Precision
from tl_core.data.datasets import ImageSet
from tl_core.models.backbones import Backbone, load_backbone
from tl_core.models.heads import Heads, TwoHeadedNet
from tl_core.models.precision import best_precision
from tl_core.training.batches import epoch_order, pixel_reader
from tl_core.training.features import extract
from tl_core.training.learners import NetLearner
from tl_core.training.weighting import Weighting

GPU = torch.device("cuda")
SIDE = 224
_WAIT_S = 300
_LEARNING_RATE = 1e-4


class Training:
    """A learner of `tl_core` and its optimizer; an epoch ends when the device is done."""

    def __init__(
        self,
        images: ImageSet,
        batch: int,
        *,
        compiled: bool = False,
        device: torch.device = GPU,
        precision: Precision | None = None,
    ) -> None:
        n = len(images.labels)
        backbone = random_resnet(precision or best_precision(device))
        heads = Heads(backbone.n_features, len(images.classes))
        net = TwoHeadedNet(backbone.network, heads, backbone.precision)
        net = net.to(device).to(memory_format=torch.channels_last)
        if compiled:
            net.network.compile()
        self._learner = NetLearner(
            net,
            torch.from_numpy(images.labels).to(device),
            torch.from_numpy(images.brightness).to(device),
            Weighting(0.3),
            partial(epoch_order, np.arange(n), 0),
            batch,
            batch,
            pixel_reader(images, backbone, device),
        )
        self._optimizer = torch.optim.Adam(net.parameters(), _LEARNING_RATE, fused=True)
        self._epochs = 0

    def epoch(self) -> tuple[float, int]:
        """Train once over all images; return their mean loss and how many they were."""
        self._epochs += 1
        loss, _, n = self._learner.train_epoch(self._epochs, self._optimizer)
        return loss.item(), n


def random_resnet(precision: Precision) -> Backbone:
    """ResNet18 with the same random weights each time."""
    torch.manual_seed(0)
    return replace(load_backbone("resnet18", "none", SIDE), precision=precision)


def images_per_s(run: Callable[[], int], least_s: float) -> float:
    """How many images a second `run` does, which returns how many it did, once they are done."""
    run()
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < least_s:
        n += run()
    return n / (time.perf_counter() - start)


def features_of(images: ImageSet, backbone: Backbone, device: torch.device = GPU) -> np.ndarray:
    """What a study's extraction computes for all images."""
    return extract(images, backbone, device, np.arange(len(images.labels)))


def share_gpu(
    images: Path, batch: int, least_s: float, wait: Callable[[float], Any], found: Any
) -> None:
    """Train beside other processes, all at the same time; tell the images/s."""
    training = Training(ImageSet.open(images), batch)
    training.epoch()
    wait(_WAIT_S)
    found.put(images_per_s(lambda: training.epoch()[1], least_s))
