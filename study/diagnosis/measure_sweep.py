"""How fast this process sweeps frozen trials, on made-up features of the study's size."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from study.config.settings import Settings
from study.diagnosis.probe_worker import TINY_LR, write_entry
from study.search.queue import BATCH
from study.search.short_sweeps import PER_S, Shape, products
from tl_core.config import Mode, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.data.splitting.rules import NO_RULES
from tl_core.device import CPU
from tl_core.inputs.features import feature_entry
from tl_core.runtime import one_thread
from tl_core.training.setup import Inputs, load_for
from tl_core.training.sweep import run_sweep

_MOST, _FEWEST, _CLASSES = 2000, 12, 20
"""Images; images a class, as of ten of a class eight can be for training; and most classes, as with
1,000 one probe takes minutes."""
_STEPS = 20


def measure_sweeps(settings: Settings, shape: Shape, modes: Sequence[Mode]) -> dict[Mode, float]:
    """Return products a second (`study.search.short_sweeps.products`) of a batch, on one core.

    Args:
        settings: of the study, with its precision.
        shape: of its data.
        modes: `freeze` or `probe`, or both.
    """
    classes = min(shape.classes, _CLASSES)
    images = max(_FEWEST * classes, min(shape.images.base, _MOST))
    small = shape._replace(images=NO_RULES.sizes(images), classes=classes)
    with tempfile.TemporaryDirectory(prefix="tl-doctor-") as name, one_thread():
        return {mode: _speed(settings, small, mode, Path(name)) for mode in modes}


def _batch(s: Settings, shape: Shape, mode: Mode) -> list[TrialConfig]:
    """Trials that are shorter than the study's, and as many at once."""
    is_probe = mode == "probe"
    config = TrialConfig(
        mode=mode, train_ratio=0.4, lr=None if is_probe else TINY_LR, backbone=s.backbone,
        weights=s.weights, image_size=s.image_size, resize=s.resize, batch_size=s.batch_size,
        precision="fp32" if s.precision == "auto" else s.precision, epochs=1, min_steps=0,
        seeds=1 if is_probe else s.seeds,
    )  # fmt: skip
    if is_probe:
        return [config]
    # Not more than a second's work: a pass may be long.
    step = BATCH * s.seeds * s.batch_size * shape.features * (shape.classes + 1)
    n_train = s.batch_size * max(1, min(_STEPS, int(PER_S / step)))
    ratio = min(0.8, max(2 * shape.classes, n_train) / shape.images.base)
    return [config.model_copy(update={"train_ratio": ratio})] * BATCH


def _speed(s: Settings, shape: Shape, mode: Mode, folder: Path) -> float:
    # Libraries prepare themselves in their first calls.
    tiny = shape._replace(images=NO_RULES.sizes(2 * _FEWEST), classes=2)
    first, *_ = _batch(s, tiny, mode)
    run_sweep([first], made_up(first, tiny, folder / f"{mode}-tiny"))
    batch = _batch(s, shape, mode)
    inputs = made_up(batch[0], shape, folder / mode)
    start = time.perf_counter()
    run_sweep(batch, inputs)
    return len(batch) * products(batch[0], shape) / (time.perf_counter() - start)


def made_up(config: TrialConfig, shape: Shape, folder: Path) -> Inputs:
    """A data set of noise that has its features; nobody reads its pixels."""
    n, n_classes, d = shape.images.base, shape.classes, shape.features
    entry = folder / "images"
    write_entry(entry, n, n_classes, config.resize)
    size = (n, 3, config.image_size, config.image_size)
    np.lib.format.open_memmap(entry / "pixels.npy", "w+", np.uint8, size)
    images = ImageSet.open(entry)
    features = feature_entry(images.key, load_for(config), folder)
    features.mkdir(parents=True)
    noise = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
    np.save(features / "features.npy", noise)
    return Inputs(images, folder, CPU, verify=False)
