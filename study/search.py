"""The search: Optuna suggests, Ray Tune places, `tl_core.train` runs, the journal hears."""

import logging
import os
import re
import signal
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
import ray
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from study.asha import CellASHA
from study.journal import Journal
from study.machine import usable_cpus
from study.records import TrialRecord
from study.settings import Settings
from study.space import Space
from tl_core.config import DIRECTIONS
from tl_core.datasets import ImageSet
from tl_core.fit import EpochMetrics
from tl_core.memory import keep_freed_memory
from tl_core.train import run_trial


@dataclass(frozen=True)
class Job:
    """What every trial of the study shares; small, since the data are attached by path."""

    space: Space
    images: Path
    cache: Path


def run_in_worker(drawn: dict[str, Any], job: Job) -> None:
    """Run one trial in a Ray worker and report each epoch to Ray Tune."""
    keep_freed_memory()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    device = torch.device("cuda" if ray.get_gpu_ids() else "cpu")

    def report(metrics: EpochMetrics) -> None:
        tune.report(asdict(metrics))

    try:
        run_trial(job.space.config(drawn), _attach(job.images), job.cache, device, report)
    finally:
        torch.cuda.empty_cache()  # The worker stays; trials beside it need the memory.


@lru_cache(maxsize=1)
def _attach(path: Path) -> ImageSet:
    return ImageSet.open(path)


def search(
    settings: Settings,
    images: ImageSet,
    folder: Path,
    gpus: int,
    journal: Journal,
    *,
    run: Callable[[dict[str, Any], Job], None] = run_in_worker,
    cpus: int | None = None,
) -> None:
    """Run `settings.trials` trials on this machine; the journal holds what came of them.

    `run` is one trial in a worker, and `cpus` the slots for frozen trials: benchmarks put others
    in their place.
    """
    # A tracking URI may hold a password; Ray writes what its workers get into files.
    space = Space(settings.model_copy(update={"tracking_uri": ""}))
    job = Job(space, images.path.resolve(), settings.cache.resolve())
    _start_ray(gpus, cpus)
    try:
        tuner = tune.Tuner(
            _with_resources(run, job, gpus, settings.trials_per_gpu),
            tune_config=tune.TuneConfig(
                search_alg=_searcher(space, folder),
                scheduler=CellASHA(settings.metric, settings.epochs),
                num_samples=settings.trials,
                max_concurrent_trials=_most_at_once(settings, gpus),
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
        tuner.fit()
    finally:
        ray.shutdown()


def _with_resources(
    run: Callable[[dict[str, Any], Job], None], job: Job, gpus: int, trials_per_gpu: int
) -> Any:
    core = {"CPU": 1.0}
    full = core | {"GPU": 1 / trials_per_gpu} if gpus else core

    def needs(drawn: dict[str, Any]) -> tune.PlacementGroupFactory:
        # Heads on cached features are small: a core serves them, and no GPU waits for them.
        return tune.PlacementGroupFactory([core if drawn["mode"] == "freeze" else full])

    return tune.with_resources(tune.with_parameters(run, job=job), needs)


def _most_at_once(settings: Settings, gpus: int) -> int:
    """Every slot, and on a GPU machine as many frozen trials beside them.

    On a CPU at most a quarter of the trials: the rest shall learn from those.
    """
    if gpus:
        return 2 * gpus * settings.trials_per_gpu
    return min(usable_cpus(), max(2, settings.trials // 4))


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


def _start_ray(gpus: int, cpus: int | None) -> None:
    # It prints the traceback of each failed trial; the journal tells the reason in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    ray.init(
        address="local",
        num_cpus=cpus or usable_cpus(),
        num_gpus=gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address="127.0.0.1",
    )
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would end the study with nothing saved.


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
        names = EpochMetrics.__dataclass_fields__
        metrics = EpochMetrics(**{name: result[name] for name in names})
        self._journal.epoch(self._record(trial), metrics)

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
