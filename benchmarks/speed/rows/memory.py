"""Time and memory that it costs to give the data to 1, 2 and 4 workers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed.attach import Attached, attach, open_entry, touch
from benchmarks.speed.bench import Bench, memory_copy, tile
from benchmarks.speed.harness import Gate, Row, SkippedError, agree, all_of, measured, together
from tl_core.inputs.features import load_features

_CPU = torch.device("cpu")
_WORKERS = (1, 2, 4)
_LEAST = 64 * 2**20
"""Bytes of data: with fewer, a process's own memory would count."""


def attach_memory(bench: Bench) -> Iterator[Row]:
    """Attach time and total PSS of several workers, against one copy of the data."""
    if not Path("/proc/self/smaps_rollup").is_file():
        raise SkippedError("no /proc/self/smaps_rollup")
    # Data of their own, which no other process has attached.
    features = load_features(bench.images, bench.backbone, bench.cache, bench.device)
    times = -(-_LEAST // (bench.images.pixels.nbytes + features.nbytes))
    folder = bench.fresh("attach")
    tile(bench.images, times, folder / "images")
    np.save(folder / "features.npy", np.tile(features, (times, 1)))
    images, features = open_entry(folder)
    size, checksum = images.pixels.nbytes + features.nbytes, touch(images, features)
    del images, features  # Else this process shares the pages.
    runs = [
        (memory_copy(_CPU, 0.1) / 2, together(attach, n, folder, patience_s=300))
        for _ in range(bench.repeats)
        for n in _WORKERS
    ]
    gate = all_of([agree("sum of bytes", a.checksum, checksum, 0) for _, run in runs for a in run])
    for workers in _WORKERS:
        yield from _rows([run for run in runs if len(run[1]) == workers], size, gate)


def _rows(runs: list[tuple[float, list[Attached]]], size: int, gate: Gate) -> Iterator[Row]:
    """Of runs of the same number of workers, each with the bytes/s of a copy made before it."""
    workers = len(runs[0][1])
    many = f"{workers} worker{'s' if workers > 1 else ''}"
    slowest = [max(a.seconds for a in run) for _, run in runs]
    copies = [size / rate for rate, _ in runs]
    details = {
        "data_mb": round(size / 1e6, 1),
        "attach_ms": [round(1000 * s, 2) for s in slowest],
        "copy_ms": [round(1000 * s, 2) for s in copies],
    }
    what = f"total PSS of {many} that hold all data, in copies of it"
    pss = [sum(a.pss for a in run) / size for _, run in runs]
    least: dict[str, Any] = {"direction": "at most", "details": details}
    yield measured(f"pss-{workers}", what, pss, gate, unit="copies", target=1.1, **least)
    what = f"{many}: attach all data, touch each page, in times of a copy"
    values = [s / copy for s, copy in zip(slowest, copies, strict=True)]
    yield measured(f"attach-{workers}", what, values, gate, **least)
