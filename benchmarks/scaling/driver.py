"""What a trial costs the driver: `study.execution.tune.search` with logical GPUs and no-op trials.

A logical GPU is a number in Ray's books, so a two-core machine can play one with sixteen. The
workers' processes start before the clock does: the first trial of each waits for all others.
"""

import time

from benchmarks.scaling import noop as scale_noop
from benchmarks.scaling.base import Row, Tables, figures, scratch
from benchmarks.scaling.logical_study import run_logical
from tests.support.studies.counting_journal import CountingJournal

CASES = ((4, 0.0, 1), (4, 0.0, 10), (8, 0.0, 1), (16, 0.0, 1), (16, 1.0, 1))
"""Logical GPUs, seconds that a trial sleeps, epochs that it reports."""
TRIALS = 150


def measure(cases: tuple[tuple[int, float, int], ...] = CASES, trials: int = TRIALS) -> Tables:
    """A study of no-op trials for each case."""
    return {"no-op trials": [_run(*case, trials) for case in cases]}


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
    with scratch() as folder:
        (folder / "meeting").mkdir()
        told = {
            scale_noop.SLEEP: sleep_s,
            scale_noop.WORKERS: slots,
            scale_noop.MEETING: folder / "meeting",
        }
        # Frozen trials need no GPU; these are to wait for one each.
        given = {"mode": ("finetune",), "epochs": epochs, "trials": trials}
        run_logical(given, slots, folder, journal, scale_noop.noop, told)
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
