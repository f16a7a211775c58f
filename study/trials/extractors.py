"""The workers that run a frozen network over all images: one for each core, or for each GPU."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayActorError, RayTaskError

from study.cluster.join import own_address, own_gpu, settle_worker
from study.preflight.memory import MemoryKills
from study.trials.frozen_part import FrozenPart, folded, run_part
from study.trials.trial_context import TrialContext, on_node
from tl_core.data.datasets import ImageSet
from tl_core.device import is_gpu, set_deterministic
from tl_core.errors import GpuMemoryError, InputError, OutOfTimeError, in_a_line
from tl_core.inputs.features import Forward
from tl_core.inputs.prefix import Prefix, cut_backbone
from tl_core.models.backbones import Backbone
from tl_core.training.setup import pretrained

_IN_FLIGHT = 2
"""Chunks that a GPU's worker has at a time, so that none waits for the driver."""
_log = logging.getLogger(__name__)


class GpuFailedError(RuntimeError):
    """A GPU has failed under a frozen network, for another reason than too little memory."""

    gpu = ""
    """Which, if it is known."""


def distribute(
    context: TrialContext,
    part: FrozenPart,
    gpus: int,
    cpus: int,
    restarts: int,
    end: float | None = None,
) -> Forward:
    """Have a frozen network run in one worker for each GPU, else for each core.

    Args:
        context: names the data set.
        part: what is to run.
        gpus: how many are asked for; some may come later, or never.
        cpus: how many cores.
        restarts: how often a worker that dies is started again, on any node.
        end: when what is made raises `OutOfTimeError`, by `time.monotonic`, if it is not ready.
    """
    # Actors, not tasks: Ray ends a process with a GPU after one task, and the next starts anew.
    options: dict[str, Any] = {"max_restarts": restarts, "max_task_retries": -1}
    worker = ray.remote(_Extractor).options(num_cpus=1, num_gpus=1 if gpus else 0, **options)

    def forward(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
        n_workers = min(gpus or cpus, len(chunks))
        start = partial(worker.remote, context, part)
        return _in_order(start, n_workers, chunks, _IN_FLIGHT if gpus else 1, end)

    return forward


def _in_order(
    start: Callable[[], Any],
    n_workers: int,
    chunks: list[np.ndarray],
    in_flight: int = 1,
    end: float | None = None,
) -> Iterator[np.ndarray]:
    """Yield the rows of chunk after chunk; each worker that is up has `in_flight` of them.

    Nothing waits for a worker that is still to start. A worker with no more to do is ended: another
    may need its place. So is one whose GPU fails; the others get its chunks, or, if nothing was
    left for them, one more that starts.
    """
    # Ray ends a worker that no name is left for.
    busy = dict(_begin(start) for _ in range(n_workers))
    found_gpus, sick, broken = set[str](), set[str](), list[Any]()
    waiting, numbers = deque(range(len(chunks))), dict[Any, int]()
    done: dict[int, np.ndarray] = {}
    kills = MemoryKills()
    for wanted in range(len(chunks)):
        while wanted not in done:
            left = None if end is None else max(0.0, end - time.monotonic())
            found, _ = ray.wait([*busy], timeout=left)
            if not found:
                more = sum(map(len, chunks[wanted:]))
                raise OutOfTimeError(
                    f"--max-time is over: the frozen network has {more:,} more images to run "
                    "over. What it has made is kept in the cache; the same command goes on there"
                )
            (ready,) = found
            try:
                rows, wanted_more = _result(ready, kills), in_flight
            except GpuFailedError as error:
                failed = busy[ready]
                waiting.extendleft(reversed(_drop(failed, busy, numbers)))
                sick.add(error.gpu)
                if not busy and found_gpus - sick:
                    broken.append(failed)  # It keeps its GPU, so that the next starts on another.
                    busy.update([_begin(start)])
                del failed
                if not busy:
                    why = f"making features: no GPU is left that works: {error}"
                    kept = "what was made is kept in the cache; the same command goes on there"
                    raise InputError([f"{why}; {kept}"]) from error
                _log.warning("note: a GPU has failed, the others make the features: %s", error)
                continue
            if ready in numbers:
                done[numbers.pop(ready)], wanted_more = rows, 1
            else:
                found_gpus.add(rows)
            _give_next(busy.pop(ready), wanted_more, chunks, waiting, busy, numbers)
        yield done.pop(wanted)


def _begin(start: Callable[[], Any]) -> tuple[Any, Any]:
    """Start a worker; return what is ready when it is up, and the worker."""
    worker = start()
    return worker.is_up.remote(), worker


def _give_next(
    worker: Any,
    count: int,
    chunks: list[np.ndarray],
    waiting: deque[int],
    busy: dict[Any, Any],
    numbers: dict[Any, int],
) -> None:
    # A function, so that its end drops the last name of a worker without a chunk.
    for _ in range(min(count, len(waiting))):
        number = waiting.popleft()
        ref = worker.rows.remote(chunks[number])
        busy[ref], numbers[ref] = worker, number


def _drop(worker: Any, busy: dict[Any, Any], numbers: dict[Any, int]) -> list[int]:
    """Forget a worker and all that it was asked for; return the numbers of its chunks."""
    asked = [ref for ref, its in busy.items() if its is worker]
    for ref in asked:
        del busy[ref]
    return [numbers.pop(ref) for ref in asked if ref in numbers]


def _result(ref: "ray.ObjectRef[Any]", kills: MemoryKills) -> Any:
    try:
        found = ray.get(ref)
    except RayTaskError as error:
        if isinstance(error.cause, GpuMemoryError):
            raise InputError([f"making features: {error.cause}"]) from error
        raise error.cause from error
    except RayActorError as error:
        last = (str(error).strip().splitlines() or ["no reason is known"])[-1].strip()
        why = kills.explain(str(error)) or last
        raise InputError([f"making features: a worker has died again and again: {why}"]) from error
    if isinstance(found, GpuFailedError):
        raise found
    return found


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
        return folded(cut, images), images, device

    @cached_property
    def _gpu(self) -> str:
        return f"{own_address()} {own_gpu()}"

    def is_up(self) -> str:
        """Return its GPU, if it has one, when it can begin."""
        _ = self._ready
        return self._gpu

    def rows(self, views: np.ndarray) -> np.ndarray | GpuFailedError:
        """What it makes of some views, [B, ...].

        A failure of the GPU is returned. Nobody asks for that of the worker's next chunk, and Ray
        prints raised errors that nobody asks for.
        """
        network, images, device = self._ready
        try:
            return run_part(network, images, device, views)
        except GpuMemoryError:
            raise
        except RuntimeError as error:
            if not is_gpu(device):
                raise
            failed = GpuFailedError(in_a_line(error))
            failed.gpu = self._gpu  # As a second argument it would be part of the text.
            return failed
