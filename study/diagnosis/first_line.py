"""What `study/run.py` says first: about how long the study takes, and what makes it shorter.

The doctor measures in workers, for half a minute. This takes one step of a network in the driver,
and only where networks learn on the cores, which may take hours.
"""

import copy
import shlex
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import cache

import torch
from torch import Tensor, nn

from study.config.program import command
from study.config.settings import Settings
from study.diagnosis.estimate import Before, Speeds, eta
from study.diagnosis.observed import Expected
from study.preflight.prepare import Prepared
from study.preflight.torch_checks import load_network
from study.records.trial_record import TrialRecord
from study.search.cells import all_cells
from study.search.short_sweeps import PER_S, Shape
from tl_core.config import WHOLE, Precision
from tl_core.models.precision import run_network
from tl_core.models.stages import split
from tl_core.runtime import one_thread
from tl_core.text import pluralize

_IMAGES = 16
"""In the step that is timed."""
_FORWARD = 3.0
"""How many times as fast a network is that does not learn: back takes two passes."""
START_S, WORKERS_S = 10.0, 10.0
"""To start Ray, and its workers."""
_LONG_S = 1800.0
"""From here on it is told what makes a study shorter, seconds."""


def first_line(prepared: Prepared) -> Iterator[str]:
    """Yield the forecast, in lines; nothing for a single trial, frozen modes or GPUs."""
    s = prepared.settings
    if s.debug or prepared.state or (found := measure_step(prepared)) is None:
        return
    speeds, features = found
    images, cores = prepared.images, prepared.resources.cpus
    n, shape = len(images.labels), Shape(images.sizes, len(images.classes), features)
    before = Before(START_S, 0.0, WORKERS_S, 0, 1.0, n, cores)
    estimate = eta(s, prepared.capacity, before, speeds, shape)
    whole = [mode for mode in s.mode if mode in WHOLE]
    rate, part = (speeds.train, "whole network") if whole else (speeds.partial, "last stages")
    if estimate is None or rate is None:
        return
    step = f"a step of {s.batch_size} images through the {part} takes one core "
    step += f"{s.batch_size / rate:.2g} s"
    total_s = sum(estimate.values())
    minutes = round(total_s / 60)
    about = f"about {timedelta(minutes=minutes)}" if minutes else "less than a minute"
    where = pluralize(cores, "core")
    doctor = shlex.join(command("doctor"))
    yield f"{about} on {where}, where {step}; {doctor} measures this closely"
    if total_s > _LONG_S:
        ways = [f"--mode partial instead of {' '.join(whole)}"] if whole else []
        ways += ["fewer --train-ratio"] if len(s.train_ratio) > 1 else []
        yield f"shorter: {', '.join([*ways, 'a smaller --image-size'])}, or a GPU"


def measure_step(prepared: Prepared) -> tuple[Speeds, int] | None:
    """Time a step of a network on one core.

    Returns:
        The speeds of a place, and the backbone's number of features; None if no network learns on
        the cores.
    """
    s = prepared.settings
    only_cores = prepared.resources.only_cores(prepared.gpus)
    return _measure_step(s) if only_cores and s.networks else None


def expect(prepared: Prepared, shape: Shape, records: Sequence[TrialRecord]) -> Expected:
    """How long trials take, by `records`, the study's; else by a step, if networks take cores."""
    expected = Expected(prepared.settings, shape, records)
    if not all(expected.cell(cell, 1).seconds for cell in all_cells(prepared.settings)):
        alone = Speeds(sweep=PER_S, probe=PER_S)
        expected.speeds, _ = measure_step(prepared) or (alone, None)
    return expected


def workers_s(prepared: Prepared) -> float:
    """Seconds until Ray and its workers are up."""
    return WORKERS_S + (0.0 if prepared.resources.joined else START_S)


@cache
def _measure_step(s: Settings) -> tuple[Speeds, int]:
    """Once: a step may take seconds, and both the first line and `expect` ask."""
    backbone, upper = load_network(s), None
    if "partial" in s.mode:
        lower, upper = split(backbone.network, max(s.unfreeze))
    with one_thread():
        images = torch.zeros(_IMAGES, 3, s.image_size, s.image_size)
        images = images.contiguous(memory_format=torch.channels_last)
        train = _images_per_s(backbone.network, images, backbone.precision)
        partial = None
        if upper is not None:
            with torch.inference_mode():
                cached = lower(images)
            partial = _images_per_s(upper, cached.clone(), backbone.precision)
    return Speeds(_FORWARD * train, train, partial, PER_S, PER_S), backbone.n_features


def _images_per_s(network: nn.Module, inputs: Tensor, precision: Precision) -> float:
    """Images a second of a network that learns; the second of two steps counts."""
    learns, seconds = copy.deepcopy(network), 0.0
    for _ in range(2):
        start = time.perf_counter()
        run_network(learns, inputs, precision).sum().backward()  # type: ignore[no-untyped-call]
        seconds = time.perf_counter() - start
    return len(inputs) / seconds
