"""Gives Ray Tune the trials that workers run."""

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

from study.search.confirmation import Planned
from tl_core.config import Metric, direction

Jobs = Callable[[], list[Planned] | None]
"""Returns the trials of the next job of a worker, [] while there is none, None after the last."""


class StudySearcher(Searcher):
    """Gives Ray Tune job after job: a network, or frozen trials that are computed together.

    It need not hear of results: the study tells Optuna what the journal gets.
    """

    def __init__(self, metric: Metric, jobs: Jobs, retired: Callable[[], list[str]] = list) -> None:
        """`retired` tells which GPUs take no trials; a worker there waits with its job."""
        super().__init__(metric, direction(metric))
        self._jobs, self._retired = jobs, retired

    def __getstate__(self) -> dict[str, Any]:
        # Ray saves the searcher with the experiment; a study resumes from its ledger.
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next job, None while there is none yet, or `FINISHED`."""
        batch = self._jobs()
        if batch is None:
            return Searcher.FINISHED
        return as_job(batch, self._retired()) if batch else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to do: see the class."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: see `__getstate__`."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


def as_job(batch: list[Planned], retired: Sequence[str] = ()) -> dict[str, Any]:
    """Trials of one job as Ray Tune's configuration; its rivals go by the first one's cell."""
    drawn = [planned.plain() for planned in batch]
    rival = {"mode": batch[0].config.mode, "train_ratio": batch[0].config.train_ratio}
    return drawn[0] | rival | {"batch": drawn, "retired": [*retired]}
