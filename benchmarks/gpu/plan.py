"""The parts of `python -m benchmarks gpu`: each in a process of its own, for a limited time."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.check import Check

WHOLE_S = 480
"""Seconds of all parts together."""
_END_S = 5.0
"""Seconds to end in order, for a part that is out of time."""
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Part:
    """A process that makes some checks."""

    module: str
    """In `parts/`; the function has the part's name."""
    limit_s: int
    about: str
    needs_gpu: bool = False


PARTS = {
    "images": Part("drawing", 40, "draw the images of all other parts"),
    "no-wait": Part("training", 25, "20 steps in which the host never waits", needs_gpu=True),
    "first-epoch": Part("training", 20, "first epochs of trials one after another"),
    "epoch": Part("training", 20, "an epoch: training, validation, checkpoint"),
    "extraction": Part("rates", 50, "features of 25,000 images from a cold process"),
    "eager": Part("rates", 30, "training images/s, step by step"),
    "captured": Part("rates", 35, "the same, each step as one graph", needs_gpu=True),
    "compiled": Part("rates", 90, "the same with --compile"),
    "sharing": Part("rates", 55, "the same with --trials-per-gpu 1 to 4"),
    "auto": Part("limits", 30, "--trials-per-gpu auto", needs_gpu=True),
    "filled": Part("limits", 30, "a study with a GPU that is full", needs_gpu=True),
    "replay": Part("repeats", 40, "a trial again, with and without --deterministic"),
    "advice": Part("limits", 15, "what a trial that is out of memory advises", needs_gpu=True),
}
"""By name, in the order in which they run."""
FIRST = "images"
"""The part that all others need."""


def run_part(name: str, device: str, tiny: bool, scratch: Path, limit_s: float) -> Iterator[Check]:
    """Run a part; yield its checks, and one that has failed if the part ends too late or badly."""
    out = scratch / f"{name}.jsonl"
    command = [sys.executable, "-m", "benchmarks.gpu.worker", name, device, str(scratch), str(out)]
    command += ["--tiny"] if tiny else []
    log = scratch / f"{name}.log"
    with log.open("w") as lines:
        # A session of its own, so that what it has started ends with it.
        process = subprocess.Popen(
            command, cwd=_ROOT, stdout=lines, stderr=subprocess.STDOUT, start_new_session=True
        )
        fault = _wait(process, limit_s)
    if out.exists():
        yield from (Check(**json.loads(line)) for line in out.read_text().splitlines())
    if fault:
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        yield Check(PARTS[name].about, fault="; ".join([fault, *last]))


def _wait(process: "subprocess.Popen[bytes]", limit_s: float) -> str:
    """Return why a part has not ended well, if it has not; whatever it started has ended then."""
    try:
        code = process.wait(limit_s)
        return "" if code == 0 else f"its process ended with code {code}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        return f"not done after {limit_s:.0f} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.poll()
