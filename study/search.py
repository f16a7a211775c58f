"""The search: Optuna suggests, Ray Tune places, `tl_core.train` runs, the journal hears."""

import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from study.asha import CellASHA
from study.journal import Journal
from study.machine import usable_cpus
from study.records import TrialRecord
from study.settings import Settings
from study.slots import Slots
from study.space import Space
from study.warm import as_bundle, warm_workers
from study.worker import Job, run_in_worker
from tl_core.config import DIRECTIONS
from tl_core.datasets import ImageSet
from tl_core.fit import EpochMetrics

Run = Callable[[dict[str, Any], Job], None]
"""What a worker does with drawn parameters; it reports each epoch to Ray Tune."""


def search(
    settings: Settings,
    images: ImageSet,
    folder: Path,
    gpus: int,
    journal: Journal,
    *,
    run: Run = run_in_worker,
    cpus: int | None = None,
) -> None:
    """Run `settings.trials` trials on the Ray that is up; the journal holds what came of them.

    Benchmarks put something else in the place of a trial, and of this machine's cores.
    """
    slots = Slots.of(settings, gpus, cpus or usable_cpus())
    # It prints the traceback of each failed trial; the journal tells the reason in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # A tracking URI may hold a password; Ray writes what its workers get into files.
    space = Space(settings.model_copy(update={"tracking_uri": ""}))
    job = Job(space, images.path.resolve(), settings.cache.resolve())
    tuner = tune.Tuner(
        _with_resources(run, job, slots),
        tune_config=tune.TuneConfig(
            search_alg=_searcher(space, folder),
            scheduler=CellASHA(settings.metric, settings.epochs),
            num_samples=settings.trials,
            max_concurrent_trials=slots.most_at_once(settings.trials),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder.resolve()),
            callbacks=[_Listener(space, journal)],
            verbose=0,
        ),
    )
    # It warns when a suggestion takes more than a second, as one may on a busy machine.
    warnings.filterwarnings("ignore", "Define-by-run function passed")
    with warm_workers(slots):
        tuner.fit()


def _with_resources(run: Run, job: Job, slots: Slots) -> Any:
    def needs(drawn: dict[str, Any]) -> tune.PlacementGroupFactory:
        return as_bundle(slots, drawn["mode"])

    return tune.with_resources(tune.with_parameters(run, job=job), needs)


def _searcher(space: Space, folder: Path) -> OptunaSearch:
    settings = space.settings
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # A pending trial counts as a bad one, so that parallel workers spread out.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=settings.seed, constant_liar=True)
    return OptunaSearch(
        space,
        metric=settings.metric,
        mode=DIRECTIONS[settings.metric],
        sampler=sampler,
        points_to_evaluate=space.cells()[: settings.trials],
        study_name=settings.name,
        storage=JournalStorage(JournalFileBackend(str(folder.resolve() / "optuna.log"))),
    )


class _Listener(tune.Callback):
    """Hands what Ray Tune says to the journal."""

    def __init__(self, space: Space, journal: Journal) -> None:
        self._space = space
        self._journal = journal
        self._records: dict[str, TrialRecord] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Ray saves its callbacks with the experiment; the journal's files and sockets stay here.
        return {}

    def _record(self, trial: Any) -> TrialRecord:
        # Ray tells of a worker that dies at its start as an error of a trial that never started.
        if trial.trial_id not in self._records:
            config = self._space.config(trial.config)
            self._records[trial.trial_id] = self._journal.start(config)
        return self._records[trial.trial_id]

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._record(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        for epoch in result["epochs"]:
            self._journal.epoch(self._record(trial), EpochMetrics(**epoch))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self._record(trial)
        whole = len(record.history) == record.config.epochs
        self._journal.end(record, "done" if whole else "pruned")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._journal.end(self._record(trial), "failed", error=_reason(trial))


def _reason(trial: Any) -> str:
    """Last line of the trial's traceback: the exception and its message."""
    # `trial.get_error()` reads the copy in the study's folder, which Ray makes later than this.
    file = Path(trial.error_file or "")
    text = file.read_text().strip() if file.is_file() else ""
    # Its module is no news to whoever reads the table; the file has the whole traceback.
    return re.sub(r"^[\w.]*\.", "", text.splitlines()[-1].strip()) if text else "worker died"
