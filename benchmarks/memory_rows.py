"""What it costs to give 1, 2 and 4 workers the data: time and memory."""

from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.attach import Attached, attach, open_entry, touch
from benchmarks.bench import Bench, tile
from benchmarks.ceilings import memory_copy
from benchmarks.harness import Gate, Row, SkippedError, agree, all_of, measured
from tl_core.features import load_features

_WORKERS = (1, 2, 4)
_LEAST = 64 * 2**20
"""Bytes of data: beside less, what a process needs for itself would count."""


def attach_memory(bench: Bench) -> Iterator[Row]:
    """Attach time and total PSS of several workers, against one copy of the data."""
    if not Path("/proc/self/smaps_rollup").is_file():
        raise SkippedError("no /proc/self/smaps_rollup")
    folder = _data(bench)
    images, features = open_entry(folder)
    size, checksum = images.pixels.nbytes + features.nbytes, touch(images, features)
    del images, features  # This process would share in the pages.
    for workers in _WORKERS:
        runs = [_run(folder, workers) for _ in range(bench.repeats)]
        gate = all_of([agree("sum of bytes", a.checksum, checksum, 0) for r in runs for a in r])
        gate = Gate(gate.ok, "every worker reads the same bytes" if gate.ok else gate.text)
        yield from _rows(bench, workers, size, runs, gate)


def _rows(
    bench: Bench, workers: int, size: int, runs: list[list[Attached]], gate: Gate
) -> Iterator[Row]:
    many = f"{workers} worker{'s' if workers > 1 else ''}"
    pss = [sum(a.pss for a in run) / size for run in runs]
    told: dict[str, Any] = {"data_mb": round(size / 1e6, 1), "workers": workers}
    what = f"total PSS of {many} that hold all images and features, in copies of the data"
    yield measured(
        f"pss-{workers}",
        what,
        pss,
        gate,
        unit="copies",
        target=1.1,
        direction="at most",
        details=told,
    )
    slowest = [max(a.seconds for a in run) for run in runs]
    copies = [size / (memory_copy(torch.device("cpu"), 0.1) / 2) for _ in runs]
    what = f"attach all images and features and touch each page, {many}, in times of one copy"
    told = told | {"attach_ms": [round(1000 * s, 2) for s in slowest]}
    told = told | {"copy_ms": [round(1000 * c, 2) for c in copies]}
    values = [s / c for s, c in zip(slowest, copies, strict=True)]
    yield measured(f"attach-{workers}", what, values, gate, direction="at most", details=told)


def _data(bench: Bench) -> Path:
    """Images and features of their own, that no other process has attached."""
    features = load_features(bench.images, bench.backbone, bench.cache, bench.device)
    times = -(-_LEAST // (bench.images.pixels.nbytes + features.nbytes))
    folder = bench.fresh("attach")
    tile(bench.images, times, folder / "images")
    np.save(folder / "features.npy", np.tile(features, (times, 1)))
    return folder


def _run(folder: Path, workers: int) -> list[Attached]:
    context = get_context("spawn")
    barrier, found = context.Barrier(workers), context.Queue()
    given = (folder, barrier.wait, found)
    processes = [context.Process(target=attach, args=given) for _ in range(workers)]
    for process in processes:
        process.start()
    try:
        return [found.get(timeout=300) for _ in processes]
    finally:
        for process in processes:
            process.join(10)
            process.kill()
