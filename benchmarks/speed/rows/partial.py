"""Partial fine-tuning: a step of the last stage on cached activations, against the whole net's."""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from benchmarks.common import seconds
from benchmarks.speed.bench import Bench
from benchmarks.speed.harness import Gate, Row, agree, all_of, interleaved, measured
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.inputs.prefix import Prefix, activation_reader, cut_backbone, load_activations
from tl_core.inputs.readers import Read, pixel_reader
from tl_core.models.backbones import Backbone, load_backbone
from tl_core.models.heads import Heads, TwoHeadedNet
from tl_core.models.precision import run_unconverted
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import make_weighting
from tl_core.runtime import keep_freed_memory, one_thread
from tl_core.training.learners.net import NetLearner, Part
from tl_core.training.optimizers import decayed, fused_adamw
from tl_core.training.schedule import Budget

_BATCH = 32
_STEPS = 8
"""Of the last stage in a measurement: one takes milliseconds. Of the whole net one is enough."""
_CHECKED = 3
"""Steps whose losses are compared."""
_LOSS = 1e-3
"""How far losses may be apart: in float32, activations are rounded to float16."""


def partial_step(bench: Bench) -> Iterator[Row]:
    """Training images/s, reading included; on one CPU thread, as a worker has, or on the GPU.

    Weights are random: steps cost the same with any.
    """
    keep_freed_memory()
    for size in bench.pick((128, 224), (bench.image_size,)):
        images = _one_batch(load_images(folder_source(bench.folder), size, bench.cache))
        for name in ("resnet18", "efficientnet_lite0"):
            torch.manual_seed(0)
            backbone = load_backbone(name, "none", size)
            with one_thread():
                yield _measure(bench, images, replace(backbone, precision=bench.precision))


def _one_batch(images: ImageSet) -> ImageSet:
    """The first images, with labels by turns: their own are all of the first class."""
    return replace(
        images,
        ids=images.ids[:_BATCH],
        pixels=images.pixels[:_BATCH],
        labels=np.arange(_BATCH) % len(images.classes),
        brightness=images.brightness[:_BATCH],
    )


def _measure(bench: Bench, images: ImageSet, backbone: Backbone) -> Row:
    device, size = bench.device, images.image_size
    prefix, upper = cut_backbone(backbone, 1, size)
    # A cache of its own: the key of the images is that of the whole set.
    activations = load_activations(images, prefix, bench.fresh("cache-of-a-batch"), device)
    cached = activation_reader(activations, prefix, device)
    gate = _same_losses(
        _Side(upper, images, backbone, cached),
        _Side(upper, images, backbone, _without_cache(images, prefix, device)),
    )
    whole = _Side(backbone.network, images, backbone, pixel_reader(images, backbone, device))
    last = _Side(upper, images, backbone, cached)
    runs = partial(whole.step_s, 1), partial(last.step_s, _STEPS)
    pairs = interleaved(*runs, bench.repeats, bench.log)
    details = {
        "precision": backbone.precision,
        "batch_size": _BATCH,
        "whole_images_per_s": [round(_BATCH / whole_s, 1) for whole_s, _ in pairs],
        "cached_images_per_s": [round(_BATCH / last_s, 1) for _, last_s in pairs],
        "numbers_an_image": math.prod(prefix.shape),
    }
    name = f"partial-step-{backbone.name}-{size}"
    what = f"images/s of a training step, last stage of {backbone.name} on cached activations"
    what += f" against the whole network, {size} px"
    return measured(name, what, [a / b for a, b in pairs], gate, details=details)


class _Side:
    """A copy of a network, or of its last stage, that learns from one batch over and over."""

    def __init__(
        self, network: nn.Module, images: ImageSet, backbone: Backbone, read: Read
    ) -> None:
        device = read(np.arange(1)).device
        torch.manual_seed(1)
        heads = Heads(backbone.n_features, len(images.classes))
        net = TwoHeadedNet(copy.deepcopy(network), heads, backbone.precision)
        self._learner = NetLearner(
            net.to(device).to(memory_format=torch.channels_last),
            torch.from_numpy(images.labels).to(device),
            torch.from_numpy(images.brightness).to(device),
            TargetScale.raw(1, device).one(),
            make_weighting(0.3, device),
            lambda _: np.arange(_BATCH),
            Budget(1, 1, 1, "constant", _BATCH, _BATCH),
            _BATCH,
            read,
        )
        groups = decayed(net.parameters(), lr=1e-4, weight_decay=0.0)
        self._optimizer = fused_adamw([*groups, *self._learner.weighting.groups()])

    def loss(self) -> float:
        """Learn from the batch once; the loss before."""
        loss, _, _ = self._learner.train_part(1, self._optimizer, Part())
        return float(loss)

    def step_s(self, steps: int) -> float:
        """Seconds a step."""
        return seconds(lambda: [self.loss() for _ in range(steps)]) / steps


def _without_cache(images: ImageSet, prefix: Prefix, device: torch.device) -> Read:
    """Run the frozen stages anew in every step."""
    read, backbone = pixel_reader(images, prefix.backbone, device), prefix.backbone

    @torch.no_grad()
    def run(views: np.ndarray) -> torch.Tensor:
        return run_unconverted(backbone.network, read(views), backbone.precision)

    return run


def _same_losses(cached: _Side, plain: _Side) -> Gate:
    what = "loss of a step on the cache against without it"
    steps = range(_CHECKED)
    return all_of([agree(what, cached.loss(), plain.loss(), _LOSS) for _ in steps])
