"""The frozen network over all images, in Ray workers: on every core, or on every GPU."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayActorError, RayTaskError

from study.cluster.join import own_address
from study.cluster.worker_setup import settle_worker
from study.errors import NodeError
from study.execution.trial_context import TrialContext
from tl_core.config import Precision
from tl_core.data.datasets import ImageSet
from tl_core.errors import InputError
from tl_core.models.backbones import Backbone
from tl_core.runtime import one_thread
from tl_core.training.features import Forward, extract
from tl_core.training.train import pretrained

_CPU = torch.device("cpu")
SOON_S = 10.0
"""What the driver does itself takes no longer: about what workers take to start."""
_TRIED = 4
"""Images to try the network on."""


def run_locally_if_fast(images: ImageSet, backbone: Backbone, spread: Forward) -> Forward:
    """Have this process run a frozen network, unless that takes longer than workers to start.

    It computes as a worker of one core does, to the last bit.
    """

    def forward(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
        with one_thread():
            each_s = min(_try_s(images, backbone, chunks[0][:_TRIED]) for _ in range(2))
            if each_s * sum(map(len, chunks)) <= SOON_S:
                yield from (extract(images, backbone, _CPU, views) for views in chunks)
                return
        yield from spread(chunks)

    return forward


def _try_s(images: ImageSet, backbone: Backbone, views: np.ndarray) -> float:
    start = time.perf_counter()
    extract(images, backbone, _CPU, views)
    return (time.perf_counter() - start) / len(views)


def distribute(
    context: TrialContext,
    backbone: tuple[str, str, int, Precision],
    gpus: int,
    cpus: int,
    restarts: int,
) -> Forward:
    """Have `load_features` run the frozen network in a worker a GPU, else a core.

    Args:
        job: names the data set.
        backbone: what `tl_core.training.train.pretrained` takes.
        gpus: how many are asked for; some may come later, or never.
        cpus: how many cores.
        restarts: how often a worker that dies is started again, wherever there is a place.
    """
    # Actors: Ray would end a process with a GPU after one task, and the next had to start anew.
    again: dict[str, Any] = {"max_restarts": restarts, "max_task_retries": -1}
    worker = ray.remote(_Extractor).options(num_cpus=1, num_gpus=1 if gpus else 0, **again)

    def forward(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
        n_workers = min(gpus or cpus, len(chunks))
        return _in_order([worker.remote(context, backbone) for _ in range(n_workers)], chunks)

    return forward


def _in_order(workers: list[Any], chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the rows of chunk after chunk, of which each worker that is up has one at a time.

    Nothing waits for a worker that is still to come, and one that has no more to do is ended: its
    place may be what another one needs.
    """
    busy = {worker.is_up.remote(): worker for worker in workers}
    workers.clear()  # Ray ends a worker that no name is left for.
    waiting, numbers = iter(enumerate(chunks)), dict[Any, int]()
    done: dict[int, np.ndarray] = {}
    for wanted in range(len(chunks)):
        while wanted not in done:
            (ready, *_), _ = ray.wait([*busy])
            rows = _result(ready)
            if ready in numbers:
                done[numbers.pop(ready)] = rows
            _occupy(busy.pop(ready), next(waiting, None), busy, numbers)
        yield done.pop(wanted)


def _occupy(
    worker: Any, chunk: tuple[int, np.ndarray] | None, busy: dict[Any, Any], numbers: dict[Any, int]
) -> None:
    if chunk:
        ref = worker.rows.remote(chunk[1])
        busy[ref], numbers[ref] = worker, chunk[0]


def _result(ref: "ray.ObjectRef[Any]") -> Any:
    try:
        return ray.get(ref)
    except RayTaskError as error:
        raise error.cause from error
    except RayActorError as error:
        why = (str(error).strip().splitlines() or ["no reason is known"])[-1].strip()
        raise InputError([f"making features: a worker has died again and again: {why}"]) from error


class _Extractor:
    """Holds the network and the data set for chunk after chunk."""

    def __init__(self, context: TrialContext, backbone: tuple[str, str, int, Precision]) -> None:
        self._context, self._backbone = context, backbone

    @cached_property
    def _ready(self) -> tuple[ImageSet, Backbone, torch.device]:
        name, weights, size, precision = self._backbone
        with on_node(self._context):
            device, images = settle_worker(self._context.versions), self._context.attach()
            network = pretrained(name, self._context.weights_here(weights), size, precision)
        return images, network, device

    def is_up(self) -> None:
        """Return when it can begin."""
        _ = self._ready

    def rows(self, views: np.ndarray) -> np.ndarray:
        """Features of some views, [B, D]."""
        return extract(*self._ready, views)


@contextmanager
def on_node(context: TrialContext) -> Iterator[None]:
    """On a cluster, have what fails here be the node's fault: it would fail for every trial."""
    try:
        yield
    except (InputError, OSError) as error:
        if not context.versions:
            raise
        raise NodeError(f"node {own_address()}: {error}") from error
