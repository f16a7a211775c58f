"""The trials of a study, from the first of the search to the last that confirms it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from study.cluster.capacity import Capacity
from study.config.settings import Settings
from study.execution.jobs import Jobs
from study.execution.study_trials import StudyTrials
from study.execution.time_budget import TimeBudget
from study.records.journal import Journal
from study.records.trial_record import TrialRecord
from study.trials.trial_context import TrialContext

if TYPE_CHECKING:
    from study.execution.tune import Run


def search(
    settings: Settings,
    context: TrialContext,
    capacity: Capacity,
    folder: Path,
    journal: Journal,
    winner: TrialRecord | None = None,
    start_ray: Callable[[], object] = lambda: None,
    run: "Run | None" = None,
    budget: TimeBudget | None = None,
) -> None:
    """Run `settings.trials` trials, and those that confirm the best ones.

    Args:
        settings: of the study.
        context: what its trials share.
        capacity: how many run at once.
        folder: the study's.
        journal: has the trials of earlier runs, and gets those of this one.
        winner: the earlier trial whose weights are the study's.
        start_ray: called before the first trial that a worker runs, if there is one.
        run: what a worker does with a job; benchmarks and tests replace it.
        budget: the time that it may take.

    Raises `OutOfTimeError` if trials run when the time is over.
    """
    trials = StudyTrials(settings, folder, journal, winner, budget)
    alone, check = not settings.networks, budget.check if budget else lambda: None
    jobs = Jobs(trials, context, alone, check, capacity.searching(settings))
    if jobs.need_workers():
        start_ray()
        from study.execution.tune import run_on_workers  # Ray Tune takes a second.
        from study.trials.worker import run_in_worker

        if budget:
            budget.start_s = 0.0
        run_on_workers(trials, jobs, capacity, run or run_in_worker)
    trials.remove_checkpoints()
