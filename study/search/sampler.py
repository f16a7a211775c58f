"""Optuna's side of the search: which configuration to try next. It does not use Ray.

Its state is rebuilt from the trials so far, and each draw has a random generator of its own. So a
resumed search draws what the whole one would have drawn.
"""

import itertools
import json
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from study.config.settings import Sampler, Settings
from study.records.trial_record import ENDED, Status, TrialRecord
from study.search.space import Space
from tl_core.config import DIRECTIONS, TrialConfig

SAMPLERS: dict[Sampler, Callable[[int, int], BaseSampler]] = {
    # A pending trial counts as a bad one, so that parallel workers spread out.
    "tpe": lambda seed, number: TPESampler(seed=_mixed(seed, number), constant_liar=True),
    "random": lambda seed, number: RandomSampler(seed=_mixed(seed, number)),
    "gp": lambda seed, number: GPSampler(seed=_mixed(seed, number)),
    # A sequence needs fixed dimensions; what depends on the mode is drawn independently.
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
    """Draws configurations and takes their results.

    `--design joint` searches all factors at once and tries every cell first; `--design cells` runs
    a search for each cell, in turn. `before` are the study's trials so far; `tell` is still due for
    those that have not ended.
    """

    def __init__(self, settings: Settings, before: Sequence[TrialRecord] = ()) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # QMC warns without need.
        self._settings = settings
        self._searches = [(space, self._study()) for space in _spaces(settings)]
        self._times: Counter[str] = Counter()
        self._open: dict[int, _Drawn] = {}
        drawn = {r.draw: r for r in before if r.draw is not None}
        self._next = max(drawn, default=-1) + 1
        self._lost = [number for number in range(self._next) if number not in drawn]
        """Numbers drawn by a run that ended before their trials started."""
        for _, record in sorted(drawn.items()):
            self._restore(record)

    @property
    def drawn(self) -> int:
        """How many were drawn so far, in earlier runs as well."""
        return self._next - len(self._lost)

    def ask(self) -> tuple[int, TrialConfig]:
        """Draw the next configuration; return its number and itself.

        A configuration that was drawn before gets new seeds.
        """
        if self._lost:
            number = self._lost.pop(0)
        else:
            number, self._next = self._next, self._next + 1
        space, _ = self._search(number)
        first = space.cells() if self._settings.design == "joint" else []
        fixed = first[number] if number < len(first) else None
        trial = self._draw(number, self._settings.sampler, fixed)
        config = space.config(trial.params)
        times = self._times[_key(trial.params)] - 1
        return number, config.model_copy(update={"seed": config.seed + times * config.seeds})

    def tell(self, number: int, status: Status, epoch: int = 0, value: float | None = None) -> None:
        """Take how a trial has ended, at which epoch and with which value of the metric."""
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

    def _study(self) -> optuna.Study:
        better = _WAYS[DIRECTIONS[self._settings.metric]]
        pareto = self._settings.objective == "pareto"
        return optuna.create_study(directions=[better, _WAYS["min"]] if pareto else [better])

    def _search(self, number: int) -> tuple[Space, optuna.Study]:
        return self._searches[number % len(self._searches)]

    def _restore(self, record: TrialRecord) -> None:
        """Repeat a draw of an earlier run, and its result if the trial has ended."""
        assert record.draw is not None
        space, _ = self._search(record.draw)
        # Only a sequence has to be moved on; otherwise any sampler will do.
        sampler: Sampler = "qmc" if self._settings.sampler == "qmc" else "random"
        self._draw(record.draw, sampler, space.params(record.config))
        if record.status in ENDED:
            value = record.value(self._settings.metric)
            self.tell(record.draw, record.status, len(record.history), value)

    def _draw(self, number: int, sampler: Sampler, fixed: dict[str, Any] | None) -> optuna.Trial:
        """Draw a trial, with some parameters fixed; `tell` is due for it."""
        space, study = self._search(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = SAMPLERS[sampler](self._settings.seed, number)
            if fixed:
                study.enqueue_trial(fixed)
            trial = study.ask()
            _ = trial.relative_params  # Moves a sequence on, even if all parameters are fixed.
            space(trial)
        self._times[_key(trial.params)] += 1
        self._open[number] = _Drawn(study, trial, trial.params["train_ratio"])
        return trial


def _mixed(seed: int, number: int) -> int:
    # With a sum, neighbouring seeds would draw the same trials, shifted by one.
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
