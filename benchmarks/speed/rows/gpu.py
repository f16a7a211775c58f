"""ResNet18 at 224 on one GPU: training, features, and several processes that share it."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed.bench import Bench, tile
from benchmarks.speed.harness import Gate, Row, SkippedError, agree, interleaved, measured, together
from benchmarks.speed.rows.frozen import near_fp32
from tl_core.config import EpochMetrics, Report, TrialConfig
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.device import best_precision, find_device, is_gpu
from tl_core.inputs.features import extract
from tl_core.models.backbones import load_backbone
from tl_core.models.folding import fold_backbone
from tl_core.training.steps.graphs import GRAPHS, StepGraphs
from tl_core.training.train import run_trial

MEMORY_LIMIT = 38_500
"""Training images/s at which an H100's memory could feed the activations of ResNet18."""
_GPU, _SIDE = find_device(), 224
_PROCESSES, _SMALL, _LARGE = 4, 32, 128
_EPOCHS = 5
"""Of a trial; the first compiles and fills caches, and does not count."""


def gpu_training(bench: Bench) -> Iterator[Row]:
    """Training images/s, step by step, by recorded steps and compiled."""
    images = _images(bench)
    ways = {"eager": (None, False), "captured": (GRAPHS, False), "compiled": (None, True)}
    for batch in (_SMALL, _LARGE):
        for how, (graphs, compiled) in ways.items():
            runs = [
                train(images, batch, graphs=graphs, compile=compiled) for _ in range(bench.repeats)
            ]
            gate = same_loss(images, batch, runs[0])
            name, what = f"gpu-training-{batch}-{how}", f"training, batch {batch}, {how}"
            yield _rate(name, what, [images_per_s(run) for run in runs], gate, 15_000)


def gpu_features(bench: Bench) -> Iterator[Row]:
    """Images/s of the frozen network, as a study extracts them."""
    images = _images(bench)
    torch.manual_seed(0)
    plain = load_backbone("resnet18", "none", _SIDE)
    backbone = fold_backbone(replace(plain, precision=best_precision(_GPU)), _SIDE)
    all_rows = np.arange(len(images.ids))

    def rate() -> float:
        start = time.perf_counter()
        return len(extract(images, backbone, _GPU, all_rows)) / (time.perf_counter() - start)

    rate()  # A warm-up.
    rates = [rate() for _ in range(bench.repeats)]
    found = (torch.from_numpy(extract(images, b, _GPU, all_rows)) for b in (backbone, plain))
    yield _rate("gpu-features", "features", rates, near_fp32(*found), 40_000)


def gpu_sharing(bench: Bench) -> Iterator[Row]:
    """Several processes with small batches against one with a large batch."""
    images = _images(bench)

    def run(processes: int, batch: int) -> float:
        rates = together(_share_gpu, processes, images.path, batch, patience_s=600)
        return float(sum(rates))

    one, several = partial(run, 1, _LARGE), partial(run, _PROCESSES, _SMALL)
    pairs = interleaved(one, several, bench.repeats, bench.log)
    gate = same_loss(images, _SMALL, train(images, _SMALL))
    details = {"one_images_per_s": [a for a, _ in pairs], "all_images_per_s": [b for _, b in pairs]}
    what = f"{_PROCESSES} processes at batch {_SMALL} together, against one at batch {_LARGE}"
    yield measured("gpu-sharing", what, [b / a for a, b in pairs], gate, details=details)


def _share_gpu(images: Path, batch: int, wait: Callable[[float], Any], found: Any) -> None:
    """Train beside other processes, all at the same time after the first epoch."""
    history = train(ImageSet.open(images), batch, lambda m: wait(300) if m.epoch == 1 else None)
    found.put(images_per_s(history))


def train(
    images: ImageSet,
    batch: int,
    report: Report = lambda _: None,
    graphs: StepGraphs | None = GRAPHS,
    **changes: Any,
) -> list[EpochMetrics]:
    """Train ResNet18 from random weights, as a trial of a study does."""
    fixed = {"mode": "scratch", "backbone": "resnet18", "image_size": images.image_size}
    fixed |= {"train_ratio": 0.8, "lr": 1e-4, "aux_weight": 0.3, "batch_size": batch}
    fixed |= {"epochs": _EPOCHS, "precision": best_precision(_GPU)}
    config = TrialConfig(**fixed | changes)
    cache = images.path.parent
    return list(run_trial(config, images, cache, _GPU, report, graphs=graphs).history)


def images_per_s(history: list[EpochMetrics]) -> float:
    """Training images/s of all epochs but the first."""
    return statistics.harmonic_mean(m.images_per_s for m in history[1:])


def same_loss(images: ImageSet, batch: int, history: list[EpochMetrics]) -> Gate:
    """Gate on the first epoch's mean loss being that of float32, step by step."""
    plain = train(images, batch, graphs=None, precision="fp32", epochs=1)[0].train_loss
    loss = history[0].train_loss
    return agree("mean loss of the first epoch", loss, plain, 0.02 * abs(plain))


def _images(bench: Bench) -> ImageSet:
    if not is_gpu(_GPU):
        raise SkippedError("no GPU")
    photos = load_images(folder_source(bench.folder), _SIDE, bench.cache)
    return tile(photos, bench.pick(16, 1), bench.fresh("gpu") / "images")


def _rate(name: str, what: str, rates: list[float], gate: Gate, target: float) -> Row:
    details = {"share_of_memory_limit": statistics.median(rates) / MEMORY_LIMIT}
    what = f"ResNet18 at {_SIDE}, {what}"
    return measured(name, what, rates, gate, unit="images/s", target=target, details=details)
