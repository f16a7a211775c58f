"""Data sets larger than memory train from the memory map: one epoch under a real limit."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scaling import child as scale_child
from benchmarks.scaling.base import Row, Tables, figures, scratch

DATA_MB, HEADROOM_MB, SIDE = 3_000, 600, 128
_CHUNK = 64
_MB = 10**6


def measure(data_mb: int = DATA_MB, headroom_mb: int = HEADROOM_MB, side: int = SIDE) -> Tables:
    """Train one epoch on `data_mb` of images, with `headroom_mb` of memory to allocate."""
    with scratch() as folder:
        if shutil.disk_usage(folder).free < 2 * data_mb * _MB:
            raise OSError(f"{folder} has no room for {data_mb} MB of images")
        entry = draw_entry(folder / "entry", data_mb * _MB // (3 * side * side), side)
        found = run_child(entry, headroom_mb * _MB)
    return {"one epoch under RLIMIT_DATA": [_row(found, data_mb, headroom_mb)]}


def draw_entry(entry: Path, n: int, side: int) -> Path:
    """A cache entry as `tl_core` makes them: noise, the second class a little brighter."""
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
    np.save(entry / "labels.npy", labels)
    np.save(entry / "brightness.npy", brightness)
    write_about(entry, n)
    return entry


def write_about(entry: Path, n: int) -> None:
    """The names in a cache entry, as long as those of real files."""
    ids = [f"{('cat', 'dog')[i % 2]}/photo_{i:08d}.jpg" for i in range(n)]
    about = {"name": "noise", "classes": ["cat", "dog"], "ids": ids, "bad": []}
    (entry / "about.json").write_text(json.dumps(about))


def run_child(entry: Path, headroom: int) -> dict[str, Any]:
    """Train in a process of its own, since a limit can't be lifted again."""
    command = [sys.executable, "-m", scale_child.__name__, str(entry), str(headroom)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise RuntimeError(f"training under the limit failed: {done.stderr.strip()[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _row(found: dict[str, Any], data_mb: int, headroom_mb: int) -> Row:
    start, peak = found["start"], found["peak"]
    return {
        "images_mb": data_mb,
        "limit_mb": headroom_mb,
        "copy_refused": str(found["refused"]),
        "epoch_read_mb": found["read"] // _MB,
        "anon_start_mb": start["RssAnon"] // _MB,
        "anon_peak_mb": peak["RssAnon"] // _MB,
        "allocated_mb": (peak["VmData"] - start["VmData"]) // _MB,
        "mapped_peak_mb": peak["RssFile"] // _MB,
        "images_per_s": figures(found["images_per_s"]),
    }
