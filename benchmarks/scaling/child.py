"""One epoch in a process that may not allocate as much as its images take: run by `scale_memory`.

    python -m benchmarks.scaling.child CACHE_ENTRY HEADROOM_BYTES

The limit is RLIMIT_DATA, which any user may set. Since Linux 4.7 it counts all private writable
memory: what Python, NumPy and torch allocate. A shared read-only file map is not in it, and rightly
so: its pages hold what is on disk already, and the kernel takes them back when memory is short.
"""

import json
import resource
import sys
import threading
from pathlib import Path

import numpy as np
import torch

from tl_core.config import TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.runtime import keep_freed_memory
from tl_core.training.train import run_trial

_SAMPLE_S = 0.02


def main(entry: Path, headroom: int) -> None:
    """Set the limit, show that it holds, train, and print what memory it took as JSON."""
    torch.set_num_threads(1)
    keep_freed_memory()  # As every worker does.
    images = ImageSet.open(entry)
    memory = PeakMemory()
    start = memory.now()
    limit = start["VmData"] + headroom
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    refused = _is_refused(images.pixels.nbytes)
    memory.start()
    metrics = _train(images, entry.parent)
    peak = memory.stop()
    print(json.dumps({"refused": refused, "start": start, "peak": peak} | metrics))


class PeakMemory(threading.Thread):
    """Watches `/proc/self/status`; the kernel keeps no peak of anonymous memory itself."""

    names = ("VmData", "RssAnon", "RssFile")

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._peak = dict.fromkeys(self.names, 0)
        self._done = threading.Event()

    def run(self) -> None:
        """Sample until told to stop."""
        while not self._done.wait(_SAMPLE_S):
            self._peak = {name: max(self._peak[name], v) for name, v in self.now().items()}

    def stop(self) -> dict[str, int]:
        """The highest values seen, in bytes."""
        self._done.set()
        self.join()
        return self._peak

    def now(self) -> dict[str, int]:
        """The values of this moment, in bytes."""
        lines = Path("/proc/self/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return {name: int(fields[name].split()[0]) * 1024 for name in self.names}


def _is_refused(n_bytes: int) -> bool:
    """Whether the images could not be held in memory of this process's own."""
    try:
        np.ones(n_bytes, np.uint8)
    except MemoryError:
        return True
    return False


def _train(images: ImageSet, cache: Path) -> dict[str, float | int]:
    config = TrialConfig(
        mode="scratch",
        train_ratio=0.8,
        lr=1e-3,
        backbone="shufflenet_v2_x0_5",
        image_size=images.image_size,
        epochs=1,
    )
    result = run_trial(config, images, cache, torch.device("cpu"))
    (epoch,), split = result.history, result.split
    read = (len(split.train) + len(split.val)) * images.pixels[0].nbytes
    return {"images_per_s": epoch.images_per_s, "train_loss": epoch.train_loss, "read": read}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
