"""ResNet18 at 224 on one GPU: training, features, and several processes that share it."""

import statistics
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.speed.bench import Bench, tile
from benchmarks.speed.gpu_steps import (
    GPU,
    SIDE,
    Training,
    features_of,
    images_per_s,
    random_resnet,
    share_gpu,
)
from benchmarks.speed.harness import Gate, Row, SkippedError, agree, interleaved, measured
from benchmarks.speed.together import together
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.models.precision import best_precision

MEMORY_LIMIT = 38_500
"""Training images/s at which an H100's memory could feed the activations of ResNet18."""
_PROCESSES, _SMALL, _LARGE = 4, 32, 128
_APART = 0.1
"""How far bf16 features may lie from those in float32, as a share of their length."""


def gpu_training(bench: Bench) -> Iterator[Row]:
    """Training images/s, eager and compiled."""
    images = _images(bench)
    for batch in (_SMALL, _LARGE):
        for compiled in (False, True):
            training = Training(images, batch, compiled=compiled)
            gate = same_loss(images, batch, training.epoch()[0])
            rates = [
                images_per_s(lambda: training.epoch()[1], bench.pick(3.0, 0.5))  # noqa: B023
                for _ in range(bench.repeats)
            ]
            how = "compiled" if compiled else "eager"
            name, what = f"gpu-training-{batch}-{how}", f"training, batch {batch}, {how}"
            yield _rate(name, what, rates, gate, 15_000)


def gpu_features(bench: Bench) -> Iterator[Row]:
    """Images/s of the frozen network, as a study extracts them."""
    images, backbone = _images(bench), random_resnet(best_precision(GPU))

    def run() -> int:
        return len(features_of(images, backbone))

    rates = [images_per_s(run, bench.pick(3.0, 0.5)) for _ in range(bench.repeats)]
    found, plain = (features_of(images, b) for b in (backbone, random_resnet("fp32")))
    apart = float(np.linalg.norm(found - plain) / np.linalg.norm(plain))
    gate = agree("distance of the features from those in float32", apart, 0, _APART)
    yield _rate("gpu-features", "features", rates, gate, 40_000)


def gpu_sharing(bench: Bench) -> Iterator[Row]:
    """Several processes with small batches against one with a large batch."""
    images, least_s = _images(bench), bench.pick(5.0, 1.0)

    def one() -> float:
        return _sum(images, 1, _LARGE, least_s)

    def several() -> float:
        return _sum(images, _PROCESSES, _SMALL, least_s)

    pairs = interleaved(one, several, bench.repeats, bench.tell)
    gate = same_loss(images, _SMALL, Training(images, _SMALL).epoch()[0])
    told = {"one_images_per_s": [a for a, _ in pairs], "all_images_per_s": [b for _, b in pairs]}
    what = f"{_PROCESSES} processes at batch {_SMALL} together, against one at batch {_LARGE}"
    values = [several / one for one, several in pairs]
    yield measured("gpu-sharing", what, values, gate, details=told)


def same_loss(images: ImageSet, batch: int, loss: float, device: torch.device = GPU) -> Gate:
    """Gate on the first epoch's mean loss being that of float32 without the compiler."""
    plain, _ = Training(images, batch, device=device, precision="fp32").epoch()
    return agree("mean loss of the first epoch", loss, plain, 0.02 * abs(plain))


def _images(bench: Bench) -> ImageSet:
    if not torch.cuda.is_available():
        raise SkippedError("no GPU")
    photos = load_images(folder_source(bench.folder), SIDE, bench.cache)
    return tile(photos, bench.pick(4, 1), bench.fresh("gpu") / "images-4")


def _rate(name: str, what: str, rates: list[float], gate: Gate, target: float) -> Row:
    told = {"share_of_memory_limit": statistics.median(rates) / MEMORY_LIMIT}
    what = f"ResNet18 at {SIDE}, {what}"
    return measured(name, what, rates, gate, unit="images/s", target=target, details=told)


def _sum(images: ImageSet, processes: int, batch: int, least_s: float) -> float:
    """Images/s of all processes."""
    rates = together(share_gpu, processes, images.path, batch, least_s, patience_s=600)
    return float(sum(rates))
