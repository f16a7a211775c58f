"""What a trial costs the driver: `study.search.search` with logical GPUs and no-op trials.

A logical GPU is a number in Ray's books, so a two-core machine can play one with sixteen. The
workers' processes start before the clock does: the first trial of each waits for all others.
"""

import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import scale_noop
from benchmarks.scale_base import Row, Tables, figures, scratch
from study.journal import Journal
from study.ray_local import local_ray
from study.records import Kind, Status, TrialRecord
from study.resolve import resolve
from study.search import search
from study.settings import Settings
from tl_core.config import TrialConfig
from tl_core.datasets import ImageSet
from tl_core.epoch import EpochMetrics

CASES = ((4, 0.0, 1), (4, 0.0, 10), (8, 0.0, 1), (16, 0.0, 1), (16, 1.0, 1))
"""Logical GPUs, seconds that a trial sleeps, epochs that it reports."""
TRIALS = 150


def measure(cases: tuple[tuple[int, float, int], ...] = CASES, trials: int = TRIALS) -> Tables:
    """A study of no-op trials for each case."""
    return {"no-op trials": [_run(*case, trials) for case in cases]}


class CountingJournal(Journal):
    """Notes when trials end, and the driver's CPU time then; writes nothing."""

    def __init__(self) -> None:
        self.records = []
        self.displays = []
        self.ends: list[tuple[float, float]] = []

    def start(
        self,
        config: TrialConfig,
        trial: int = 0,
        kind: Kind = "search",
        source: int | None = None,
        draw: int | None = None,
    ) -> TrialRecord:
        """Open a record."""
        self.records.append(TrialRecord(trial, config, kind=kind, source=source, draw=draw))
        return self.records[-1]

    def epoch(self, record: TrialRecord, metrics: EpochMetrics) -> None:
        """Add one epoch."""
        record.history.append(metrics)

    def end(
        self,
        record: TrialRecord,
        status: Status,
        error: str | None = None,
        files: list[Path] | None = None,
        model: Path | None = None,
    ) -> None:
        """Close a record."""
        record.status, record.error = status, error
        self.ends.append((time.perf_counter(), _cpu_s()))


def _run(slots: int, sleep_s: float, epochs: int, trials: int) -> Row:
    journal = CountingJournal()
    begun = time.perf_counter()
    run_noops(journal, slots, sleep_s, epochs, trials + 2 * slots)
    row: Row = {"slots": slots, "sleep_s": sleep_s, "epochs": epochs}
    started = figures(journal.ends[0][0] - begun)
    # The last trials leave slots empty, as the first ones fill them.
    return row | rates(journal.ends[slots:-slots], slots, sleep_s) | {"all_started_s": started}


def run_noops(
    journal: CountingJournal, slots: int, sleep_s: float, epochs: int, trials: int
) -> None:
    """Run a study of no-op trials that need a logical GPU each; all of them must end well."""
    os.environ[scale_noop.SLEEP] = str(sleep_s)
    with scratch() as folder:
        os.environ["RAY_TMPDIR"] = str(folder)
        os.environ[scale_noop.WORKERS] = str(slots)
        os.environ[scale_noop.MEETING] = str(folder / "meeting")
        (folder / "meeting").mkdir()
        settings = _settings(slots, epochs, trials, folder)
        images = tiny_images(folder / "images")
        with local_ray(slots, 2 * slots):
            search(settings, images, folder, slots, journal, run=scale_noop.noop, cpus=2 * slots)
    failed = [r.error for r in journal.records if r.status == "failed"]
    if failed or len(journal.ends) < trials:
        raise RuntimeError(f"{len(journal.ends)} of {trials} trials ended: {failed[:1]}")


def rates(ends: list[tuple[float, float]], slots: int, sleep_s: float) -> Row:
    """From (wall, driver's CPU) seconds at which trials ended: what one trial took."""
    n = len(ends) - 1
    wall_s, cpu_s = (ends[-1][i] - ends[0][i] for i in (0, 1))
    row: Row = {
        "trials_per_s": figures(n / wall_s),
        "wall_ms": figures(wall_s / n * 1000),
        "driver_cpu_ms": figures(cpu_s / n * 1000),
        "driver_at_most_per_s": figures(n / cpu_s),
        # What a slot waits beyond the trial's own time, from one trial's end to the next one's.
        "idle_slot_ms": figures((slots * wall_s / n - sleep_s) * 1000),
    }
    return row


def tiny_images(path: Path) -> ImageSet:
    """Just enough of a data set to be attached; no-op trials read nothing."""
    none = np.zeros(0)
    return ImageSet("tiny", "tiny", path, ("cat", "dog"), (), none, none, none)


def _settings(slots: int, epochs: int, trials: int, folder: Path) -> Settings:
    given: dict[str, Any] = {
        "name": "scaling",
        # Frozen trials need no GPU; these are to wait for one each.
        "mode": ("finetune",),
        "precision": "fp32",
        "gpus": slots,
        "epochs": epochs,
        "trials": trials,
        "confirm": False,
        "cache": folder / "cache",
        "out": folder,
    }
    settings, faults = resolve(given)
    assert not faults, faults
    return settings


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
