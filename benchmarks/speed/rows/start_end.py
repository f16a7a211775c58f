"""What a study costs beside its training: from the start of its command to its end."""

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.speed.bench import Bench
from benchmarks.speed.harness import Row, measured, rounds
from benchmarks.speed.studies import OurStudy, all_done, run_command, settings_of
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
        bench = self._bench
        cache = bench.fresh("cache-of-command") if self._data else bench.cache
        given = settings_of(bench, cache, self.trials)
        given |= {"data": self._data} if self._data else {}
        del given["epochs"], given["confirm"]  # A user's are the defaults.
        before = _cpu_of_children()
        self.studies.append(run_command(given))
        self.cpu_s.append(_cpu_of_children() - before)
        return self.studies[-1].wall_s


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
