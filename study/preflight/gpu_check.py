"""Which GPUs of this machine can work: each is tried in a process of its own before a study.

Only NVIDIA's. A GPU that hangs, or ends the process that uses it, harms neither the study nor the
check of the others. Run as a program, it tries one GPU and prints its free and total bytes as JSON.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from tl_core.device import gpus_here, nvidia_gpus, require_nvidia
from tl_core.errors import Fault, InputError, in_a_line
from tl_core.gpu_memory import is_out_of_memory, memory
from tl_core.inference.sound_device import check_product
from tl_core.runtime import module_process

VISIBLE = "CUDA_VISIBLE_DEVICES"
LEAST_FREE = 2**30
"""Bytes: a network, its gradients and what CUDA itself keeps take about as much."""
_PATIENCE_S = 120.0
"""The first import of torch from a shared disk can take a minute."""
_NO_CODE = "no kernel image is available for execution on the device"
"""CUDA's words for a GPU that is older, or newer, than those that torch is built for."""


@dataclass(frozen=True)
class GpuReport:
    """What the check of one GPU has found."""

    name: str
    """What `CUDA_VISIBLE_DEVICES` calls it: a number, or a UUID."""
    free: int = 0
    """Bytes."""
    total: int = 0
    """Bytes; 0 if they are not known."""
    fault: str | None = None
    needs: int = 0
    """Bytes of a trial, if one was run."""


def visible_gpus(n_gpus: int) -> list[str]:
    """Return the names of the first GPUs that this process sees."""
    given = os.environ.get(VISIBLE)
    names = given.split(",")[:n_gpus] if given else [str(i) for i in range(n_gpus)]
    return [name.strip() for name in names]


def leave_out_sick_gpus() -> tuple[str, ...]:
    """Have this process and its children see the GPUs that work, most free memory first.

    Call it before this process uses a GPU. Returns why each of the others is left out. Raises
    `InputError` if all are.
    """
    if not (n_gpus := nvidia_gpus()):
        return ()
    use, left_out = choose(ask_gpus(visible_gpus(n_gpus)))
    left_out += _unseen_instances(n_gpus)
    os.environ[VISIBLE] = ",".join(use)
    if (seen := nvidia_gpus()) != len(use):
        # CUDA reads the variable once in a process.
        way_out = f"set {VISIBLE}={os.environ[VISIBLE]} and start again"
        raise InputError([f"{'; '.join(left_out)}: torch still sees {seen} GPUs; {way_out}"])
    return left_out


def _unseen_instances(n_gpus: int) -> tuple[str, ...]:
    """Why other MIG instances than those that this process sees, the first, are left out."""
    names = [name.strip() for name in os.environ.get(VISIBLE, "").split(",")[n_gpus:]]
    why = "CUDA gives a process one MIG instance"
    return tuple(
        f"GPU {name}: {why}; {VISIBLE}={name} runs another study there"
        for name in names
        if name.startswith("MIG-")
    )


def choose(reports: Sequence[GpuReport]) -> tuple[list[str], tuple[str, ...]]:
    """Return the names of the GPUs to use, and why each of the others is left out.

    Raises `InputError` if none can be used.
    """
    left_out = tuple(f"GPU {r.name}: {why}" for r in reports if (why := _fault(r)))
    sound = [r for r in reports if not _fault(r)]
    if not sound:
        why = f"no GPU of this machine can work: {'; '.join(left_out)}"
        raise InputError([Fault(None, f"{why}; --gpus 0 uses the CPU")])
    return [r.name for r in sorted(sound, key=lambda r: -r.free)], left_out


def _fault(report: GpuReport) -> str | None:
    if report.fault or report.free >= LEAST_FREE:
        return report.fault
    return f"{report.free / 2**30:.2f} GiB are free, at least {LEAST_FREE / 2**30:g} are needed"


def ask_gpus(names: Sequence[str], module: str = __name__, *given: str) -> list[GpuReport]:
    """Run a module for each GPU, which is all that it sees, all at once.

    It prints the values of a `GpuReport` as JSON, in its last line.
    """
    command, environment = module_process(module, *given)
    started = [
        subprocess.Popen(
            command,
            env=environment | {VISIBLE: name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        for name in names
    ]
    end = time.monotonic() + _PATIENCE_S
    try:
        return [wait(name, one, end) for name, one in zip(names, started, strict=True)]
    except BaseException:  # An interrupt: they would keep the memory of GPUs.
        for one in started:
            one.kill()
        raise


def wait(name: str, process: "subprocess.Popen[str]", end: float) -> GpuReport:
    """Return what the check of one GPU prints, until `end` by `time.monotonic`."""
    try:
        printed, errors = process.communicate(timeout=max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()  # Nobody waits for it: a process that hangs in a driver may never end.
        return GpuReport(name, fault=f"its check has not ended within {_PATIENCE_S:g} s")
    if process.returncode:
        lines = errors.strip().splitlines() or [f"its check ended with code {process.returncode}"]
        return GpuReport(name, fault=lines[-1].strip())
    return GpuReport(name, **json.loads(printed.splitlines()[-1]))


@contextmanager
def reason_last() -> Iterator[None]:
    """End the process with the reason as its last line if it fails, as `wait` reads it."""
    try:
        yield
    except Exception as error:  # Whatever a GPU or its driver does.
        sys.exit(in_a_line(error))


def main() -> None:
    """Try the only GPU that this process sees."""
    with reason_last():
        free, total = _try_gpu()
        print(json.dumps({"free": free, "total": total}))


def _try_gpu() -> tuple[int, int]:
    """Its free and total bytes, 0 if the check does not fit; raises what is wrong with it."""
    if not (gpus := gpus_here()):
        require_nvidia()
        raise RuntimeError("torch finds no GPU there")
    try:
        check_product(gpus[0])
        return memory(gpus[0])
    except RuntimeError as error:
        if is_out_of_memory(error):
            return 0, 0
        if _NO_CODE in str(error):
            why = f"torch {torch.__version__} is not built for it"
            raise RuntimeError(f"{why}: docs/places.md says which one is") from error
        raise


if __name__ == "__main__":
    main()
