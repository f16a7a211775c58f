"""Several drivers on one search: processes that share an Optuna storage, as studies would."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import optuna

from benchmarks.scale_base import Row, Tables, figures, meet, scratch
from benchmarks.scale_search import STORAGES, be_quiet, one_trial, study_space

DRIVERS = (1, 2)
TRIALS = 40
"""Trials of each driver."""
_STUDY = "shared"


def measure(drivers: tuple[int, ...] = DRIVERS, trials: int = TRIALS) -> Tables:
    """The trials a second that drivers ask for and tell together, training nothing."""
    be_quiet()
    shared = [name for name in STORAGES if name != "memory"]
    return {"sharing a storage": [_row(name, n, trials) for name in shared for n in drivers]}


def _row(storage: str, drivers: int, trials: int) -> Row:
    with scratch() as folder:
        optuna.create_study(study_name=_STUDY, storage=STORAGES[storage](folder))
        (folder / "meeting").mkdir()
        work = partial(_drive, storage, folder, trials, drivers)
        with ProcessPoolExecutor(drivers, multiprocessing.get_context("spawn")) as pool:
            starts, ends = zip(*pool.map(work, range(drivers), chunksize=1), strict=True)
        study = optuna.load_study(study_name=_STUDY, storage=STORAGES[storage](folder))
        numbers = {trial.number for trial in study.trials if trial.state.is_finished()}
    if len(numbers) != drivers * trials:
        raise RuntimeError(f"{len(numbers)} of {drivers * trials} trials are in the {storage}")
    rate = drivers * trials / (max(ends) - min(starts))
    return {"storage": storage, "drivers": drivers, "trials_per_s": figures(rate)}


def _drive(storage: str, folder: Path, trials: int, drivers: int, _: int) -> tuple[float, float]:
    """Search once all drivers are here; return when it began and ended, by the system's clock."""
    be_quiet()
    study = optuna.load_study(study_name=_STUDY, storage=STORAGES[storage](folder))
    space = study_space()
    meet(folder / "meeting", drivers)
    start = time.monotonic()
    for _ in range(trials):
        one_trial(study, space, "tpe")
    return start, time.monotonic()
