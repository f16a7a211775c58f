"""What to try next: Optuna's side of the search, which knows no Ray.

Whatever it knows lies in Optuna's storage, and each draw has a random generator of its own, so a
search that goes on later draws what it would have drawn.
"""

import itertools
import json
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState

from study.records import Status
from study.settings import Sampler, Settings
from study.space import Space
from tl_core.config import DIRECTIONS, TrialConfig

SAMPLERS: dict[Sampler, Callable[[int, int], BaseSampler]] = {
    # A pending trial counts as a bad one, so that parallel workers spread out.
    "tpe": lambda seed, number: TPESampler(seed=_mixed(seed, number), constant_liar=True),
    "random": lambda seed, number: RandomSampler(seed=_mixed(seed, number)),
    "gp": lambda seed, number: GPSampler(seed=_mixed(seed, number)),
    # The points of its sequence belong together; what depends on the mode is drawn apart.
    "qmc": lambda seed, number: QMCSampler(
        seed=seed,
        scramble=True,
        independent_sampler=RandomSampler(seed=_mixed(seed, number)),
        warn_independent_sampling=False,
    ),
}
"""By name, from the seed of the search and the number of the trial."""
_WAYS = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}


@dataclass(frozen=True)
class _Drawn:
    study: optuna.Study
    trial: optuna.Trial
    train_ratio: float


class Suggestions:
    """Draws configurations and hears what came of them.

    `--design joint` searches all factors at once and tries every cell first; `--design cells` has
    a search for each cell and goes around them.
    """

    def __init__(self, settings: Settings, storage: BaseStorage) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # QMC warns of what it does rightly.
        self._settings = settings
        self._searches = [(space, self._study(space, storage)) for space in _spaces(settings)]
        trials = [t for _, study in self._searches for t in study.get_trials(deepcopy=False)]
        drawn = [t for t in trials if t.state != TrialState.WAITING]
        self._end_what_was_cut()
        self._next = len(drawn)
        self._times = Counter(_key(t.params) for t in drawn)
        self._open: dict[int, _Drawn] = {}

    @property
    def drawn(self) -> int:
        """How many were drawn so far, in earlier runs of the study as well."""
        return self._next

    def ask(self) -> tuple[int, TrialConfig]:
        """Draw the next configuration; return its number and itself.

        One that was drawn before comes with seeds that it was not trained with.
        """
        number = self._next
        self._next += 1
        space, study = self._searches[number % len(self._searches)]
        trial = self._draw(space, study, number)
        config = space.config(trial.params)
        self._open[number] = _Drawn(study, trial, config.train_ratio)
        times = self._times[_key(trial.params)]
        self._times[_key(trial.params)] += 1
        return number, config.model_copy(update={"seed": config.seed + times * config.seeds})

    def tell(self, number: int, status: Status, epoch: int = 0, value: float | None = None) -> None:
        """Say how a trial has ended, at which epoch, and with which value of the metric."""
        drawn = self._open.pop(number)
        if status not in ("done", "pruned") or value is None:
            drawn.study.tell(drawn.trial, state=TrialState.FAIL)
        elif self._settings.objective == "pareto":
            drawn.study.tell(drawn.trial, (value, drawn.train_ratio))
        elif status == "pruned":
            drawn.trial.report(value, epoch)
            drawn.study.tell(drawn.trial, state=TrialState.PRUNED)
        else:
            drawn.study.tell(drawn.trial, value)

    def _study(self, space: Space, storage: BaseStorage) -> optuna.Study:
        s = self._settings
        better = _WAYS[DIRECTIONS[s.metric]]
        study = optuna.create_study(
            storage=storage,
            study_name="/".join([str(s.name), *(space.cell() if s.design == "cells" else ())]),
            directions=[better, _WAYS["min"]] if s.objective == "pareto" else [better],
            load_if_exists=True,
        )
        if s.design == "joint" and not study.get_trials(deepcopy=False):
            for point in space.cells():
                study.enqueue_trial(point)
        return study

    def _end_what_was_cut(self) -> None:
        """Trials of a run that was killed are not running any more."""
        for _, study in self._searches:
            for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
                study.tell(trial.number, state=TrialState.FAIL)

    def _draw(self, space: Space, study: optuna.Study, number: int) -> optuna.Trial:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = SAMPLERS[self._settings.sampler](self._settings.seed, number)
            trial = study.ask()
            space(trial)
        return trial


def storage_in(folder: Path) -> BaseStorage:
    """What the search of a study knows, in a file of its folder."""
    return JournalStorage(JournalFileBackend(str(folder.resolve() / "optuna.log")))


def _mixed(seed: int, number: int) -> int:
    # A sum would have studies with neighbouring seeds draw the same, one trial apart.
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _spaces(settings: Settings) -> list[Space]:
    if settings.design == "joint":
        return [Space(settings)]
    cells = itertools.product(sorted(settings.train_ratio, reverse=True), settings.mode)
    return [
        Space(settings.model_copy(update={"mode": (mode,), "train_ratio": (ratio,)}))
        for ratio, mode in cells
    ]


def _key(params: dict[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)
