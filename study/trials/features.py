"""The frozen network over all images, in Ray workers: on every core, or on every GPU."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import ray
import torch
from ray.exceptions import RayActorError, RayTaskError

from study.cluster.join import own_address, settle_worker
from study.errors import NodeError
from study.preflight.memory import MemoryKills, extractors
from study.preflight.torch_checks import frozen_backbone
from study.trials.trial_context import TrialContext
from tl_core.config import Precision
from tl_core.data.datasets import ImageSet
from tl_core.device import set_deterministic
from tl_core.errors import GpuMemoryError, InputError
from tl_core.inputs.features import Forward, extract, feature_entry, load_features
from tl_core.inputs.prefix import (
    Prefix,
    cut_backbone,
    extract_activations,
    load_activations,
)
from tl_core.models.backbones import Backbone
from tl_core.models.folding import fold_backbone
from tl_core.runtime import one_thread
from tl_core.training.setup import needs_features, pretrained

if TYPE_CHECKING:
    from study.preflight.prepare import Prepared  # Workers need not import it.

_CPU = torch.device("cpu")
SOON_S = 10.0
"""Longest work that the driver does itself, seconds: about what workers take to start."""
_SAMPLE = 4
"""Images that the network is timed on."""
_IN_FLIGHT = 2
"""Chunks that a GPU's worker has at a time, so that none waits for the driver."""


def with_features(
    prepared: "Prepared", context: TrialContext, start_ray: Callable[[], object] = lambda: None
) -> TrialContext:
    """Run the frozen backbone over the images, unless the cache has the features; add their name.

    So it does with the frozen stages below those that learn in mode `partial`.

    The context stays as it is if no trial needs them. `start_ray` is called if workers do it.
    """
    s, images = prepared.settings, prepared.images
    if s.weights == "none" or not any(needs_features(mode) for mode in s.mode):
        return context
    backbone = frozen_backbone(s)

    def forward(network: Backbone | Prefix, unfreeze: int | None = None) -> Forward:
        part = FrozenPart(s.backbone, s.weights, s.image_size, backbone.precision, unfreeze)
        cpus = prepared.resources.cpus
        if not prepared.resources.joined:
            cpus = extractors(backbone.network, min(cpus, s.jobs or cpus))
        spread = distribute(context, part, prepared.gpus, cpus, s.max_failures)

        def in_workers(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
            start_ray()
            yield from spread(chunks)

        alone = prepared.resources.only_cores(prepared.gpus)
        return run_locally_if_fast(images, network, in_workers) if alone else in_workers

    load_features(images, backbone, s.cache, forward(backbone), s.hflip)
    name = feature_entry(images.key, backbone, Path(), s.hflip).as_posix()
    activations: list[str] = []
    for unfreeze in s.unfreeze if "partial" in s.mode else ():
        prefix, _ = cut_backbone(backbone, unfreeze, s.image_size)
        found = load_activations(images, prefix, s.cache, forward(prefix, unfreeze), s.hflip)
        activations += [file.parent.relative_to(s.cache).as_posix() for file in found.files]
    return replace(context, features=name, activations=tuple(activations))


class FrozenPart(NamedTuple):
    """A frozen network, or the stages of it that stay frozen; the arguments that load it."""

    name: str
    weights: str
    image_size: int
    precision: Precision
    unfreeze: int | None = None
    """Stages above it that learn; None if none does."""


def _folded(network: Backbone | Prefix, images: ImageSet) -> Backbone | Prefix:
    """The network ready to run over many images.

    A prefix stays as it is: training on its activations repeats that of the whole network.
    """
    return network if isinstance(network, Prefix) else fold_backbone(network, images.image_size)


def _run(
    network: Backbone | Prefix, images: ImageSet, device: torch.device, views: np.ndarray
) -> np.ndarray:
    """What the network makes of some views, [B, ...]."""
    if isinstance(network, Prefix):
        return extract_activations(images, network, device, views)
    return extract(images, network, device, views)


def run_locally_if_fast(
    images: ImageSet, network: Backbone | Prefix, distributed: Forward
) -> Forward:
    """Have this process run a frozen network, unless that takes longer than workers to start.

    The result is that of a worker of one core, bit for bit.
    """

    def seconds_per_image(ready: Backbone | Prefix, views: np.ndarray) -> float:
        start = time.perf_counter()
        _run(ready, images, _CPU, views)
        return (time.perf_counter() - start) / len(views)

    def forward(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
        with one_thread():
            ready = _folded(network, images)
            each_s = min(seconds_per_image(ready, chunks[0][:_SAMPLE]) for _ in range(2))
            if each_s * sum(map(len, chunks)) <= SOON_S:
                yield from (_run(ready, images, _CPU, views) for views in chunks)
                return
        yield from distributed(chunks)

    return forward


def distribute(
    context: TrialContext, part: FrozenPart, gpus: int, cpus: int, restarts: int
) -> Forward:
    """Have a frozen network run in one worker for each GPU, else for each core.

    Args:
        context: names the data set.
        part: what is to run.
        gpus: how many are asked for; some may come later, or never.
        cpus: how many cores.
        restarts: how often a worker that dies is started again, on any node.
    """
    # Actors, not tasks: Ray ends a process with a GPU after one task, and the next starts anew.
    options: dict[str, Any] = {"max_restarts": restarts, "max_task_retries": -1}
    worker = ray.remote(_Extractor).options(num_cpus=1, num_gpus=1 if gpus else 0, **options)

    def forward(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
        n_workers = min(gpus or cpus, len(chunks))
        workers = [worker.remote(context, part) for _ in range(n_workers)]
        return _in_order(workers, chunks, _IN_FLIGHT if gpus else 1)

    return forward


def _in_order(
    workers: list[Any], chunks: list[np.ndarray], in_flight: int = 1
) -> Iterator[np.ndarray]:
    """Yield the rows of chunk after chunk; each worker that is up has `in_flight` of them.

    Nothing waits for a worker that is still to start. A worker with no more to do is ended: another
    may need its place.
    """
    busy = {worker.is_up.remote(): worker for worker in workers}
    workers.clear()  # Ray ends a worker that no name is left for.
    waiting, numbers = iter(enumerate(chunks)), dict[Any, int]()
    done: dict[int, np.ndarray] = {}
    kills = MemoryKills()
    for wanted in range(len(chunks)):
        while wanted not in done:
            (ready, *_), _ = ray.wait([*busy])
            rows, wanted_more = _result(ready, kills), in_flight
            if ready in numbers:
                done[numbers.pop(ready)], wanted_more = rows, 1
            _give_next(busy.pop(ready), wanted_more, waiting, busy, numbers)
        yield done.pop(wanted)


def _give_next(
    worker: Any,
    count: int,
    waiting: Iterator[tuple[int, np.ndarray]],
    busy: dict[Any, Any],
    numbers: dict[Any, int],
) -> None:
    # A function, so that its end drops the last name of a worker without a chunk.
    for number, chunk in itertools.islice(waiting, count):
        ref = worker.rows.remote(chunk)
        busy[ref], numbers[ref] = worker, number


def _result(ref: "ray.ObjectRef[Any]", kills: MemoryKills) -> Any:
    try:
        return ray.get(ref)
    except RayTaskError as error:
        if isinstance(error.cause, GpuMemoryError):
            raise InputError([f"making features: {error.cause}"]) from error
        raise error.cause from error
    except RayActorError as error:
        last = (str(error).strip().splitlines() or ["no reason is known"])[-1].strip()
        why = kills.explain(str(error)) or last
        raise InputError([f"making features: a worker has died again and again: {why}"]) from error


class _Extractor:
    """Holds the network and the data set for chunk after chunk."""

    def __init__(self, context: TrialContext, part: FrozenPart) -> None:
        self._context, self._part = context, part

    @cached_property
    def _ready(self) -> tuple[Backbone | Prefix, ImageSet, torch.device]:
        name, weights, size, precision, unfreeze = self._part
        with on_node(self._context):
            device, images = settle_worker(self._context.versions), self._context.attach()
            set_deterministic(self._context.deterministic)
            backbone = pretrained(name, self._context.weights_here(weights), size, precision)
        cut = backbone if unfreeze is None else cut_backbone(backbone, unfreeze, size)[0]
        return _folded(cut, images), images, device

    def is_up(self) -> None:
        """Return when it can begin."""
        _ = self._ready

    def rows(self, views: np.ndarray) -> np.ndarray:
        """What it makes of some views, [B, ...]."""
        return _run(*self._ready, views)


@contextmanager
def on_node(context: TrialContext) -> Iterator[None]:
    """On a cluster, report an error here as the node's: it would fail for every trial."""
    try:
        yield
    except (InputError, OSError) as error:
        if not context.versions:
            raise
        raise NodeError(f"node {own_address()}: {error}") from error
