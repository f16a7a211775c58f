"""How long a running study still takes: the stage that runs, and all that follows.

The stages that follow are counted at most. A trial that stops early makes those of its mode that
are left shorter, by the share of their epochs that trials have run.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from study.cluster.capacity import Capacity
from study.diagnosis.estimate import TrialGroup, stage_s
from study.diagnosis.observed import Expected
from study.records.trial_record import ENDED, Kind, Trial, TrialRecord
from study.records.watch import Watch
from study.search.cells import Cell, numbers
from tl_core.config import FROZEN, Mode

_AGAIN_S = 1.0
"""Between two forecasts; what runs is counted down from each."""


@dataclass(frozen=True)
class Left:
    """Seconds that are left; infinite if they are not known."""

    stage: float
    study: float
    is_last: bool
    """Whether the stage is the last one."""

    def after(self, seconds: float, least: float = 0.0) -> "Left":
        """What is left so much later; what has not begun takes `least` seconds of the stage."""
        if self.stage == math.inf:
            return self
        stage = max(min(least, self.stage), self.stage - seconds)
        return replace(self, stage=stage, study=stage + (self.study - self.stage))

    def within(self, seconds: float) -> "Left":
        """What is left if all of it ends by then."""
        stage = min(self.stage, seconds) if self.stage < math.inf else math.inf
        return replace(self, stage=stage, study=min(self.study, seconds))

    def __str__(self) -> str:
        if self.study == math.inf:
            known = self.stage < math.inf
            return f"{_time(self.stage)} left in this stage" if known else "time left: unknown yet"
        if self.is_last:
            return f"{_time(self.study)} left, in the last stage"
        stage = f"{_time(self.stage)} left in this stage, " if self.stage < math.inf else ""
        return f"{stage}{_time(self.study)} at most in the study"


def _time(seconds: float) -> str:
    return f"about {timedelta(seconds=round(seconds))}"


@dataclass(frozen=True)
class _Forecast:
    """What is left, as it was found at a time."""

    at: float
    left: Left
    waiting_s: float
    """Seconds of the trials of the stage that have not begun, in all places."""
    waiting: float
    """How many these are."""
    n_begun: int
    """Trials that had begun."""


@dataclass
class Remaining:
    """What is left of a study, by the trials that have ended or run."""

    expected: Expected
    capacity: Capacity
    start_s: float = 0.0
    """Seconds until workers are up, for the first trial that needs one."""
    end: float | None = None
    """When all of it ends at the latest, by `clock`."""
    left_out: Mapping[tuple[Kind, Cell], int] = field(default_factory=dict)
    """Trials that the time does not suffice for."""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.settings = self.expected.settings
        self._watch = Watch(self.expected.records)
        self._started = Counter[Cell]()
        """Trials of the search that each cell has had."""
        self._later: list[TrialRecord] = []
        """Those of the stage after the search that runs."""
        self._ended = Counter[Mode]()
        """Trials of the search that have a score."""
        self._run = defaultdict[Mode, float](float)
        """Of these, the shares of their epochs that they have run, added up."""
        self._stage: Sequence[Trial] | None = None
        """Trials after the search; None while that runs."""
        self._epochs: dict[int, tuple[int, float]] = {}
        """Of each running trial: how many it has done, and since when."""
        self._workers_are_up = False
        self._found: _Forecast
        self._begin_stage()

    def begin(self, stage: Sequence[Trial]) -> None:
        """A stage after the search begins."""
        self._stage = stage
        self._begin_stage()

    def update(self) -> None:
        """Hear that a trial has started, has done an epoch, or has ended."""
        now = self.clock()
        self._count()
        runs = any(r.status == "running" for r in self._watch.open)
        if now - self._found.at >= _AGAIN_S or not runs:
            self._found = self._forecast(now)

    def left(self) -> Left:
        """What is left by now; time alone does none of the work that has not begun."""
        now, found = self.clock(), self._found
        least = found.waiting_s
        if least < math.inf and found.waiting:
            begun = self._n_begun - found.n_begun
            least *= max(0.0, 1 - begun / found.waiting)
        left = found.left.after(now - found.at, least)
        return left if self.end is None else left.within(max(0.0, self.end - now))

    @property
    def _n_begun(self) -> int:
        return self._started.total() + len(self._later)

    def _begin_stage(self) -> None:
        self._count()
        self._later = [r for r in self._watch.open if r.kind != "search"]
        self._found = self._forecast(self.clock())

    def _count(self) -> None:
        """Count what has begun or ended."""
        begun, ended = self._watch.update()
        self._started.update(Cell.of(r.config) for r in begun if r.kind == "search")
        self._later += [r for r in begun if r.kind != "search"]
        for r in ended:
            if r.kind == "search" and r.status != "failed":
                self._ended[r.config.mode] += 1
                self._run[r.config.mode] += len(r.history) / r.config.epochs

    def _forecast(self, now: float) -> _Forecast:
        self._note_epochs(now)
        if self._stage is None:
            planned = self._planned()
            waiting, later = self._of_search(planned), self.expected.after_search(planned)
            begun = [r for r in self._watch.open if r.kind == "search"]
            places = self.capacity.searching(self.settings)
        else:
            waiting, later = self._of_stage(self._stage), self.expected.after_stage(self._stage)
            stage = {(t.kind, t.config) for t in self._stage}
            begun = [r for r in self._later if (r.kind, r.config) in stage]
            places = self.capacity.full
        waiting = [*map(_known, waiting)]
        # Those that run, or were cut off.
        here = [*(self._rest(r, now) for r in begun if r.status not in ENDED), *waiting]
        later = [[_known(group) for group in groups] for groups in later if groups]
        waits, wait_s = not all(g.own for g in here), 0.0 if self._workers_are_up else self.start_s
        stage_left = stage_s(here, self.capacity, places) + waits * wait_s
        study = stage_left + sum(stage_s(groups, self.capacity) for groups in later)
        if not waits and not all(group.own for groups in later for group in groups):
            study += wait_s
        return _Forecast(
            now,
            Left(stage_left, study, is_last=not later),
            stage_s(waiting, self.capacity, places),
            sum(group.number for group in waiting),
            self._n_begun,
        )

    def _note_epochs(self, now: float) -> None:
        for r in self._watch.open:
            if r.status == "running":
                self._workers_are_up = self._workers_are_up or not self.expected.rest(r).own
                n, _ = self._epochs.get(r.trial, (-1, now))
                if n != len(r.history):
                    self._epochs[r.trial] = len(r.history), now

    def _planned(self) -> dict[Cell, float]:
        """Trials of the search that each cell has had or is to have."""
        all_of = numbers(self.settings)
        kept = {cell: n - self.left_out.get(("search", cell), 0) for cell, n in all_of.items()}
        return {cell: n for cell, n in kept.items() if n > 0}

    def _of_search(self, planned: Mapping[Cell, float]) -> list[TrialGroup]:
        """Trials of the search that have not begun."""
        started = self._started
        lacks = {cell: n - started[cell] for cell, n in planned.items() if n > started[cell]}
        more = max(0.0, sum(planned.values()) - started.total())
        share = more / sum(lacks.values()) if lacks else 0.0  # A joint search does not go evenly.
        groups = [self.expected.cell(cell, n * share) for cell, n in lacks.items() if share]
        kept = {mode: self._share_run(mode) for mode in self.settings.mode}
        return [replace(g, seconds=g.seconds * kept[g.config.mode]) for g in groups]

    def _share_run(self, mode: Mode) -> float:
        """The mean share of their epochs that trials of a mode have run, and that of a whole one.

        Those that stop early are the first to end, so without it the first one would say too much.
        """
        return (1 + self._run[mode]) / (1 + self._ended[mode])

    def _of_stage(self, stage: Sequence[Trial]) -> list[TrialGroup]:
        """Trials of a later stage that have not begun."""
        started = {(t.kind, t.config) for t in self._later}
        left = [p for p in stage if (p.kind, p.config) not in started]
        alike = Counter((Cell.of(p.config), p.kind, p.config.seeds) for p in left)
        first = {(Cell.of(p.config), p.kind, p.config.seeds): p for p in reversed(left)}
        return [replace(self.expected.rest(first[key]), number=n) for key, n in alike.items()]

    def _rest(self, record: TrialRecord, now: float) -> TrialGroup:
        """What is left of a trial; what it has done of its present epoch is known by the clock."""
        group, epochs = self.expected.rest(record), record.config.epochs - len(record.history)
        if not record.history:
            group = _known(group)
        if record.config.mode in FROZEN or record.status != "running" or not epochs:
            return group
        done = min(now - self._epochs[record.trial][1], group.seconds / epochs)
        return replace(group, seconds=group.seconds - done)


def _known(group: TrialGroup) -> TrialGroup:
    """A trial of which nothing is known may take forever."""
    return replace(group, seconds=group.seconds or math.inf)
