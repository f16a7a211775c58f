"""The same trial twice, in two processes: how close, and bit for bit with `--deterministic`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.check import Check, GpuBench
from benchmarks.gpu.parts.training import train
from benchmarks.speed.harness import together
from tl_core.config import EpochMetrics
from tl_core.device import is_gpu, set_deterministic

_CLOCK = "images_per_s"


def replay(bench: GpuBench) -> Iterator[Check]:
    """Compare all numbers of both."""
    for deterministic in (True, False):
        given = (str(bench.device), bench.tiny, bench.scratch, deterministic)
        one, other = together(_train, 2, *given, patience_s=60)
        apart = gaps(one, other)
        name, worst = max(apart.items(), key=lambda gap: gap[1])
        exact = deterministic or not is_gpu(bench.device)
        fault = f"{name} is {worst:.3g} away" if exact and worst else ""
        how = "with --deterministic" if deterministic else "without --deterministic"
        what = f"most that a number of a repeated trial is away, {how}"
        yield Check(what, worst, fault=fault, details={"of": name, "gaps": apart})


def gaps(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, float]:
    """How far each number of each epoch is away; infinity where only one side has it."""
    found = {}
    for number, (a, b) in enumerate(zip(one, other, strict=True), start=1):
        for name in (a.keys() | b.keys()) - {_CLOCK}:
            x, y = a.get(name), b.get(name)
            both = x is not None and y is not None
            gap = abs(x - y) if both else 0.0 if x is y else float("inf")  # type: ignore[operator]
            found[f"{name} of epoch {number}"] = float(gap)
    return found


def _train(
    device: str,
    tiny: bool,
    scratch: Path,
    deterministic: bool,
    wait: Callable[[float], Any],
    found: Any,
) -> None:
    bench = GpuBench(torch.device(device), tiny, scratch)
    set_deterministic(deterministic)
    torch.set_num_threads(1)  # Several round sums differently.
    history: list[EpochMetrics] = train(bench, bench.batches[0], epochs=2)
    found.put([metrics.plain() for metrics in history])
