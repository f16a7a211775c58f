"""Where and with what a run of the benchmarks took place."""

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from study.cluster.resources import hardware

_PACKAGES = ("torch", "torchvision", "ray", "optuna", "mlflow", "numpy")


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
    """The commit that this code is, marked if files differ from it; None without git."""
    root = Path(__file__).resolve().parent.parent
    try:
        commit = _git(root, "rev-parse", "HEAD").strip()
        return f"{commit} with changes" if _git(root, "status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _cpu_model() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
