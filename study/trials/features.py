"""The frozen network over all images, once: in this process if that is soon, else in workers."""

import copy
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from study.preflight.memory import feature_makers
from study.preflight.torch_checks import frozen_backbone
from study.search.short_sweeps import SOON_S
from study.trials.frozen_part import FrozenPart, folded, run_part
from study.trials.trial_context import TrialContext
from tl_core.data.datasets import ImageSet
from tl_core.device import CPU
from tl_core.errors import Fault, InputError, OutOfTimeError
from tl_core.inputs.features import Forward, feature_entry, load_features
from tl_core.inputs.prefix import Prefix, cut_backbone, load_activations
from tl_core.models.backbones import Backbone
from tl_core.runtime import in_order, one_thread
from tl_core.training.setup import needs_features

if TYPE_CHECKING:
    from study.preflight.prepare import Prepared  # Workers need not import it.

_SAMPLE = 4
"""Images that the network is timed on."""


def with_features(
    prepared: "Prepared", context: TrialContext, start_ray: Callable[[], object] = lambda: None
) -> tuple[TrialContext, bool]:
    """Run the frozen backbone over the images, unless the cache has the features; add their name.

    So it does with the frozen stages below those that learn in mode `partial`.

    The context stays as it is if no trial needs them. `start_ray` is called if workers do it.
    Also returns whether this command has made any of them, or decoded the images.
    Raises `OutOfTimeError` if they are not ready in time, and `InputError` if the same command
    would never make any of them.
    """
    s, images, end = prepared.settings, prepared.images, prepared.end
    if s.weights == "none" or not any(needs_features(mode) for mode in s.mode):
        return context, prepared.decoded
    backbone, made = frozen_backbone(s), prepared.decoded

    def forward(network: Backbone | Prefix, unfreeze: int | None = None) -> Forward:
        part = FrozenPart(s.backbone, s.weights, s.image_size, backbone.precision, unfreeze)
        cpus = feature_makers(s, prepared.resources, backbone.network)

        def in_workers(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
            start_ray()
            from study.trials.extractors import distribute  # Ray.

            make = distribute(context, part, prepared.gpus, cpus, s.max_failures, end)
            try:
                yield from make(chunks)
            except OutOfTimeError as over:
                if made:
                    raise
                raise InputError([_too_short(len(chunks[0]))]) from over

        alone = prepared.resources.only_cores(prepared.gpus)
        run = run_locally_if_fast(images, network, in_workers, cpus) if alone else in_workers

        def noted(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
            nonlocal made
            for rows in run(chunks):
                yield rows
                made = True  # They are kept.

        return noted

    device = prepared.resources.device(prepared.gpus)
    load_features(images, backbone, s.cache, device, s.hflip, end=end, forward=forward(backbone))
    name = feature_entry(images.key, backbone, Path(), s.hflip).as_posix()
    activations: list[str] = []
    for unfreeze in s.unfreeze if "partial" in s.mode else ():
        prefix, _ = cut_backbone(backbone, unfreeze, s.image_size)
        given = images, prefix, s.cache, device, s.hflip
        found = load_activations(*given, end=end, forward=forward(prefix, unfreeze))
        activations += [file.parent.relative_to(s.cache).as_posix() for file in found.files]
    return replace(context, features=name, activations=tuple(activations)), made


def _too_short(first: int) -> Fault:
    why = f"is too short: the frozen network has not run over its first {first:,} images"
    return Fault("--max-time", f"{why}, and less than that is not kept; choose a longer one")


def run_locally_if_fast(
    images: ImageSet, network: Backbone | Prefix, distributed: Forward, threads: int = 1
) -> Forward:
    """Have this process run a frozen network, unless that takes longer than workers to start.

    The result is that of workers of one core, bit for bit: each of its threads runs a copy of the
    network over some of the chunks.
    """

    def seconds_per_image(ready: Backbone | Prefix, views: np.ndarray) -> float:
        start = time.perf_counter()
        run_part(ready, images, CPU, views)
        return (time.perf_counter() - start) / len(views)

    def forward(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
        with one_thread():
            ready, at_once = folded(network, images), min(threads, len(chunks))
            each_s = min(seconds_per_image(ready, chunks[0][:_SAMPLE]) for _ in range(2))
            if each_s * sum(map(len, chunks)) <= SOON_S * at_once:
                yield from _in_threads(ready, images, chunks, at_once)
                return
        yield from distributed(chunks)

    return forward


def _in_threads(
    ready: Backbone | Prefix, images: ImageSet, chunks: list[np.ndarray], threads: int
) -> Iterator[np.ndarray]:
    """Yield the rows of chunk after chunk; one chunk more than threads is begun ahead."""
    idle = SimpleQueue[Backbone | Prefix]()
    for each in (ready, *(copy.deepcopy(ready) for _ in range(threads - 1))):
        idle.put(each)

    def rows(views: np.ndarray) -> np.ndarray:
        own = idle.get()
        try:
            return run_part(own, images, CPU, views)
        finally:
            idle.put(own)

    with ThreadPoolExecutor(threads) as pool:
        yield from in_order(pool, rows, chunks, threads)
