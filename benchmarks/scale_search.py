"""Ask and tell of each sampler in each storage, by number of finished trials."""

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from benchmarks.scale_base import Row, Tables, figures, median_ms, scratch, seconds
from study.resolve import resolve
from study.settings import Sampler
from study.space import Space
from study.suggest import SAMPLERS

SIZES = (100, 1_000, 10_000)
REPEATS = 20

NAMES: tuple[Sampler, ...] = ("tpe", "random", "qmc")
"""Not gp, whose time grows with the cube of the trials."""
STORAGES: dict[str, Callable[[Path], BaseStorage]] = {
    "journal": lambda folder: JournalStorage(JournalFileBackend(str(folder / "optuna.log"))),
    "memory": lambda _: InMemoryStorage(),
    "sqlite": lambda folder: RDBStorage(f"sqlite:///{folder}/optuna.db"),
}
_STUDY = "scaling"


def measure(sizes: tuple[int, ...] = SIZES, repeats: int = REPEATS) -> Tables:
    """Every sampler in every storage, and what it takes to open the storages again."""
    be_quiet()
    finished = finished_trials(max(sizes))
    asks: list[Row] = []
    opens: list[Row] = []
    for storage in STORAGES:
        with scratch() as folder:
            for n, study in _grow(storage, folder, sizes, finished):
                asks += [_row(storage, name, n, study, repeats) for name in NAMES]
                opens += [_reopen(storage, n, folder)] if storage != "memory" else []
    return {"ms a trial by finished trials": asks, "opening a study again": opens}


def study_space() -> Space:
    """The space that a study searches by default."""
    settings, faults = resolve({"name": _STUDY})
    assert not faults
    return Space(settings)


def finished_trials(n: int) -> list[FrozenTrial]:
    """Trials drawn at random that have ended."""
    study, space = optuna.create_study(), study_space()
    for _ in range(n):
        one_trial(study, space, "random")
    return study.get_trials(deepcopy=False)


def _grow(
    storage: str, folder: Path, sizes: tuple[int, ...], finished: list[FrozenTrial]
) -> Iterator[tuple[int, optuna.Study]]:
    study = optuna.create_study(study_name=_STUDY, storage=STORAGES[storage](folder))
    for n in sizes:
        have = len(study.get_trials(deepcopy=False))
        study.add_trials(finished[have:n])
        yield n, study


def _row(storage: str, name: Sampler, n: int, study: optuna.Study, repeats: int) -> Row:
    space = study_space()
    times = [one_trial(study, space, name) for _ in range(repeats)]
    ask, tell = (figures(median_ms(list(column))) for column in zip(*times, strict=True))
    total = figures(ask + tell)
    row: Row = {"sampler": name, "storage": storage, "finished": n}
    return row | {
        "ask_ms": ask,
        "tell_ms": tell,
        "trial_ms": total,
        "trials_per_s_at_most": figures(1000 / total),
    }


def one_trial(study: optuna.Study, space: Space, sampler: Sampler) -> tuple[float, float]:
    """Seconds to ask for a trial, and to tell its end, as `study.suggest` does."""
    start = time.perf_counter()
    study.sampler = SAMPLERS[sampler](0, len(study.get_trials(deepcopy=False)))
    trial = study.ask()
    space(trial)
    asked = time.perf_counter()
    study.tell(trial, trial.params["train_ratio"] + trial.params["aux_weight"])
    return asked - start, time.perf_counter() - asked


def _reopen(storage: str, n: int, folder: Path) -> Row:
    def load() -> None:
        optuna.load_study(study_name=_STUDY, storage=STORAGES[storage](folder)).get_trials()

    size = sum(file.stat().st_size for file in folder.iterdir())
    took = figures(seconds(load))
    return {"storage": storage, "finished": n, "open_s": took, "file_mb": figures(size / 1e6)}


def be_quiet() -> None:
    """Keep Optuna from telling of each trial and of what is experimental."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
