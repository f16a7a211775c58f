"""Gives Ray Tune the trials that workers run."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from study.search.confirmation import Planned
from tl_core.config import Metric, direction

Jobs = Callable[[], list[Planned] | None]
"""Returns the trials of the next job of a worker, [] while there is none, None after the last."""
KEEPS = "keeps"
"""The kind of a job without trials, which keeps a worker's place until there are some."""
_WAIT_S = 2.0
"""Between two messages of a job that only keeps its place: each is work for the driver."""


class StudySearcher(Searcher):
    """Gives Ray Tune job after job: a network, or frozen trials that are computed together.

    It need not hear of results: the study tells Optuna what the journal gets.

    A stage of the study waits for the trials before it. Ray Tune would end the workers that have
    nothing to do meanwhile, and a new one takes seconds to start. So they get a job that keeps
    their place.
    """

    def __init__(
        self,
        metric: Metric,
        jobs: Jobs,
        retired: Callable[[], list[str]] = list,
        is_idle: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """Give out the jobs of a study.

        Args:
            metric: of the study.
            jobs: gives the next one.
            retired: tells which GPUs take no trials; a worker there waits with its job.
            is_idle: tells whether a worker is there that waits for the next stage, if so many have
                a job.
        """
        super().__init__(metric, direction(metric))
        self._jobs, self._retired, self._is_idle = jobs, retired, is_idle
        self._given: set[str] = set()
        """Jobs that have not ended."""

    def __getstate__(self) -> dict[str, Any]:
        # Ray saves the searcher with the experiment; a study resumes from its ledger.
        return {}

    def suggest(self, trial_id: str) -> Any:
        """Return the next job, None while there is none yet, or `FINISHED`."""
        batch = self._jobs()
        if batch is None:
            return Searcher.FINISHED
        if not batch and not self._is_idle(len(self._given)):
            return None
        self._given.add(trial_id)
        return as_job(batch, self._retired()) if batch else {"kind": KEEPS, "batch": []}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Hear that a job has ended."""
        self._given.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: see `__getstate__`."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


def as_job(batch: list[Planned], retired: Sequence[str] = ()) -> dict[str, Any]:
    """Trials of one job as Ray Tune's configuration; its rivals go by the first one's cell."""
    drawn = [planned.plain() for planned in batch]
    rival = {"mode": batch[0].config.mode, "train_ratio": batch[0].config.train_ratio}
    return drawn[0] | rival | {"batch": drawn, "retired": [*retired]}


def keep_place(drawn: dict[str, Any], gpu: str | None) -> None:
    """Wait in a worker as long as its job has no trials, or its GPU takes none.

    Ray Tune ends such a job by an exception in it; the driver gives its trials to another worker.
    """
    while not drawn["batch"] or gpu in drawn["retired"]:
        tune.report({"waits": True, "gpu": gpu})
        time.sleep(_WAIT_S)
