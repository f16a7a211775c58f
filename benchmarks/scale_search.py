"""Ask, report and tell of each sampler in each storage, by number of finished trials."""

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
from optuna.samplers import BaseSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from benchmarks.scale_base import Row, Tables, figures, median_ms, scratch, seconds
from study.settings import resolve
from study.space import Space

SIZES = (100, 1_000, 10_000)
EPOCHS = 10
REPEATS = 20

SAMPLERS: dict[str, Callable[[], BaseSampler]] = {
    # As in study/search.py; a test holds the two together.
    "tpe": lambda: TPESampler(seed=0, constant_liar=True),
    "random": lambda: RandomSampler(seed=0),
    "qmc": lambda: QMCSampler(seed=0, warn_independent_sampling=False),
}
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
                asks += [_row(storage, name, n, study, repeats) for name in SAMPLERS]
                opens += [_reopen(storage, n, folder)] if storage != "memory" else []
    return {"ms a trial by finished trials": asks, "opening a study again": opens}


def study_space() -> Space:
    """The space that a study searches by default."""
    settings, faults = resolve({"name": _STUDY})
    assert not faults
    return Space(settings)


def finished_trials(n: int) -> list[FrozenTrial]:
    """Trials drawn at random that have reported every epoch and ended."""
    study = optuna.create_study(sampler=RandomSampler(seed=1))
    space = study_space()
    for _ in range(n):
        one_trial(study, space)
    return study.get_trials(deepcopy=False)


def _grow(
    storage: str, folder: Path, sizes: tuple[int, ...], finished: list[FrozenTrial]
) -> Iterator[tuple[int, optuna.Study]]:
    study = optuna.create_study(study_name=_STUDY, storage=STORAGES[storage](folder))
    for n in sizes:
        have = len(study.get_trials(deepcopy=False))
        study.add_trials(finished[have:n])
        yield n, study


def _row(storage: str, name: str, n: int, study: optuna.Study, repeats: int) -> Row:
    study.sampler = SAMPLERS[name]()
    space = study_space()
    times = [one_trial(study, space) for _ in range(repeats)]
    ask, report, tell = (figures(median_ms(list(column))) for column in zip(*times, strict=True))
    total = figures(ask + EPOCHS * report + tell)
    row: Row = {"sampler": name, "storage": storage, "finished": n}
    return row | {
        "ask_ms": ask,
        "report_ms": report,
        "tell_ms": tell,
        "trial_ms": total,
        "trials_per_s_at_most": figures(1000 / total),
    }


def one_trial(study: optuna.Study, space: Space) -> tuple[float, float, float]:
    """Seconds to ask for a trial, to report one of its epochs, and to tell its end."""
    start = time.perf_counter()
    trial = study.ask()
    space(trial)
    asked = time.perf_counter()
    value = trial.params["train_ratio"] + trial.params["aux_weight"]
    for epoch in range(1, EPOCHS + 1):
        trial.report(value, epoch)
    reported = time.perf_counter()
    study.tell(trial, value)
    told = time.perf_counter()
    return asked - start, (reported - asked) / EPOCHS, told - reported


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
