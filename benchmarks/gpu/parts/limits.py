"""Too little memory: the advice to a trial, how many trials fit, and a GPU that others fill."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gpu.check import Check, GpuBench
from benchmarks.gpu.parts.training import train, trial_of
from study.preflight.gpu_check import LEAST_FREE, ask_gpus, visible_gpus
from study.preflight.gpu_share import CONTEXT, fitting
from tl_core.device import gpus_here
from tl_core.errors import GpuMemoryError
from tl_core.gpu_memory import limit_memory, memory

SHARE = 0.05
"""Of a GPU's memory, for a network that is too large for it."""
_ROOT = Path(__file__).parents[3]


def advice(bench: GpuBench) -> Iterator[Check]:
    """Out of memory in a trial: the batch size that is named must fit."""
    images = bench.images
    limit_memory(bench.device, SHARE)
    largest, fault, named = int(0.8 * len(images.labels)), "", 0
    try:
        train(bench, largest, epochs=1)
        fault = f"a batch of {largest} fits into {SHARE:.0%} of the memory"
    except GpuMemoryError as error:
        found = re.search(r"; (\d+) fits", str(error))
        fault = "" if found else f"no batch size is named: {error}"
        named = int(found[1]) if found else 0
    if named:
        train(bench, named, epochs=1)  # Its own error says that it does not fit.
    yield Check(f"batch that is advised instead of {largest}", named or None, "", fault=fault)


def auto(bench: GpuBench) -> Iterator[Check]:
    """What `--trials-per-gpu auto` measures for ResNet18 at the small batch."""
    batch, _ = bench.batches
    config = trial_of(bench, batch).model_dump()
    asked = {"config": config, "n_images": 25_000, "n_classes": 2, "deterministic": False}
    (report,) = ask_gpus(visible_gpus(1), "study.preflight.gpu_share", json.dumps(asked))
    if report.fault:
        yield Check("--trials-per-gpu auto", fault=report.fault)
        return
    table = 25_000 * 3 * bench.side**2
    fits = fitting(report.free, report.needs, table)
    yield Check(f"a trial at batch {batch} on the GPU", report.needs / 1e9, "GB")
    yield Check("--trials-per-gpu auto, by memory alone", fits, details={"free": report.free})


def filled(bench: GpuBench) -> Iterator[Check]:
    """Another process fills a GPU: a study leaves it out and names it, or is refused with it."""
    n_gpus = len(gpus_here())
    command = [sys.executable, "study/run.py", "--data", str(bench.photos), "--mode", "scratch"]
    command += ["--trials", "2", "--train-ratio", "0.4", "--epochs", "1", "--min-steps", "4"]
    command += ["--image-size", "64", "--no-confirm", "--offline", "--name", "filled"]
    command += ["--out", str(bench.scratch), "--cache", str(bench.scratch / "cache")]
    with _full_gpu():
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_ROOT)
    said = " ".join((done.stdout + done.stderr).split())
    expected = (2, "no GPU of this machine can work: ") if n_gpus == 1 else (0, "left out is ")
    code, words = expected
    fault = ""
    if done.returncode != code or words not in said or "GiB are free" not in said:
        fault = f"exit code {done.returncode}, {code} is expected with {words!r}: {said[-400:]}"
    what = "a study whose only GPU is full is refused" if n_gpus == 1 else "a full GPU is left out"
    yield Check(f"{what}, and told so", fault=fault)


@contextmanager
def _full_gpu() -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.gpu.parts.limits"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_ROOT
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            if process.stdout.readline() != "full\n":
                raise RuntimeError("the process that is to fill the GPU has ended")
            yield
        finally:
            process.stdin.close()  # It ends at the end of its input.


def fill() -> None:
    """Leave half of what a study asks for of the first GPU's memory, until input ends."""
    import torch

    gpu = gpus_here()[0]
    taken = torch.empty(1, device=gpu)
    left = CONTEXT + LEAST_FREE // 2  # The check takes a context before it can tell what is free.
    taken = torch.empty(memory(gpu)[0] - left, dtype=torch.uint8, device=gpu)
    print("full", flush=True)
    sys.stdin.read()
    del taken


if __name__ == "__main__":
    fill()
