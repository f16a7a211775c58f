"""What a trial costs the driver: `study.execution.search` with logical GPUs and no-op trials.

A logical GPU is a number in Ray's books, so a machine with two cores can offer sixteen. The
workers' processes start before the clock does: the first trial of each waits for all others.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.common import Row, Tables, figures, scratch
from study.cluster.capacity import Capacity
from study.cluster.local_ray import local_ray
from study.execution.search import search
from study.execution.tune import Run
from study.records.journal import Journal
from study.search.searcher import keep_place
from study.trials.trial_context import TrialContext
from study.trials.worker import Reporter
from tests.support.studies.builders import make_epoch, make_settings
from tests.support.studies.counting_journal import CountingJournal

CASES = ((4, 0.0, 1), (4, 0.0, 10), (8, 0.0, 1), (16, 0.0, 1), (16, 1.0, 1))
"""Logical GPUs, seconds that a trial sleeps, epochs that it reports."""
SLEEP_S, WORKERS = "TL_STUDY_BENCHMARK_SLEEP_S", "TL_STUDY_BENCHMARK_WORKERS"
"""Environment variables, which Ray's workers inherit: seconds that each trial sleeps, and the
number of workers."""
MEETING = "TL_STUDY_BENCHMARK_MEETING"
"""The same: a folder where the workers wait for each other."""
_PATIENCE_S = 500.0


def measure(quick: bool) -> Tables:
    """A study of no-op trials for each case."""
    cases, trials = (((4, 0.0, 10),), 8) if quick else (CASES, 150)
    return {"no-op trials": [_run(*case, trials) for case in cases]}


def _run(slots: int, sleep_s: float, epochs: int, trials: int) -> Row:
    journal = CountingJournal()
    begun = time.perf_counter()
    run_noops(journal, slots, sleep_s, epochs, trials + 2 * slots)
    row: Row = {"slots": slots, "sleep_s": sleep_s, "epochs": epochs}
    started = figures(journal.ends[0][0] - begun)
    # Slots fill up with the first trials and empty with the last ones.
    return row | rates(journal.ends[slots:-slots], slots, sleep_s) | {"all_started_s": started}


def rates(ends: list[tuple[float, float]], slots: int, sleep_s: float) -> Row:
    """Rates of trials that ended at these (wall clock, driver's CPU time), seconds."""
    n = len(ends) - 1
    wall_s, cpu_s = (ends[-1][i] - ends[0][i] for i in (0, 1))
    return {
        "trials_per_s": figures(n / wall_s),
        "wall_ms": figures(wall_s / n * 1000),
        "driver_cpu_ms": figures(cpu_s / n * 1000),
        "driver_at_most_per_s": figures(n / cpu_s),
        # What a slot waits beyond the trial's own time, from one trial's end to the next one's.
        "idle_slot_ms": figures((slots * wall_s / n - sleep_s) * 1000),
    }


def run_noops(
    journal: CountingJournal, slots: int, sleep_s: float, epochs: int, trials: int
) -> None:
    """Run no-op trials that need a logical GPU each. Raises `RuntimeError` unless all end well."""
    with scratch() as folder:
        # The driver sweeps frozen trials; these wait for a worker each.
        given = {"mode": ("finetune",), "epochs": epochs, "trials": trials}
        run_logical(given, slots, folder, journal, _noop, {SLEEP_S: sleep_s, WORKERS: slots})
    failed = [r.error for r in journal.records if r.status == "failed"]
    if failed or len(journal.ends) < trials:
        raise RuntimeError(f"{len(journal.ends)} of {trials} trials ended: {failed[:1]}")


def _noop(drawn: dict[str, Any], context: TrialContext) -> None:
    """Sleep, then report every epoch at once."""
    keep_place(drawn, None)
    meet()
    time.sleep(float(os.environ[SLEEP_S]))
    reporter = Reporter(context.metric)
    for epoch in range(1, drawn["config"]["epochs"] + 1):
        reporter.epoch(make_epoch(epoch))


def run_logical(
    given: dict[str, Any],
    gpus: int,
    folder: Path,
    journal: Journal,
    run: Run,
    environment: dict[str, Any],
    features: str | None = None,
) -> None:
    """Run a study that confirms nothing on its own Ray, each trial on two of Ray's cores.

    `given` are its settings beside those of all such studies, `environment` its workers' variables,
    and `features` the name of those of its frozen trials in the cache, which is the folder.
    """
    (folder / "meeting").mkdir()
    environment |= {"RAY_TMPDIR": folder, MEETING: folder / "meeting"}
    os.environ |= {name: str(value) for name, value in environment.items()}
    fixed = {"name": "logical", "confirm": False, "gpus": gpus}
    settings = make_settings(**fixed | {"out": folder, "cache": folder} | given)
    cpus = 2 * Capacity.of(settings, max(1, gpus), 1).full
    context = replace(TrialContext.here(settings, "images", folder), features=features)
    try:
        with local_ray(gpus, cpus):
            search(settings, context, Capacity.of(settings, gpus, cpus), folder, journal, run=run)
    finally:
        del os.environ["RAY_TMPDIR"]  # The folder goes, and a later Ray needs one.


def meet() -> None:
    """Return once all workers are here, so that their starts are not timed."""
    folder, workers = Path(os.environ[MEETING]), int(os.environ[WORKERS])
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + _PATIENCE_S
    while len(list(folder.iterdir())) < workers:
        if time.monotonic() > end:
            raise TimeoutError(f"fewer than {workers} workers after {_PATIENCE_S:g} s")
        time.sleep(0.1)
