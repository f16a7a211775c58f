"""Gives Ray Tune the trials that workers run."""

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

from study.search.confirmation import Planned
from tl_core.config import DIRECTIONS, Metric, TrialConfig

Jobs = Callable[[], list[Planned] | None]
"""Returns the trials of the next job of a worker, [] while there is none, None after the last."""


class StudySearcher(Searcher):
    """Gives Ray Tune job after job: a network, or frozen trials that are computed together.

    It need not hear of results: the study tells Optuna what the journal gets.
    """

    def __init__(self, metric: Metric, jobs: Jobs, retired: Callable[[], list[str]] = list) -> None:
        """`retired` tells which GPUs take no trials; a worker there waits with its job."""
        super().__init__(metric, DIRECTIONS[metric])
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
    drawn = [as_drawn(planned) for planned in batch]
    return as_drawn(batch[0]) | {"batch": drawn, "retired": [*retired]}


def as_drawn(planned: Planned) -> dict[str, Any]:
    """A trial as plain values."""
    config = planned.config
    return {
        "trial": planned.trial,
        "kind": planned.kind,
        "source": planned.source,
        "winner": planned.winner,
        "tests": planned.tests,
        "draw": planned.draw,
        "mode": config.mode,
        "train_ratio": config.train_ratio,
        "config": config.model_dump(),
    }


def planned_of(drawn: dict[str, Any]) -> Planned:
    """The trial that `as_drawn` was given."""
    names = ("kind", "source", "winner", "tests", "draw", "trial")
    return Planned(TrialConfig(**drawn["config"]), **{name: drawn[name] for name in names})
