"""What it costs to give 1, 2 and 4 workers the data: time and memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed.attach import Attached, attach, open_entry, touch
from benchmarks.speed.bench import Bench, tile
from benchmarks.speed.ceilings import memory_copy
from benchmarks.speed.harness import Gate, Row, SkippedError, agree, all_of, measured
from benchmarks.speed.together import together
from tl_core.training.features import load_features

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
    runs = _interleaved(folder, size, bench.repeats)
    gates = [agree("sum of bytes", a.checksum, checksum, 0) for r in runs for a in r.attached]
    gate = all_of(gates)
    gate = Gate(gate.ok, "every worker reads the same bytes" if gate.ok else gate.text)
    for workers in _WORKERS:
        yield from _rows([run for run in runs if len(run.attached) == workers], size, gate)


@dataclass(frozen=True)
class _Run:
    """Several workers that held the data together, and a copy of it made just before."""

    copy_s: float
    attached: list[Attached]


def _interleaved(folder: Path, size: int, repeats: int) -> list[_Run]:
    """1, 2 and 4 workers in turn."""
    return [
        _Run(
            size / (memory_copy(torch.device("cpu"), 0.1) / 2),
            together(attach, workers, folder, patience_s=300),
        )
        for _ in range(repeats)
        for workers in _WORKERS
    ]


def _rows(runs: list[_Run], size: int, gate: Gate) -> Iterator[Row]:
    workers = len(runs[0].attached)
    many = f"{workers} worker{'s' if workers > 1 else ''}"
    slowest = [max(a.seconds for a in run.attached) for run in runs]
    told = {
        "data_mb": round(size / 1e6, 1),
        "attach_ms": [round(1000 * s, 2) for s in slowest],
        "copy_ms": [round(1000 * run.copy_s, 2) for run in runs],
    }
    name, what = f"pss-{workers}", f"total PSS of {many} that hold all data, in copies of it"
    pss = [sum(a.pss for a in run.attached) / size for run in runs]
    least: dict[str, Any] = {"direction": "at most", "details": told}
    yield measured(name, what, pss, gate, unit="copies", target=1.1, **least)
    name, what = (
        f"attach-{workers}",
        f"{many}: attach all data, touch each page, in times of a copy",
    )
    values = [s / run.copy_s for s, run in zip(slowest, runs, strict=True)]
    yield measured(name, what, values, gate, **least)


def _data(bench: Bench) -> Path:
    """Images and features of their own, that no other process has attached."""
    features = load_features(bench.images, bench.backbone, bench.cache, bench.device)
    times = -(-_LEAST // (bench.images.pixels.nbytes + features.nbytes))
    folder = bench.fresh("attach")
    tile(bench.images, times, folder / "images")
    np.save(folder / "features.npy", np.tile(features, (times, 1)))
    return folder
