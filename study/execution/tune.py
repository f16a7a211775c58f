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
from study.cluster.ray_private import keep_workers
from study.cluster.stores import Folder, Storage, bucket_of
from study.config.settings import Settings
from study.errors import NodeError
from study.execution.trial_context import TrialContext, checkpoint_name
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

    Args:
        settings: of the study.
        context: what its trials share.
        capacity: how many run at once.
        folder: the study's.
        journal: has the trials of earlier runs, and gets those of this one.
        winner: the earlier trial whose weights are the study's.
        run: what a worker does with a trial; benchmarks and tests replace it.
    """
    # It prints the traceback of each failed trial; the journal gives the reason in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)

    def resources(drawn: dict[str, Any]) -> tune.PlacementGroupFactory:
        return as_bundle(capacity, drawn["mode"])

    def planned() -> list[Planned]:
        left = remaining(plan(settings, journal.records), journal.records, winner)
        journal.confirm([p.config for p in left])
        return left

    places = {as_bundle(capacity, "freeze"): capacity.frozen} if capacity.frozen else {}
    places |= {as_bundle(capacity, "finetune"): capacity.full} if capacity.full else {}
    keep = partial(keep_workers, places=places)
    trainable = tune.with_parameters(run, context=context)
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(settings, planned, journal.records, capacity.frozen),
            scheduler=CellASHA(settings.metric, settings.epochs, journal.records, keep),
            num_samples=settings.trials + max_confirm_trials(settings),
            max_concurrent_trials=capacity.most_at_once(settings.trials),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(folder.resolve()),
            callbacks=[_JournalCallback(settings, folder, journal)],
            failure_config=tune.FailureConfig(max_failures=settings.max_failures),
            verbose=0,
        ),
    )
    tuner.fit()


def as_bundle(capacity: Capacity, mode: str) -> tune.PlacementGroupFactory:
    """What a trial asks Ray Tune for."""
    return tune.PlacementGroupFactory([capacity.resources(mode)])


class _JournalCallback(tune.Callback):
    """Writes what Ray Tune reports into the journal."""

    def __init__(self, settings: Settings, folder: Path, journal: Journal) -> None:
        self._journal, self._folder = journal, folder.resolve()
        self._joined = settings.address != "local"
        self._bucket = bucket_of(settings)
        self._storage: Storage = self._bucket or Folder(self._folder)
        self._records: dict[str, TrialRecord] = {}
        self._stop: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Ray saves its callbacks with the experiment; the journal's files and sockets stay here.
        return {}

    def _record(self, trial: Any) -> TrialRecord:
        # If a worker dies at its start, Ray reports an error of a trial that never started.
        if trial.trial_id not in self._records:
            drawn = trial.config
            self._records[trial.trial_id] = self._journal.start(
                config_of(drawn), drawn["trial"], drawn["kind"], drawn["source"], drawn["draw"]
            )
        return self._records[trial.trial_id]

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._stop:  # Raised here, where Ray Tune does not blame a trial.
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
        if result.get("disk_full"):  # The next trial would fail, too.
            self._stop = OSError(errno.ENOSPC, result["failure"], str(self._folder))
            return
        if result.get("node_fault"):  # That node would fail trial after trial.
            self._stop = NodeError(result["node_fault"])
            return
        if "failure" in result:
            self._fail(record, result["failure"], result["traceback"])
            return
        is_whole = len(record.history) == record.config.epochs
        model = self._winner() if trial.config["winner"] else None
        self._journal.end(record, "done" if is_whole else "pruned", model=model)
        self._storage.remove(checkpoint_name(record.trial))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        record = self._record(trial)
        where = f"node {record.node}: " if record.node else ""
        reason = _death_reason(_ray_error(trial))
        self._journal.warn(record, f"{where}{reason}; another worker continues it")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        details = _ray_error(trial)
        self._fail(self._record(trial), _death_reason(details), details)

    def _fail(self, record: TrialRecord, error: str, details: str) -> None:
        """Keep the details in a file, and the error's first line in the tables."""
        file = self._folder / "failures" / f"{record.trial}.txt"
        file.parent.mkdir(exist_ok=True)
        replace_file(file, details)
        self._journal.end(record, "failed", error.splitlines()[0], files=[file])
        self._storage.remove(checkpoint_name(record.trial))

    def _winner(self) -> Path:
        """The folder of the winner's weights: report, predictions and registry read it here."""
        if self._bucket:
            Folder(self._folder).replace(WINNER, self._bucket.folder(WINNER))
        return self._folder / WINNER


def _ray_error(trial: Any) -> str:
    """What Ray says of a worker that has died."""
    # `trial.get_error()` reads the copy in the study's folder, which Ray makes later than this.
    file = Path(trial.error_file or "")
    return file.read_text().strip() if file.is_file() else ""


def _death_reason(details: str) -> str:
    """Why a worker died, in a line."""
    if detail := re.search(r"Worker exit detail: ([^.\n]+)", details):
        return f"worker died: {detail[1]}"
    return (details.splitlines() or ["worker died"])[-1].strip()
