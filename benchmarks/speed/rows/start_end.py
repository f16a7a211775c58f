"""What a study costs beside its training: from the start of its command to its end."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import seconds
from benchmarks.speed.bench import RATIO, Bench
from benchmarks.speed.harness import Row, measured, rounds
from benchmarks.speed.studies import OurStudy, all_done
from study.records.ledger import read_records
from tl_core.inputs.features import load_features

_FEW = 80
"""Images of the small study."""


def start_end(bench: Bench) -> Iterator[Row]:
    """Wall and CPU seconds of two small frozen studies, each a command with a new MLflow store.

    One has few images and empty caches, the other all images, whose features are cached. Training
    takes a second of each: the rest is imports, MLflow, the checks, the report.
    """
    small, of_all = _Command(bench, 3, _few(bench)), _Command(bench, 8)
    load_features(bench.images, bench.backbone, bench.cache, bench.device)
    rounds({"small": small.run, "all": of_all.run}, bench.repeats, bench.log)
    n = len(bench.images.labels)
    caches = {"small": "from empty caches", "all": "on cached features"}
    for name, command, images, target in (("small", small, _FEW, 10), ("all", of_all, n, 12)):
        gate = all_done(command.studies)
        what = f"{command.trials} frozen trials of {images:,} images {caches[name]}, start to end"
        walls = [study.wall_s for study in command.studies]
        shown: dict[str, Any] = {"unit": "s", "direction": "at most"}
        details = {"images": images, "trials": command.trials}
        row = f"start-end-{name}"
        yield measured(row, what, walls, gate, target=target, details=details, **shown)
        what = "CPU seconds of the same, all its processes together"
        yield measured(f"{row}-cpu", what, command.cpu_s, gate, details=details, **shown)


class _Command:
    """A study as a user starts it, again and again."""

    def __init__(self, bench: Bench, trials: int, data: Path | None = None) -> None:
        """Without `data`, it has the benchmark's images and caches."""
        self._bench, self.trials, self._data = bench, trials, data
        self.studies: list[OurStudy] = []
        self.cpu_s: list[float] = []
        """User and system time of each run."""

    def run(self) -> float:
        """Run it; return its seconds, from before the interpreter starts."""
        home = self._bench.fresh("start-end")
        cache = home / "cache" if self._data else self._bench.cache
        before = _cpu_of_children()
        wall_s = seconds(partial(self._call, home, cache))
        self.cpu_s.append(_cpu_of_children() - before)
        records = [r for r in read_records(home / "ours") if r.kind == "search"]
        self.studies.append(OurStudy(wall_s, self.trials, records))
        return wall_s

    def _call(self, home: Path, cache: Path) -> None:
        bench = self._bench
        flags = {
            "data": self._data or bench.folder,
            "backbone": bench.backbone_name,
            "image-size": bench.image_size,
            "mode": "freeze",
            "train-ratio": RATIO,
            "trials": self.trials,
            "cache": cache,
            "out": home,
            "name": "ours",
            "tracking-uri": f"sqlite:///{home / 'mlflow.db'}",
        }
        command = [sys.executable, "-m", "study.run"]
        for name, value in flags.items():
            command += [f"--{name}", str(value)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr or done.stdout}")


def _few(bench: Bench) -> Path:
    """A folder with the first images of each class."""
    into = bench.fresh("few")
    classes = [folder for folder in sorted(bench.folder.iterdir()) if folder.is_dir()]
    for folder in classes:
        (into / folder.name).mkdir()
        for file in sorted(folder.iterdir())[: _FEW // len(classes)]:
            shutil.copy(file, into / folder.name / file.name)
    return into


def _cpu_of_children() -> float:
    """User and system time of the processes that have ended, and of those they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
