"""Optuna's side of the search: which configuration to try next. It does not use Ray.

Its state is rebuilt from the trials so far, and each draw has a random generator of its own. So a
resumed search draws what the whole one would have drawn.
"""

import json
import warnings
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import TrialState

from study.config.settings import Sampler, Settings
from study.records.trial_record import ENDED, Status, TrialRecord
from study.search.cells import Cell, nearest, shares, turns
from study.search.space import Space
from tl_core.config import TrialConfig, direction


@dataclass(frozen=True)
class Draw:
    """What decides the chances of a draw."""

    seed: int
    """Of the study."""
    number: int
    first: int
    """The number of the first draw of its search."""
    joint: bool
    """Whether the search has all cells' trials, and not a cell's few."""
    common: IntersectionSearchSpace
    """What the trials of its search have in common."""

    @property
    def own_seed(self) -> int:
        """A seed of this draw alone."""
        return _mixed(self.seed, self.number)

    @property
    def sequence_seed(self) -> int:
        """A seed of its search: equal sequences would repeat the neighbour's best, which begins."""
        return _mixed(self.seed, self.first) if self.first else self.seed


class _TPE(TPESampler):
    """With one memory for all draws of a search: a new sampler looks through all of its trials."""

    def __init__(self, draw: Draw) -> None:
        # A pending trial counts as a bad one, so that parallel workers spread out. With Optuna's
        # ten random trials first, a cell of eight would be searched at random.
        first = 10 if draw.joint else 4
        super().__init__(seed=draw.own_seed, constant_liar=True, n_startup_trials=first)
        self._common = draw.common

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As `TPESampler`: of one objective, what is in common and has several values."""
        if len(study.directions) > 1:
            return {}
        found = self._common.calculate(study)
        return {name: values for name, values in found.items() if not values.single()}


SAMPLERS: dict[Sampler, Callable[[Draw], BaseSampler]] = {
    "tpe": _TPE,
    "random": lambda draw: RandomSampler(seed=draw.own_seed),
    "gp": lambda draw: GPSampler(seed=draw.own_seed, n_startup_trials=10 if draw.joint else 4),
    # A sequence needs fixed dimensions; what depends on the mode is drawn independently.
    "qmc": lambda draw: QMCSampler(
        seed=draw.sequence_seed,
        scramble=True,
        independent_sampler=RandomSampler(seed=draw.own_seed),
        warn_independent_sampling=False,
    ),
}
"""By name."""
_WAYS = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}


@dataclass(frozen=True)
class _Search:
    """One of Optuna's studies: of a cell, or of all cells together."""

    space: Space
    study: optuna.Study
    common: IntersectionSearchSpace = field(
        default_factory=lambda: IntersectionSearchSpace(include_pruned=True)
    )

    def best(self) -> dict[str, Any] | None:
        """The parameters of its best finished trial."""
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return self.study.best_trial.params if done else None


class Suggestions:
    """Draws configurations and takes their results.

    `--design cells` runs a search for each cell, one after another (`study.search.cells`). A cell's
    first trial is the best configuration so far of the nearest ratio of its mode. If there is none,
    a network has the least auxiliary weight: few draws of much weight would look like a bad mode.
    `--design joint` searches all factors at once and tries every cell first.

    `before` are the study's trials so far; `tell` is still due for those that have not ended.
    """

    def __init__(self, settings: Settings, before: Sequence[TrialRecord] = ()) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # QMC warns without need.
        self._settings = settings
        self._joint = settings.design == "joint"
        spaces = {None: Space(settings)} if self._joint else _spaces(settings)
        self._searches = {cell: _Search(space, self._study()) for cell, space in spaces.items()}
        self._turns = deque([] if self._joint else turns(settings))
        """Cells of the draws to come. What was drawn takes the first turns of its cell, whatever
        its number: so an extended study, which changes all shares, fills them up."""
        self._begins: dict[Cell | None, int] = {}
        """The number of each search's first draw."""
        self._times: Counter[str] = Counter()
        self._open: dict[int, tuple[optuna.Study, optuna.Trial]] = {}
        drawn = {r.draw: r for r in before if r.draw is not None}
        self._next = max(drawn, default=-1) + 1
        self._lost: dict[int, Cell | None] = {}
        """Numbers drawn by a run that ended before their trials started, and their cells."""
        for number in range(self._next):
            if number in drawn:
                self._restore(number, drawn[number])
            else:
                self._lost[number] = self._turn(number)

    @property
    def drawn(self) -> int:
        """How many were drawn so far, in earlier runs as well."""
        return self._next - len(self._lost)

    def has_turns(self, cell: Cell) -> bool:
        """Whether the search of a cell has draws to come."""
        return cell in self._turns or cell in self._lost.values()

    def ask(self) -> tuple[int, TrialConfig]:
        """Draw the next configuration; return its number and itself.

        A configuration that was drawn before gets new seeds.
        """
        number = next(iter(self._lost), self._next)
        if number in self._lost:
            cell = self._lost.pop(number)
        else:
            cell, self._next = self._turn(number), number + 1
        trial = self._draw(number, cell, self._settings.sampler, self._first(number, cell))
        config = self._searches[cell].space.config(trial.params)
        times = self._times[_key(trial.params)] - 1
        return number, config.model_copy(update={"seed": config.seed + times * config.seeds})

    def tell(self, number: int, status: Status, epoch: int = 0, value: float | None = None) -> None:
        """Take how a trial has ended, at which epoch and with which value of the metric."""
        study, trial = self._open.pop(number)
        if status not in ("done", "pruned") or value is None:
            study.tell(trial, state=TrialState.FAIL)
        elif self._settings.objective == "pareto":
            study.tell(trial, (value, trial.params["train_ratio"]))
        elif status == "pruned":
            trial.report(value, epoch)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, value)

    def _study(self) -> optuna.Study:
        better = _WAYS[direction(self._settings.metric)]
        pareto = self._settings.objective == "pareto"
        return optuna.create_study(directions=[better, _WAYS["min"]] if pareto else [better])

    def _turn(self, number: int) -> Cell | None:
        """The search that a new draw belongs to; None is that of all cells."""
        cell = None if self._joint else self._turns.popleft()
        self._begins.setdefault(cell, number)
        return cell

    def _first(self, number: int, cell: Cell | None) -> dict[str, Any] | None:
        """Parameters that are fixed, as a search is to begin with them."""
        if cell is None:
            every = self._searches[None].space.cells()
            return every[number] if number < len(every) else None
        if number != self._begins[cell]:
            return None
        near = nearest(cell, (c for c, begins in self._begins.items() if c and begins < number))
        best = next((found for c in near if (found := self._searches[c].best())), None)
        if best is None:
            return self._searches[cell].space.least_aux_weight()
        return best | {"train_ratio": cell.train_ratio}

    def _restore(self, number: int, record: TrialRecord) -> None:
        """Repeat a draw of an earlier run, and its result if the trial has ended."""
        cell = None if self._joint else Cell.of(record.config)
        self._begins.setdefault(cell, number)
        if cell and cell in self._turns:
            self._turns.remove(cell)
        # Only a sequence has to be moved on; otherwise any sampler will do.
        sampler: Sampler = "qmc" if self._settings.sampler == "qmc" else "random"
        self._draw(number, cell, sampler, self._searches[cell].space.params(record.config))
        if record.status in ENDED:
            value = record.value(self._settings.metric)
            self.tell(number, record.status, len(record.history), value)

    def _draw(
        self, number: int, cell: Cell | None, sampler: Sampler, fixed: dict[str, Any] | None
    ) -> optuna.Trial:
        """Draw a trial, with some parameters fixed; `tell` is due for it."""
        search = self._searches[cell]
        space, study = search.space, search.study
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            begins = self._begins[cell]
            draw = Draw(self._settings.seed, number, begins, self._joint, search.common)
            study.sampler = SAMPLERS[sampler](draw)
            if fixed:
                study.enqueue_trial(fixed)
            trial = study.ask()
            _ = trial.relative_params  # Moves a sequence on, even if all parameters are fixed.
            space(trial)
        self._times[_key(trial.params)] += 1
        self._open[number] = study, trial
        return trial


def _mixed(seed: int, number: int) -> int:
    # With a sum, neighbouring seeds would draw the same trials, shifted by one.
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _spaces(settings: Settings) -> dict[Cell | None, Space]:
    return {
        cell: Space(
            settings.model_copy(update={"mode": (cell.mode,), "train_ratio": (cell.train_ratio,)})
        )
        for cell in shares(settings)
    }


def _key(params: dict[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)
