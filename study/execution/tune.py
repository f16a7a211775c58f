"""The search: Optuna suggests, Ray Tune places, `tl_core` trains, the journal records."""

import errno
import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune

from study.cluster.capacity import Capacity
from study.cluster.stores import Folder, Storage, bucket_of
from study.config.settings import Settings
from study.errors import NodeError
from study.execution.trial_context import TrialContext, checkpoint_name
from study.execution.warm import as_bundle, warm_workers
from study.execution.worker import run_in_worker
from study.records.journal import Journal
from study.records.study_folder import WINNER
from study.records.trial_record import TrialRecord
from study.search.confirmation import Planned, max_confirm_trials, plan, remaining
from study.search.early_stopping import CellASHA
from study.search.searcher import StudySearcher, config_of
from tl_core.config import EpochMetrics
from tl_core.files import replace_file

Run = Callable[[dict[str, Any], TrialContext], None]
"""What a worker does with a trial; it reports each epoch to Ray Tune."""


def search(
    settings: Settings,
    context: TrialContext,
    capacity: Capacity,
    folder: Path,
    journal: Journal,
    winner: TrialRecord | None = None,
    run: Run = run_in_worker,
) -> None:
    """Run `settings.trials` trials on the Ray that is up, and those that confirm the best ones.

    The journal holds what came of them, and what came of those of earlier runs; `winner` is the one
    of these that has left the study's weights. Benchmarks put something else in the place of a
    trial.
    """
    # It prints the traceback of each failed trial; the journal tells the reason in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    plan = partial(_plan, settings, journal, winner)
    queue = StudySearcher(settings, plan, journal.records, capacity.frozen)
    tuner = tune.Tuner(
        _with_resources(run, context, capacity),
        tune_config=tune.TuneConfig(
            search_alg=queue,
            scheduler=CellASHA(settings.metric, settings.epochs, journal.records),
            num_samples=settings.trials + max_confirm_trials(settings),
            max_concurrent_trials=capacity.most_at_once(settings.trials),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder.resolve()),
            callbacks=[_Listener(settings, folder, journal)],
            failure_config=tune.FailureConfig(max_failures=settings.max_failures),
            verbose=0,
        ),
    )
    with warm_workers(capacity):
        tuner.fit()


def _plan(settings: Settings, journal: Journal, winner: TrialRecord | None) -> list[Planned]:
    planned = remaining(plan(settings, journal.records), journal.records, winner)
    journal.confirm([p.config for p in planned])
    return planned


def _with_resources(run: Run, context: TrialContext, capacity: Capacity) -> Any:
    def needs(drawn: dict[str, Any]) -> tune.PlacementGroupFactory:
        return as_bundle(capacity, drawn["mode"])

    return tune.with_resources(tune.with_parameters(run, context=context), needs)


class _Listener(tune.Callback):
    """Hands what Ray Tune says to the journal."""

    def __init__(self, settings: Settings, folder: Path, journal: Journal) -> None:
        self._journal, self._folder = journal, folder.resolve()
        self._joined = settings.address != "local"
        self._bucket = bucket_of(settings)
        self._kept: Storage = self._bucket or Folder(self._folder)
        self._records: dict[str, TrialRecord] = {}
        self._stop: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Ray saves its callbacks with the experiment; the journal's files and sockets stay here.
        return {}

    def _record(self, trial: Any) -> TrialRecord:
        # Ray tells of a worker that dies at its start as an error of a trial that never started.
        if trial.trial_id not in self._records:
            drawn = trial.config
            self._records[trial.trial_id] = self._journal.start(
                config_of(drawn), drawn["trial"], drawn["kind"], drawn["source"], drawn["draw"]
            )
        return self._records[trial.trial_id]

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._stop:  # Raised here, where Ray Tune takes it for no fault of a trial.
            raise self._stop

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._record(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        for epoch in result["epochs"]:
            self._journal.epoch(self._record(trial), EpochMetrics(**epoch))
        for text in result["warnings"]:
            self._journal.warn(self._record(trial), text)
        record = self._record(trial)
        record.test |= result["test"]
        record.node = result["node_ip"] if self._joined else None

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self._record(trial)
        result = trial.last_result
        if result.get("disk_full"):  # The next trial would fail as well.
            self._stop = OSError(errno.ENOSPC, result["failure"], str(self._folder))
            return
        if result.get("node_fault"):  # Free again, that node would be given trial after trial.
            self._stop = NodeError(result["node_fault"])
            return
        if "failure" in result:
            self._fail(record, result["failure"], result["traceback"])
            return
        whole = len(record.history) == record.config.epochs
        model = self._winner() if trial.config["winner"] else None
        self._journal.end(record, "done" if whole else "pruned", model=model)
        self._kept.remove(checkpoint_name(record.trial))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self._record(trial)
        where = f"node {record.node}: " if record.node else ""
        self._journal.warn(record, f"{where}{_reason(_told(trial))}; another goes on with it")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        told = _told(trial)
        self._fail(self._record(trial), _reason(told), told)

    def _fail(self, record: TrialRecord, error: str, told: str) -> None:
        """Keep the whole of it in a file; its first line is for the tables."""
        file = self._folder / "failures" / f"{record.trial}.txt"
        file.parent.mkdir(exist_ok=True)
        replace_file(file, told)
        self._journal.end(record, "failed", error.splitlines()[0], files=[file])
        self._kept.remove(checkpoint_name(record.trial))

    def _winner(self) -> Path:
        """The folder of the winner's weights: report, predictions and registry read it here."""
        if self._bucket:
            Folder(self._folder).replace(WINNER, self._bucket.folder(WINNER))
        return self._folder / WINNER


def _told(trial: Any) -> str:
    """What Ray says of a worker that has died."""
    # `trial.get_error()` reads the copy in the study's folder, which Ray makes later than this.
    file = Path(trial.error_file or "")
    return file.read_text().strip() if file.is_file() else ""


def _reason(told: str) -> str:
    """Why a worker died, in a line."""
    detail = re.search(r"Worker exit detail: ([^.\n]+)", told)
    if detail:
        return f"worker died: {detail[1]}"
    return (told.splitlines() or ["worker died"])[-1].strip()
