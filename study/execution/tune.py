"""Networks in Ray workers: Ray Tune places and stops them, the study's journal records."""

import errno
import logging
import re
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from ray import tune

from study.cluster.capacity import Capacity
from study.config.settings import Settings
from study.errors import NodeError
from study.execution.gpu_health import GpuHealth
from study.execution.jobs import Jobs
from study.execution.study_trials import StudyTrials
from study.preflight.memory import MemoryKills
from study.records.trial_record import TrialRecord
from study.search.confirmation import Planned
from study.search.early_stopping import CellASHA
from study.search.searcher import StudySearcher
from study.trials.sweep import Swept
from study.trials.trial_context import TrialContext
from tl_core.config import EpochMetrics
from tl_core.files import is_disk_full

Run = Callable[[dict[str, Any], TrialContext], None]
"""What a worker does with a job; it reports to Ray Tune."""
_IDLE_S = 0.1
"""Ray Tune waits so long for news of its jobs in each step, seconds."""
_NO_END = -1
"""Samples of Ray Tune: the searcher says when all is done."""


def run_on_workers(trials: StudyTrials, jobs: Jobs, capacity: Capacity, run: Run) -> None:
    """Run all jobs on the Ray that is up.

    Args:
        trials: of the study; hears how they go.
        jobs: each has the same resources, so that the next one gets the worker of the last.
        capacity: how many run at once.
        run: what a worker does with a job.
    """
    settings = trials.settings
    # It prints the traceback of each failed trial; the journal gives the reason in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    health = _health(settings, capacity)
    place = tune.PlacementGroupFactory([capacity.resources()])
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(run, context=jobs.context), place),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(
                settings.metric, jobs.next, lambda: health.retired, jobs.is_idle
            ),
            scheduler=CellASHA(
                settings.metric, settings.epochs, trials.records, health.holds, jobs.stage_waits
            ),
            num_samples=_NO_END,
            max_concurrent_trials=capacity.full,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(trials.folder),
            callbacks=[_StudyCallback(trials, jobs, health)],
            failure_config=tune.FailureConfig(max_failures=settings.max_failures),
            verbose=0,
        ),
    )
    tuner.fit()


def _health(settings: Settings, capacity: Capacity) -> GpuHealth:
    """The record of failures: one place must be left if the most GPUs are retired.

    A cluster's GPUs stay in use, as the others may leave it. A study without GPUs has none.
    """
    per_gpu = capacity.trials_per_gpu if settings.address == "local" else 0
    return GpuHealth((capacity.full - 1) // per_gpu if per_gpu else 0)


Told = Callable[..., None]
"""A method that Ray Tune calls."""


def _stops(told: Told) -> Told:
    """Have a full disk stop the study: Ray Tune would swallow the error, or change its kind."""

    @wraps(told)
    def tell(self: "_StudyCallback", *args: Any, **info: Any) -> None:
        try:
            told(self, *args, **info)
        except OSError as error:
            if not is_disk_full(error):
                raise
            self._stop = error

    return tell


class _StudyCallback(tune.Callback):
    """Tells the study what Ray Tune reports, and has the driver do its own work in between."""

    def __init__(self, trials: StudyTrials, jobs: Jobs, health: GpuHealth) -> None:
        self._trials, self._jobs, self._health = trials, jobs, health
        self._joined = trials.settings.address != "local"
        self._stop: Exception | None = None
        self._kills = MemoryKills()
        self._since = time.monotonic()
        """When this step of Ray Tune's loop began."""

    def __getstate__(self) -> dict[str, Any]:
        # Ray saves its callbacks with the experiment; the journal's files and sockets stay here.
        return {}

    def _records(self, job: Any) -> list[TrialRecord]:
        # If a worker dies at its start, Ray reports an error of a trial that never started.
        return self._trials.open(Planned.of(drawn) for drawn in job.config["batch"])

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._since = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if self._stop:  # Raised here, where Ray Tune does not blame a trial.
            raise self._stop
        self._jobs.check_time()
        self._health.over = self._trials.queue.finished
        if time.monotonic() - self._since >= _IDLE_S:  # Else a place may be waiting for a network.
            self._jobs.sweep_one()

    @_stops
    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._jobs.starts(trial.trial_id)
        self._records(trial)

    @_stops
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "waits" in result:
            self._give_back(trial)
            return
        records, node = self._records(trial), result["node_ip"] if self._joined else None
        if "swept" in result:
            found = [Swept.of(each) for each in result["swept"]]
            all_failed = all(swept.error and not swept.diverged for swept in found)
            if not (all_failed and self._goes_elsewhere(trial, result, str(found[0].error))):
                self._trials.swept(found, node)
            return
        epochs = [EpochMetrics.read(epoch) for epoch in result["epochs"]]
        for record in records:
            self._trials.report(record, epochs, result["warnings"], result["tested"], node)

    @_stops
    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._jobs.ends(trial.trial_id)
        result = trial.last_result
        if result.get("disk_full"):  # The next trial would fail, too.
            self._stop = OSError(errno.ENOSPC, result["failure"])
        elif result.get("node_fault"):  # That node would fail trial after trial.
            self._stop = NodeError(result["node_fault"])
        if self._stop or not trial.config["batch"]:
            return
        if "failure" not in result:
            self._health.passed(result.get("gpu"))
        elif not result["diverged"] and self._goes_elsewhere(trial, result, result["failure"]):
            return
        for record in self._records(trial):
            if "failure" in result:
                self._trials.fail(record, result["failure"], result["traceback"])
            else:
                self._trials.end(record)

    def _goes_elsewhere(self, trial: Any, result: dict[str, Any], failure: str) -> bool:
        """Whether a job that has failed is tried again; tell the user which GPUs are at fault."""
        if not (gpu := result["gpu"]):
            return False  # It ran on a core.
        records = self._records(trial)
        verdict = self._health.failed(gpu, records[0].trial)
        again = (f"GPU {gpu}: {failure.splitlines()[0]}; tried again",) * verdict.again
        for note in (*again, *verdict.notes):
            self._trials.warn(records[0], note)
        if verdict.again:
            self._give_back(trial)
        return verdict.again

    def _give_back(self, trial: Any) -> None:
        """Have another job run the trials of this one, which has none from now on."""
        if batch := [Planned.of(drawn) for drawn in trial.config["batch"]]:
            for record in self._records(trial):
                self._trials.give_back(record)
            self._jobs.again(batch)
            trial.config = trial.config | {"batch": []}

    @_stops
    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        reason, _ = self._death_of(trial)
        for record in self._records(trial):
            where = f"node {record.node}: " if record.node else ""
            self._trials.warn(record, f"{where}{reason}; another worker continues it")

    @_stops
    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._jobs.ends(trial.trial_id)
        reason, details = self._death_of(trial)
        for record in self._records(trial):
            self._trials.fail(record, reason, details)

    def _death_of(self, trial: Any) -> tuple[str, str]:
        """Why a worker has died, in a line, and all that Ray says of it."""
        # `trial.get_error()` reads the copy in the study's folder, which Ray makes later than this.
        file = Path(trial.error_file or "")
        details = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        last = (details.splitlines() or ["worker died"])[-1].strip()
        if detail := re.search(r"Worker exit detail: ([^.\n]+)", details):
            last = f"worker died: {detail[1]}"
        return self._kills.explain(details) or last, details
