"""Images a second: training in each way to take steps, several trials at once, extraction."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.check import Check, GpuBench
from benchmarks.gpu.parts.training import rate, train
from benchmarks.speed.harness import together
from tl_core.config import EpochMetrics
from tl_core.device import best_precision
from tl_core.training.steps.cuda_graph import can_capture
from tl_core.training.steps.graphs import StepGraphs

TRAINING, EXTRACTION = 15_000, 40_000
"""Images/s of ResNet18 at 224 px that an H100 is to reach: at batch 32, and in a warm process."""
_LOSS = (0.05, 0.25)
"""Largest relative difference of the first epoch's loss from float32: of an epoch of ResNet18, and
of the few steps of a tiny one, where rounding alone makes a tenth."""
_COMPILERS = ("gcc", "clang")
"""Torch's compiler calls one of them, on GPUs as well."""
_MOST = 4
"""Trials that share a GPU."""


def eager(bench: GpuBench) -> Iterator[Check]:
    """Steps one by one."""
    yield from _both(bench, "eager", {"graphs": None})


def captured(bench: GpuBench) -> Iterator[Check]:
    """As a study on an NVIDIA GPU takes them: the step of a full batch is one graph."""
    if not can_capture(bench.device) or best_precision(bench.device) == "fp16":
        yield Check("training captured", skipped="steps are not recorded on such a GPU")
        return
    graphs = StepGraphs()
    for n, check in enumerate(_both(bench, "captured", {"graphs": graphs}, TRAINING), start=1):
        none = f"no graph was recorded: {graphs.failure or 'none was tried'}"
        yield replace(check, fault=check.fault or ("" if graphs.recorded == n else none))


def compiled(bench: GpuBench) -> Iterator[Check]:
    """`--compile`."""
    if not any(map(shutil.which, _COMPILERS)):
        yield Check("training compiled", skipped=f"needs {' or '.join(_COMPILERS)}")
        return
    yield from _both(bench, "compiled", compile=True)


def _both(
    bench: GpuBench,
    how: str,
    given: dict[str, Any] | None = None,
    target: float | None = None,
    **changes: Any,
) -> Iterator[Check]:
    for batch in bench.batches:
        history = train(bench, batch, given=given, epochs=bench.pick(5, 2), **changes)
        what, fault = f"training {how}, batch {batch}", _apart(bench, batch, history)
        yield Check(what, rate(history), "images/s", target, fault=fault)


def _apart(bench: GpuBench, batch: int, history: list[EpochMetrics]) -> str:
    """Why the first epoch is not that of float32."""
    given = {"graphs": None}
    plain = train(bench, batch, given=given, precision="fp32", epochs=1)[0].train_loss
    loss = history[0].train_loss
    if abs(loss - plain) <= bench.pick(*_LOSS) * abs(plain):
        return ""
    return f"the first epoch's loss is {loss:.4g}, and {plain:.4g} in float32"


def sharing(bench: GpuBench) -> Iterator[Check]:
    """`--trials-per-gpu` 1 to 4 at the small batch: images/s of all together."""
    batch, _ = bench.batches
    for n in range(1, bench.pick(_MOST, 2) + 1):
        given = (str(bench.device), bench.tiny, bench.scratch, batch)
        found = together(_share, n, *given, patience_s=60)
        goal = float(TRAINING) if n == _MOST else None
        details = {"images_per_s": found}
        what = f"training, {n} at once on a GPU at batch {batch}"
        yield Check(what, sum(found), "images/s", target=goal, details=details)


def _share(
    device: str, tiny: bool, scratch: Path, batch: int, wait: Callable[[float], Any], found: Any
) -> None:
    """Train beside other processes, all at the same time after the first epoch."""
    bench = GpuBench(torch.device(device), tiny, scratch)

    def report(metrics: EpochMetrics) -> None:
        if metrics.epoch == 1:
            wait(60)

    found.put(rate(train(bench, batch, report, epochs=bench.pick(6, 2))))


def extraction(bench: GpuBench) -> Iterator[Check]:
    """Features of a large data set by a process that has nothing yet, as a study makes them."""
    n = len(bench.many_images.labels)
    given = (bench.many_images.path, bench.backbone, bench.device)
    command = [sys.executable, "-m", "benchmarks.gpu.cold", *given]
    start = time.perf_counter()
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True, cwd=Path.cwd()
    )
    whole = time.perf_counter() - start
    found = json.loads(done.stdout.splitlines()[-1])
    details = found | {"whole_s": whole}
    yield Check(f"features of {n:,} images from a cold process", whole, "s", details=details)
    what = f"features of {n:,} images, once the process is up"
    yield Check(what, n / found["features_s"], "images/s", details=details)
    again = n / found["again_s"]
    yield Check("the same again, with the network warm", again, "images/s", EXTRACTION)
