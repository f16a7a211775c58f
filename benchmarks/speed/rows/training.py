"""What `tl_core` gains on one CPU core, without Ray, when whole networks learn."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.speed.bench import RATIO, Bench
from benchmarks.speed.harness import Gate, Row, agree, interleaved, measured, ratios, seconds
from benchmarks.speed.rows.study import finetune_gates
from benchmarks.speed.studies.naive import Photos, train_naively
from tl_core.config import EpochMetrics, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import make_split
from tl_core.models.precision import best_precision
from tl_core.runtime import keep_freed_memory, one_thread
from tl_core.training.batches import epoch_order, pixel_reader, split_batches
from tl_core.training.train import run_trial

_CPU = torch.device("cpu")
_IMAGES = 128


def input_share(bench: Bench) -> Iterator[Row]:
    """Reading and normalising batches, as a share of training steps, one thread."""
    config = _config(bench, epochs=1)
    train = make_split(bench.images.labels, config.train_ratio).train
    batches = list(split_batches(epoch_order(train, config.seed, 1), config.batch_size))
    read = pixel_reader(bench.images, bench.backbone, _CPU)

    def steps() -> float:
        history = run_trial(config, bench.images, bench.cache, _CPU).history
        return len(train) / history[0].images_per_s

    def reads() -> None:
        for batch in batches:
            read(batch)

    with one_thread():
        pairs = interleaved(steps, seconds(reads), bench.repeats, bench.tell)
    first = batches[0]
    photos = Photos(bench.folder, bench.backbone, bench.image_size)
    expected = torch.stack([photos[i][0] for i in first.tolist()])
    apart = (read(first) - expected).abs().max().item()
    gate = agree("largest difference of a normalised pixel from the DataLoader's", apart, 0, 1e-4)
    told = {
        "batch_size": config.batch_size,
        "precision": config.precision,
        "step_ms": [round(1000 * s * config.batch_size / len(train), 2) for s, _ in pairs],
        "input_ms": [round(1000 * r * config.batch_size / len(train), 3) for _, r in pairs],
    }
    what = "input's share of a training step of the whole network, one CPU thread"
    share = [reading / step for step, reading in pairs]
    yield measured("input-share", what, share, gate, unit="of 1", direction="at most", details=told)


def cpu_training(bench: Bench) -> Iterator[Row]:
    """Training images/s of the whole network, against the plain loop, one thread each."""
    config, epochs = _config(bench, epochs=1), dict[str, EpochMetrics]()
    bench.images  # noqa: B018 - decoded before the clock runs
    with _one_process() as naive_side, _one_process() as our_side:

        def naive() -> float:
            done = naive_side.submit(_train_naively, config, bench.folder)
            epochs["naive"] = done.result()
            return 1 / epochs["naive"].images_per_s

        def ours() -> float:
            done = our_side.submit(_train_ours, config, bench.images.path, bench.cache)
            epochs["ours"] = done.result()
            return 1 / epochs["ours"].images_per_s

        warm_up = not bench.quick
        pairs = interleaved(naive, ours, bench.repeats, bench.tell, warm_up)
    n_val = len(make_split(bench.images.labels, config.train_ratio).val)
    gates = finetune_gates("one epoch", [epochs["ours"]], [epochs["naive"]], n_val)
    gate = Gate(all(g.ok for g in gates), "; ".join(g.text for g in gates))
    told = {
        "precision": config.precision,
        "naive_images_per_s": [round(1 / a, 2) for a, _ in pairs],
        "ours_images_per_s": [round(1 / b, 2) for _, b in pairs],
        "naive_is": "float32, channels first, files decoded by a DataLoader in every epoch",
    }
    what = "training images/s of the whole network on a CPU against ImageFolder + DataLoader"
    yield measured("cpu-training", what, ratios(pairs), gate, target=2, details=told)


def _config(bench: Bench, epochs: int) -> TrialConfig:
    """Four steps or so: each takes a second on a core, and they are all alike."""
    ratio = min(RATIO, _IMAGES / len(bench.images.labels))
    precision = best_precision(_CPU)
    return bench.config("finetune", epochs=epochs, precision=precision, train_ratio=ratio)


def _one_process() -> ProcessPoolExecutor:
    # One for each side: how the C library keeps memory is set for a whole process.
    return ProcessPoolExecutor(1, get_context("spawn"))


def _train_naively(config: TrialConfig, root: Path) -> EpochMetrics:
    torch.set_num_threads(1)
    return train_naively(config, root, _CPU)[0]


def _train_ours(config: TrialConfig, images: Path, cache: Path) -> EpochMetrics:
    torch.set_num_threads(1)
    keep_freed_memory()
    return run_trial(config, ImageSet.open(images), cache, _CPU).history[0]
