"""Features come in order, whichever of their workers are late or die."""

import os
import pickle
import re
import signal
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from study.cluster.stores import Folder
from study.trials.extractors import (
    GpuFailedError,
    _Extractor,
    _in_order,
    _result,
    distribute,
)
from study.trials.frozen_part import FrozenPart
from study.trials.trial_context import TrialContext
from tests.conftest import TINY
from tests.support.processes import processes, title
from tl_core.data.datasets import ImageSet
from tl_core.errors import GpuMemoryError, InputError, OutOfTimeError
from tl_core.inputs.features import extract
from tl_core.inputs.prefix import cut_backbone, extract_activations
from tl_core.models.folding import fold_backbone
from tl_core.training.setup import pretrained


def make_context(
    images: ImageSet, cache: Path, versions: tuple[tuple[str, str], ...] = ()
) -> TrialContext:
    name = images.path.relative_to(cache).as_posix()
    return TrialContext(cache, name, Folder(cache), "val_log_loss", versions=versions)


@pytest.mark.integration
@pytest.mark.parametrize(("unfreeze", "gpus"), [(None, 0), (1, 1)])
def test_features_need_not_wait_for_workers_that_never_come_or_die(
    ray_of_one_core: Path, images: ImageSet, own_cache: Path, tiny_weights: Path,
    unfreeze: int | None, gpus: int,
) -> None:  # fmt: skip
    part = FrozenPart(TINY, str(tiny_weights), images.image_size, "fp32", unfreeze)
    forward = distribute(make_context(images, own_cache), part, gpus, cpus=3, restarts=2)
    chunks = np.array_split(np.arange(len(images.labels)), 4)
    rows = iter(forward(chunks))
    found = [next(rows)]
    (worker,) = (i for i in processes(ray_of_one_core) if title(i).startswith("ray::_Extractor"))
    os.kill(worker, signal.SIGKILL)
    found += rows
    network, device = pretrained(*part[:4]), torch.device("cpu")
    if unfreeze:
        prefix, _ = cut_backbone(network, unfreeze, images.image_size)
        alone = [extract_activations(images, prefix, device, views) for views in chunks]
    else:
        ready = fold_backbone(network, images.image_size)
        alone = [extract(images, ready, device, views) for views in chunks]
    assert [(a == b).all() for a, b in zip(found, alone, strict=True)] == [True] * 4


@pytest.mark.parametrize("in_flight", [1, 2])
@pytest.mark.parametrize("slow", [1, None])
def test_workers_stop_when_the_time_is_over_and_a_chunk_is_missing(
    slow: int | None, in_flight: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunk `slow` never comes; those beside it do, though each is read after the one before."""
    made = dict[object, Any]()

    def wait(refs: list[object], timeout: float | None) -> tuple[list[object], list[object]]:
        assert timeout == 0, "the time is over"
        ready = [ref for ref in refs if ref in made]
        return ready[:1], ready[1:]

    def remote(rows: np.ndarray | None = None) -> object:
        ref = object()
        if slow is None or rows is None or slow not in rows:
            made[ref] = rows
        return ref

    method = SimpleNamespace(remote=remote)
    worker = SimpleNamespace(is_up=method, rows=method)
    here = SimpleNamespace(wait=wait, get=made.__getitem__)
    monkeypatch.setattr("study.trials.extractors.ray", here)
    chunks = np.array_split(np.arange(4000), 8)
    rows = _in_order(lambda: worker, 4, chunks, in_flight, time.monotonic())
    if slow is None:
        assert np.concatenate([*rows]).tolist() == [*range(4000)]
        return
    why = (
        "--max-time is over: the frozen network has 4,000 more images to run over. What it has "
        "made is kept in the cache; the same command goes on there"
    )
    with pytest.raises(OutOfTimeError, match=f"^{re.escape(why)}$"):
        next(rows)


class Worker(SimpleNamespace):
    """Holds a GPU as long as a name is left for it."""


class Workers:
    """Workers in this process, each on the first GPU that is free; a GPU makes so many chunks."""

    def __init__(self, patch: pytest.MonkeyPatch, *sound: float, late: int | None = None) -> None:
        """Have the chunks of GPU `late` be ready after all others."""
        self._sound, self._late = sound, late
        self._results, self._slow = dict[object, Any](), set[object]()
        self._held = dict[int, weakref.ref[Worker]]()
        self.ran = [list[int]() for _ in sound]
        """Chunks by GPU."""
        self.holding = list[int]()
        """GPUs that were held when the last chunk was given out."""
        patch.setattr("study.trials.extractors.ray", self)
        patch.setattr("study.trials.extractors._result", self._result)

    def start(self) -> Any:
        """The next worker."""
        gpu = next(gpu for gpu in range(len(self._sound)) if gpu not in self._in_use())
        worker = self._worker(gpu)
        self._held[gpu] = weakref.ref(worker)
        return worker

    def _in_use(self) -> list[int]:
        return [gpu for gpu, worker in self._held.items() if worker()]

    def _worker(self, gpu: int) -> Worker:
        def rows(views: np.ndarray | None = None) -> object:
            ref = object()
            self._results[ref] = views if views is not None else str(gpu)
            if views is not None:
                self.ran[gpu].append(int(views[0]))
                self.holding = sorted(self._in_use())
                if gpu == self._late:
                    self._slow.add(ref)
                if len(self.ran[gpu]) > self._sound[gpu]:
                    self._results[ref] = failed = GpuFailedError(GPU_FAILED)
                    failed.gpu = str(gpu)
            return ref

        method = SimpleNamespace(remote=rows)
        return Worker(is_up=method, rows=method)

    def wait(self, refs: list[object], timeout: float | None) -> tuple[list[object], list[object]]:
        refs.sort(key=self._slow.__contains__)
        return refs[:1], refs[1:]

    def _result(self, ref: object, _: object) -> Any:
        result = self._results[ref]
        if isinstance(result, Exception):
            raise result
        return result


GPU_FAILED = "RuntimeError: CUDA error: an illegal memory access"


@pytest.mark.parametrize(("sound", "late", "n", "ran", "holding"), [
    ((0, 9), None, 6, [[0, 1], [2, 3, 0, 1, 4, 5]], [1]),
    ((9, 1), None, 6, [[0, 1, 4, 5, 3], [2, 3]], [0]),
    # The first has ended when the second fails, so a third one starts, on the GPU of the first.
    ((9, 1), None, 4, [[0, 1, 3], [2, 3]], [0, 1]),
    # So it does where the first has failed before: that GPU fails once more, and the next is right.
    ((0, 9, 0), 2, 6, [[0, 1, 4, 5], [2, 3, 0, 1, 4, 5], [4, 5]], [0, 1, 2]),
])  # fmt: skip
def test_the_chunks_of_a_gpu_that_fails_are_made_by_the_others(
    sound: tuple[int, ...], late: int | None, n: int, ran: list[list[int]], holding: list[int],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    workers = Workers(monkeypatch, *sound, late=late)
    rows = _in_order(workers.start, len(sound), list(np.arange(n).reshape(n, 1)), in_flight=2)
    assert np.concatenate([*rows]).tolist() == [*range(n)]
    assert workers.ran == ran
    assert workers.holding == holding
    note = f"note: a GPU has failed, the others make the features: {GPU_FAILED}"
    assert set(caplog.messages) == {note}


@pytest.mark.parametrize(("sound", "n"), [((0, 2), 6), ((2, 1), 4)])
def test_features_end_in_order_where_no_gpu_is_left(
    sound: tuple[int, ...], n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = Workers(monkeypatch, *sound)
    rows = _in_order(workers.start, 2, list(np.arange(n).reshape(n, 1)), 2)
    why = (
        "making features: no GPU is left that works: RuntimeError: CUDA error: an illegal memory "
        "access; what was made is kept in the cache; the same command goes on there"
    )
    with pytest.raises(InputError, match=f"^{re.escape(why)}$"):
        list(rows)


@pytest.mark.parametrize("error", [GpuMemoryError("8 fits"), InputError(["no numbers"])])
def test_a_worker_raises_errors_that_are_not_its_gpu_s(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.trials.extractors.run_part", MagicMock(side_effect=error))
    for device in ("cuda", "cpu"):
        with pytest.raises(type(error), match=f"^{re.escape(str(error))}$"):
            make_worker(device).rows(np.arange(2))


def test_a_worker_returns_the_failure_of_its_gpu_which_ray_would_print(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = RuntimeError("CUDA error: ECC\nCompile")
    monkeypatch.setattr("study.trials.extractors.run_part", MagicMock(side_effect=error))
    with pytest.raises(RuntimeError, match=r"^CUDA error: ECC\nCompile$"):
        make_worker("cpu").rows(np.arange(2))
    found = make_worker("cuda").rows(np.arange(2))
    monkeypatch.setattr("ray.get", lambda _: pickle.loads(pickle.dumps(found)))
    with pytest.raises(GpuFailedError, match=r"^RuntimeError: CUDA error: ECC$") as arrived:
        _result(MagicMock(), MagicMock())
    assert arrived.value.gpu == "1"


def make_worker(device: str) -> _Extractor:
    worker = _Extractor.__new__(_Extractor)
    worker.__dict__.update(_ready=(None, None, torch.device(device)), _gpu="1")
    return worker


@pytest.mark.integration
def test_real_workers_stop_when_the_time_is_over(
    ray_of_one_core: Path, images: ImageSet, own_cache: Path, tiny_weights: Path
) -> None:
    part = FrozenPart(TINY, str(tiny_weights), images.image_size, "fp32", None)
    context, end = make_context(images, own_cache), time.monotonic()
    chunks = np.array_split(np.arange(len(images.labels)), 4)
    with pytest.raises(OutOfTimeError, match=r"has 40 more images"):
        next(iter(distribute(context, part, 0, cpus=3, restarts=0, end=end)(chunks)))
