"""How many trials share a GPU for `--trials-per-gpu auto`: one is run on each GPU and measured.

Run as a program, it trains the study's largest network on one GPU for a few steps, on blank images,
and prints the memory that this took as JSON. Nothing of it stays in the study's own process.
"""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.filesize import decimal

from study.config.settings import Settings
from study.preflight.gpu_check import GpuReport, ask_gpus, reason_last, visible_gpus
from study.preflight.setup import Setup
from study.search.space import LR_RANGES, Space
from tl_core.config import WHOLE, Mode, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.device import gpus_here, set_deterministic
from tl_core.errors import DivergedError, Fault, GpuMemoryError
from tl_core.gpu_memory import memory, peak_memory
from tl_core.inputs.batches import eval_batch
from tl_core.inputs.resident import FRACTION, RESIDENT
from tl_core.text import pluralize
from tl_core.training.steps.graphs import GRAPHS
from tl_core.training.train import run_trial

CONTEXT = 600 * 10**6
"""Bytes that a process takes on a GPU before it has a tensor: CUDA's context and kernels."""
_MARGIN = 0.9
"""Share of the free memory that is given out: allocations leave gaps, and other programs grow."""
_STEPS = 8
"""From the second on AdamW's state is there; a captured step is warmed up before that."""
_CLASSES = 8
"""At most: the size of a head is nothing beside a network, and each class takes images."""
_RATIO = 0.1


@dataclass(frozen=True)
class Share:
    """How many trials a GPU has, and what bounds them."""

    trials: int
    bound: str
    """In words."""


def check_share(setup: Setup) -> Iterable[Fault]:
    """`--trials-per-gpu auto`: measure on all GPUs of the study, and take the least."""
    s, resources = setup.settings, setup.resources
    if s.trials_per_gpu != "auto" or not setup.gpus or not resources or resources.joined:
        return
    if s.debug or not s.networks or setup.network is None or setup.faults:
        return
    n_images = len(setup.source.ids) if setup.source else None
    n_classes = len(setup.source.classes) if setup.source else _CLASSES
    config = largest_trial(s, n_images)
    asked = {"config": config.model_dump(), "n_images": n_images, "n_classes": n_classes}
    asked["deterministic"] = s.deterministic
    reports = ask_gpus(visible_gpus(setup.gpus), __name__, json.dumps(asked))
    faults = [report for report in reports if report.fault]
    for report in faults:
        why = f"auto: a trial on GPU {report.name}: {report.fault}; a number skips this trial"
        yield Fault("--trials-per-gpu", why)
    if faults:
        return
    wanted = math.ceil(min(s.trials, s.jobs or s.trials) / setup.gpus)
    # How large activations are, or a data set that is not there yet, is not known.
    known = n_images is not None and "partial" not in s.mode
    table = n_images * 3 * s.image_size**2 if known and n_images else None
    share = least(reports, table, max(1, resources.cpus // setup.gpus), wanted)
    setup.per_gpu = share.trials
    each = max(report.needs for report in reports)
    setup.notes += (
        f"--trials-per-gpu auto: {share.trials}, by {share.bound}; "
        f"a trial of {config.mode} takes {decimal(each)}",
    )


def least(reports: Sequence[GpuReport], table: int | None, cores: int, wanted: int) -> Share:
    """How many trials every one of the GPUs has room for.

    Args:
        reports: of each GPU: its free bytes, and what one trial takes.
        table: bytes of the data set's pixels, which a trial keeps on the GPU where that leaves two
            thirds of its part free (`tl_core.inputs.resident`); None if that is not known.
        cores: for each GPU; a trial takes one to feed its network.
        wanted: no GPU has more trials of the study at once.
    """
    bounds = [
        Share(wanted, "the study's trials for each GPU"),
        Share(cores, f"{pluralize(cores, 'core')} for each GPU"),
        *(
            Share(fitting(r.free, r.needs, table), f"{decimal(r.free)} free on GPU {r.name}")
            for r in reports
        ),
    ]
    return min(bounds, key=lambda bound: bound.trials)


def fitting(free: int, needs: int, table: int | None) -> int:
    """How many trials of `needs` bytes fit into the `free` ones of a GPU; one in any case."""

    def taken(trials: int) -> int:
        if table is None:
            return trials * needs + free // FRACTION
        kept = table if table * FRACTION * trials <= free else 0
        return trials * (needs + kept)

    most = max(1, int(_MARGIN * free) // needs)
    return next((n for n in range(most, 1, -1) if taken(n) <= _MARGIN * free), 1)


def largest_trial(settings: Settings, n_images: int | None) -> TrialConfig:
    """The study's trial that takes most memory, for a few steps.

    From random weights, without the compiler, which saves memory, and with the own auxiliary task
    of the images: these change no sizes.
    """
    s = settings
    mode: Mode = next((mode for mode in s.mode if mode in WHOLE), "partial")
    mode = "finetune" if mode == "lp_ft" else mode  # The same without the probe before it.
    drawn = {"mode": mode, "train_ratio": max(s.train_ratio), f"lr_{mode}": LR_RANGES[mode][0]}
    drawn["aux_weight"] = 0.0 if s.aux_weight == (0.0,) else 0.5
    if mode == "partial":
        drawn["unfreeze"] = max(s.unfreeze)
    changes = {"weights": "none", "compile": False, "aux": "brightness", "class_weights": "none"}
    config = Space(s.model_copy(update=changes | {"aux_type": None})).config(drawn)
    # A batch has no more images than the training part.
    part = n_images and math.ceil(n_images * config.train_ratio)
    batch = min(s.batch_size, part or s.batch_size)
    few = {"train_ratio": _RATIO, "epochs": 1, "min_steps": _STEPS, "batch_size": batch}
    return config.model_copy(update=few | {"aux_on": s.aux_images})


def trial_bytes(
    config: TrialConfig, n_images: int | None, n_classes: int, device: torch.device
) -> int:
    """Bytes of a GPU that one trial takes, apart from CUDA's context and the images' own table.

    Raises `GpuMemoryError` if it does not fit.
    """
    # A tenth of them validates, so that a forward pass of scoring is as large as the study's.
    most = eval_batch(device, config.image_size)
    scored = min(most, math.ceil((n_images or 10 * most) / 10))
    classes = min(n_classes, _CLASSES)
    # Each class may give the training part one image less than its share.
    images = _blank(10 * (max(scored, config.batch_size) + classes), config, classes)
    free, _ = memory(device)
    RESIDENT.sharing = sys.maxsize  # No table of pixels: these are not the study's.
    # Random weights may overflow float16, which is told after all steps and the validation. A step
    # whose gradients overflow takes the memory of any other.
    with TemporaryDirectory() as cache, suppress(DivergedError):
        run_trial(config, images, Path(cache), device)
    GRAPHS.drop()  # The peak has it.
    return peak_memory(device) + max(0, free - memory(device)[0])


def _blank(n: int, config: TrialConfig, n_classes: int) -> ImageSet:
    size, classes = config.image_size, tuple(map(str, range(n_classes)))
    pixels = np.broadcast_to(np.zeros((), np.uint8), (n, 3, size, size))  # They take no memory.
    ids, labels = tuple(map(str, range(n))), np.arange(n) % n_classes
    brightness = np.linspace(0, 1, n, dtype=np.float32)
    given = (classes, ids, pixels, labels, brightness)
    return ImageSet("blank", "blank", Path("blank"), *given, resize=config.resize)


def main() -> None:
    """Run the trial that is asked for on the only GPU that this process sees."""
    with reason_last():
        asked, (gpu, *_) = json.loads(sys.argv[1]), gpus_here()
        set_deterministic(asked["deterministic"])
        config = TrialConfig(**asked["config"])
        free, _ = memory(gpu)
        try:
            needs = trial_bytes(config, asked["n_images"], asked["n_classes"], gpu)
        except GpuMemoryError as error:
            sys.exit(str(error))
        # This process has a context of its own.
        print(json.dumps({"free": free + CONTEXT, "needs": needs + CONTEXT}))


if __name__ == "__main__":
    main()
