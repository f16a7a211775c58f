"""What all benchmarks share: tables of plain values, timing, and where a run took place."""

import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from study.cluster.resources import hardware

Row = dict[str, str | int | float]
Tables = dict[str, list[Row]]
"""Title -> rows, all with the same columns; a column's name ends in its unit."""
_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy", "pillow")


def environment() -> dict[str, Any]:
    """Versions, hardware, load average, date and commit."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | {n: version(n) for n in _PACKAGES},
        "cpu": _cpu_model(),
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "load_before": load(),
    }


def load() -> tuple[float, ...]:
    """Load average over 1, 5 and 15 minutes; empty where the system has none."""
    return tuple(round(x, 2) for x in os.getloadavg()) if hasattr(os, "getloadavg") else ()


def _commit() -> str | None:
    """The commit of this code, marked if files differ from it; None without git."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).resolve().parent), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    try:
        commit = git("rev-parse", "HEAD").strip()
        return f"{commit} with changes" if git("status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu_model() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is removed afterwards; its path is short, as Ray's sockets need it."""
    with tempfile.TemporaryDirectory(prefix="tl", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def write_entry(
    entry: Path, labels: np.ndarray, brightness: np.ndarray, ids: list[str], about: dict[str, Any]
) -> None:
    """Write all of a cache entry but its pixels, as `tl_core` does; `about`: name and classes."""
    np.save(entry / "labels.npy", labels)
    np.save(entry / "brightness.npy", brightness)
    (entry / "about.json").write_text(json.dumps(about | {"ids": ids, "bad": []}))


def seconds(run: Callable[[], object]) -> float:
    """How long `run` takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def median_ms(times_s: list[float]) -> float:
    """Median of times in seconds, in milliseconds."""
    return statistics.median(times_s) * 1000


def figures(value: float, digits: int = 3) -> float:
    """Round to so many significant digits."""
    return float(f"{value:.{digits}g}")
