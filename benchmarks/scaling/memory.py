"""Data sets larger than memory train from the memory map: one epoch under a real limit.

The epoch runs in a process of its own, `python -m benchmarks.scaling.memory ENTRY HEADROOM_BYTES`,
since a limit can't be lifted again. The limit is RLIMIT_DATA, which any user may set. Since Linux
4.7 it counts all private writable memory: what Python, NumPy and torch allocate. It does not count
a shared read-only file map: its pages are on disk, and the kernel frees them when memory is short.
"""

import json
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Row, Tables, figures, scratch, write_entry
from tl_core.config import TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.runtime import keep_freed_memory
from tl_core.training.train import run_trial

SIDE, _CHUNK, _MB = 128, 64, 10**6
_FIELDS = ("VmData", "RssAnon", "RssFile")


def measure(quick: bool) -> Tables:
    """Train one epoch on more images than the memory that may be allocated."""
    data_mb, headroom_mb = (600, 450) if quick else (3_000, 600)
    with scratch() as folder:
        if shutil.disk_usage(folder).free < 2 * data_mb * _MB:
            raise OSError(f"{folder} has no room for {data_mb} MB of images")
        entry = draw_entry(folder / "entry", data_mb * _MB // (3 * SIDE * SIDE), SIDE)
        command = [sys.executable, "-m", "benchmarks.scaling.memory"]
        command += [str(entry), str(headroom_mb * _MB)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise RuntimeError(f"training under the limit failed: {done.stderr.strip()[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    sizes: Row = {"images_mb": data_mb, "limit_mb": headroom_mb}
    return {"one epoch under RLIMIT_DATA": [sizes | _row(found)]}


def draw_entry(entry: Path, n: int, side: int) -> Path:
    """A cache entry like those of `tl_core`: noise, the second class a little brighter."""
    entry.mkdir()
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    brightness = np.zeros(n, np.float32)
    pixels = np.lib.format.open_memmap(entry / "pixels.npy", "w+", np.uint8, (n, 3, side, side))
    for at in range(0, n, _CHUNK):
        label = labels[at : at + _CHUNK, None, None, None].astype(np.uint8)
        noise = rng.integers(0, 200, (len(label), 3, side, side), np.uint8) + 40 * label
        pixels[at : at + _CHUNK] = noise
        brightness[at : at + _CHUNK] = noise.mean((1, 2, 3)) / 255
    pixels.flush()
    write_tables(entry, labels, brightness)
    return entry


def write_tables(entry: Path, labels: np.ndarray, brightness: np.ndarray) -> None:
    """All of a cache entry but its pixels; names are as long as those of real files."""
    ids = [f"{('cat', 'dog')[i % 2]}/photo_{i:08d}.jpg" for i in range(len(labels))]
    write_entry(entry, labels, brightness, ids, {"name": "noise", "classes": ["cat", "dog"]})


def _row(found: dict[str, Any]) -> Row:
    start, peak = found["start"], found["peak"]
    return {
        "copy_refused": str(found["refused"]),
        "epoch_read_mb": found["read"] // _MB,
        "anon_start_mb": start["RssAnon"] // _MB,
        "anon_peak_mb": peak["RssAnon"] // _MB,
        "allocated_mb": (peak["VmData"] - start["VmData"]) // _MB,
        "mapped_peak_mb": peak["RssFile"] // _MB,
        "images_per_s": figures(found["images_per_s"]),
    }


def memory_now() -> dict[str, int]:
    """Memory of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * 1024 for name in _FIELDS}


def train_under_limit(entry: Path, headroom: int) -> dict[str, Any]:
    """Set the limit, show that it holds, train, and return what memory it took."""
    torch.set_num_threads(1)
    keep_freed_memory()  # As every worker does.
    images, start = ImageSet.open(entry), memory_now()
    limit = start["VmData"] + headroom
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    fixed = {"backbone": "shufflenet_v2_x0_5", "image_size": images.image_size}
    config = TrialConfig(mode="scratch", train_ratio=0.8, lr=1e-3, epochs=1, **fixed)
    try:
        np.ones(images.pixels.nbytes, np.uint8)  # A copy in this process's own memory.
        refused = False
    except MemoryError:
        refused = True
    samples, done = [start], threading.Event()

    def sample() -> None:  # The kernel keeps no peak of anonymous memory.
        while not done.wait(0.02):
            samples.append(memory_now())

    sampling = threading.Thread(target=sample, daemon=True)
    sampling.start()
    result = run_trial(config, images, entry.parent, torch.device("cpu"))
    done.set()
    sampling.join()
    peak = {name: max(found[name] for found in samples) for name in _FIELDS}
    read = (len(result.split.train) + len(result.split.val)) * images.pixels[0].nbytes
    rate = result.history[0].images_per_s
    return {"refused": refused, "start": start, "peak": peak, "read": read, "images_per_s": rate}


if __name__ == "__main__":
    print(json.dumps(train_under_limit(Path(sys.argv[1]), int(sys.argv[2]))))
