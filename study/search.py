"""The search: Optuna suggests, Ray Tune places, `tl_core.train` runs, the journal hears."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from study.asha import CellASHA
from study.confirm import Planned, missing, most_planned, plan
from study.journal import Journal
from study.machine import usable_cpus
from study.records import TrialRecord
from study.settings import Settings
from study.slots import Slots
from study.suggest import Suggestions, storage_in
from study.trial_queue import TrialQueue, config_of
from study.warm import as_bundle, warm_workers
from study.worker import Job, run_in_worker
from tl_core.datasets import ImageSet
from tl_core.epoch import EpochMetrics

Run = Callable[[dict[str, Any], Job], None]
"""What a worker does with a trial; it reports each epoch to Ray Tune."""


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
    """Run `settings.trials` trials on the Ray that is up, and those that confirm the best ones.

    The journal holds what came of them. Benchmarks put something else in the place of a trial,
    and of this machine's cores.
    """
    slots = Slots.of(settings, gpus, cpus or usable_cpus())
    # It prints the traceback of each failed trial; the journal tells the reason in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    job = Job(images.path.resolve(), settings.cache.resolve(), folder.resolve() / "winner")
    queue = TrialQueue(
        Suggestions(settings, storage_in(folder)),
        settings.metric,
        settings.trials,
        lambda: _plan(settings, journal),
        first=max((r.trial for r in journal.records), default=-1) + 1,
    )
    tuner = tune.Tuner(
        _with_resources(run, job, slots),
        tune_config=tune.TuneConfig(
            search_alg=queue,
            scheduler=CellASHA(settings.metric, settings.epochs),
            num_samples=settings.trials + most_planned(settings),
            max_concurrent_trials=slots.most_at_once(settings.trials),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder.resolve()),
            callbacks=[_Listener(journal, job.winner)],
            verbose=0,
        ),
    )
    with warm_workers(slots):
        tuner.fit()


def _plan(settings: Settings, journal: Journal) -> list[Planned]:
    planned = missing(plan(settings, journal.records), journal.records)
    journal.confirm(len(planned))
    return planned


def _with_resources(run: Run, job: Job, slots: Slots) -> Any:
    def needs(drawn: dict[str, Any]) -> tune.PlacementGroupFactory:
        return as_bundle(slots, drawn["mode"])

    return tune.with_resources(tune.with_parameters(run, job=job), needs)


class _Listener(tune.Callback):
    """Hands what Ray Tune says to the journal."""

    def __init__(self, journal: Journal, winner: Path) -> None:
        self._journal = journal
        self._winner = winner
        self._records: dict[str, TrialRecord] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Ray saves its callbacks with the experiment; the journal's files and sockets stay here.
        return {}

    def _record(self, trial: Any) -> TrialRecord:
        # Ray tells of a worker that dies at its start as an error of a trial that never started.
        if trial.trial_id not in self._records:
            drawn = trial.config
            self._records[trial.trial_id] = self._journal.start(
                config_of(drawn), drawn["trial"], drawn["kind"], drawn["source"]
            )
        return self._records[trial.trial_id]

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._record(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        for epoch in result["epochs"]:
            self._journal.epoch(self._record(trial), EpochMetrics(**epoch))
        self._record(trial).test |= result["test"]

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self._record(trial)
        whole = len(record.history) == record.config.epochs
        model = self._winner if trial.config["winner"] else None
        self._journal.end(record, "done" if whole else "pruned", model=model)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._journal.end(self._record(trial), "failed", error=_reason(trial))


def _reason(trial: Any) -> str:
    """Last line of the trial's traceback: the exception and its message."""
    # `trial.get_error()` reads the copy in the study's folder, which Ray makes later than this.
    file = Path(trial.error_file or "")
    text = file.read_text().strip() if file.is_file() else ""
    # Its module is no news to whoever reads the table; the file has the whole traceback.
    return re.sub(r"^[\w.]*\.", "", text.splitlines()[-1].strip()) if text else "worker died"
