"""How long trials and stages are expected to take, from the trials of their study.

A trial takes as long as ended ones of its mode, scaled by the images that they process; else as a
running one's speed says; else as one measured step does.
"""

import math
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from study.config.settings import Settings
from study.diagnosis.estimate import (
    Speeds,
    TrialGroup,
    confirming_stages,
    example_of,
    repeats_of_cells,
    trial_s,
)
from study.records.trial_record import Trial, TrialRecord
from study.records.watch import Watch
from study.search.cells import Cell, nearest, smaller
from study.search.choosing import REPEATS, Choices
from study.search.confirmation import settled
from study.search.short_sweeps import PER_S, Shape, is_short
from tl_core.config import FROZEN, WHOLE, TrialConfig

UNIT = Speeds(forward=3.0, train=1.0, partial=1.0, sweep=PER_S, probe=PER_S)
"""One image a second: what takes how long compared with what."""


@dataclass
class Expected:
    """What the trials of a study are expected to take."""

    settings: Settings
    shape: Shape
    """Of its data."""
    records: Sequence[TrialRecord]
    """Of its trials, which the journal keeps up to date."""
    speeds: Speeds | None = None
    """Measured before the first trial, if they were."""

    def __post_init__(self) -> None:
        self._cut = {r.trial for r in self.records if r.status == "interrupted"}
        self._watch = Watch(self.records)
        self._searched = defaultdict[Cell, list[int]](list)
        """Trials of the search that have not failed, by number."""
        self._confirmed = set[Cell]()
        """Cells that a trial has confirmed, or is about to."""
        self._scales = defaultdict[Cell, list[tuple[int, float]]](list)
        """Of each trial that has ended, by number: how many times as long as with `UNIT` it took,
        or would have taken with all its epochs."""
        searched = self.searched()
        self._settled = {cell: searched[cell] for cell in settled(self.settings, self.records)}
        """Cells that an earlier run has confirmed, and how many trials each had then."""

    def seconds(self, config: TrialConfig, tests: bool = False) -> float:
        """Seconds of a trial; 0 if nothing like it was seen or measured.

        Args:
            config: of the trial.
            tests: it reads the test set.
        """
        self._update()
        usual = trial_s(config, self.shape, UNIT, tests) or 0.0
        if (scale := self._scale(config)) is not None:
            return usual * scale
        return (self.speeds and trial_s(config, self.shape, self.speeds, tests)) or 0.0

    def searched(self, but: int | None = None) -> Counter[Cell]:
        """How many trials of the search, without failed ones, each cell has had, by the first.

        Args:
            but: the number of a trial that does not count.
        """
        self._update()
        left: dict[Cell, list[int]] = self._searched
        if but is not None:
            left = {cell: [n for n in numbers if n != but] for cell, numbers in left.items()}
        first = sorted((numbers[0], cell) for cell, numbers in left.items() if numbers)
        return Counter({cell: len(left[cell]) for _, cell in first})

    def running(self) -> list[TrialGroup]:
        """What is left of the trials that run."""
        self._update()
        return [self.rest(record) for record in self._watch.open if record.status == "running"]

    def rest(self, trial: Trial) -> TrialGroup:
        """What is left of a trial, which an earlier run may have begun: a shorter one.

        One that was cut off goes on after its checkpoint, which its last epochs may not be in.
        """
        self._update()
        begun = None if trial.trial is None else self._watch.by_number.get(trial.trial)
        share = 1 - len(begun.history) / begun.config.epochs if begun else 1
        lost_s = self.settings.checkpoint_every if trial.trial in self._cut else 0.0
        tests = self.settings.confirm and trial.kind in ("confirm", "control", "winner")
        whole = self._group(trial.config, 1, tests)
        return replace(whole, seconds=min(whole.seconds, share * whole.seconds + lost_s))

    def cell(
        self, cell: Cell, number: float, seeds: int | None = None, tests: bool = False
    ) -> TrialGroup:
        """So many trials of a cell; `seeds` are those of a frozen one, if not as in the search."""
        return self._group(example_of(self.settings, cell, seeds), number, tests)

    def with_all(self, trial: Trial) -> list[list[TrialGroup]]:
        """A trial of the search, those that run, and all that is to follow them, at most.

        The networks at smaller ratios follow it, and the stages that confirm them and it.
        """
        cell = Cell.of(trial.config)
        started = self.searched(trial.trial)
        counted = {c: n for c, n in started.items() if self._comes_first(c, cell)}
        search, numbers = [*self.running(), self.rest(trial)], Counter(counted) + Counter([cell])
        for other, lacks in smaller(self.settings, cell, started):
            search.append(self.cell(other, lacks))
            numbers[other] += lacks
        return [search, *self.after_search(numbers)]

    def _comes_first(self, other: Cell, cell: Cell) -> bool:
        """Whether the time to confirm a cell is kept while another one is searched."""
        always = self.settings.design != "cells" or other.mode in FROZEN
        return always or other.train_ratio <= cell.train_ratio

    def after_search(self, numbers: Mapping[Cell, float]) -> list[list[TrialGroup]]:
        """The stages that confirm cells which have so many trials each, at most.

        A cell that is confirmed and gets no further trial is left out.
        """
        left = {cell: n for cell, n in numbers.items() if self._settled.get(cell) != n}
        if not self.settings.confirm:
            return self.confirming(left)
        each = [self.cell(cell, n, seeds=REPEATS) for cell, n in left.items()]
        return [repeats_of_cells(each), *self.confirming(left)]

    def after_stage(self, stage: Sequence[Trial]) -> list[list[TrialGroup]]:
        """The stages that follow one after the search, at most."""
        kinds = {trial.kind for trial in stage}
        if not stage or kinds & {"control", "winner"}:
            return []
        cells = self.searched()
        if "confirm" in kinds:
            return self.confirming(cells)[1:]
        if not any(self._has_weight_of_source(trial) for trial in stage):
            return self.confirming(cells)[-1:]  # They are repeats of controls.
        chosen = {Cell.of(trial.config) for trial in stage}
        left = (cell for cell in cells if cell in chosen or cell not in self._confirmed)
        return self.confirming(left)

    def confirming(self, cells: Iterable[Cell]) -> list[list[TrialGroup]]:
        """The last of these stages, without repeats of the search."""
        groups = [self.cell(cell, 1, seeds=1, tests=True) for cell in cells]
        return confirming_stages(self.settings, groups) if groups else []

    def untrained(self) -> set[Cell]:
        """The winner's cell, if its training, which makes the study's weights, is to come."""
        choices = Choices(self.settings, self.records)
        best = choices.winner if choices.ranking else None
        return {Cell.of(best)} if best and not choices.ended("winner", best) else set()

    def training(self, cells: Iterable[Cell]) -> list[list[TrialGroup]]:
        """The training of a winner from one of these cells, at most: a stage, if there are any."""
        trials = [self.cell(cell, 1, seeds=1, tests=True) for cell in cells]
        longest = sorted(trials, key=lambda group: group.seconds)[-1:]
        # Its predictions take a worker, unless there is none.
        own = not self.settings.networks
        return [[replace(group, own=group.own and own)] for group in longest]

    def _group(self, config: TrialConfig, number: float, tests: bool = False) -> TrialGroup:
        own = config.mode in FROZEN and is_short(config, self.shape)
        return TrialGroup(config, self.seconds(config, tests), number, own)

    def _has_weight_of_source(self, trial: Trial) -> bool:
        source = None if trial.source is None else self._watch.by_number.get(trial.source)
        return source is not None and source.config.aux_weight == trial.config.aux_weight

    def _update(self) -> None:
        """Count what has begun or ended."""
        begun, ended = self._watch.update()
        for r in begun:
            if r.kind == "search":
                insort(self._searched[Cell.of(r.config)], r.trial)
            elif r.kind == "confirm":
                self._confirmed.add(Cell.of(r.config))
        for r in ended:
            cell = Cell.of(r.config)
            if r.status != "failed" and r.history and r.wall_s > 0:
                insort(self._scales[cell], (r.trial, _scale_of(r, self.shape)))
            elif r.status == "failed" and r.kind == "search":
                self._searched[cell].remove(r.trial)

    def _scale(self, config: TrialConfig) -> float | None:
        """How many times as long as with `UNIT` the nearest trial has taken; None without one."""
        alike = WHOLE if config.mode in WHOLE else (config.mode,)
        last = {cell: scales[-1] for cell, scales in self._scales.items() if cell.mode in alike}
        if not last:
            seen = (r for r in self._watch.open if r.config.mode in alike and r.history)
            speeds = [r.history[-1].images_per_s for r in seen if r.status == "running"]
            return 1 / min(speeds) if speeds and min(speeds) > 0 else None
        own = any(cell.mode == config.mode for cell in last)
        mode = config.mode if own else max(last, key=lambda cell: last[cell]).mode
        [near, *_] = nearest(Cell(mode, config.train_ratio), last)
        # The first trial of a worker takes longer by the worker's start.
        return min(scale for _, scale in self._scales[near][-3:])


Part = TypeVar("Part")


def fitting(
    parts: Mapping[Part, Sequence[TrialGroup]], fits: Callable[[list[Part]], bool]
) -> list[Part]:
    """Return the parts of a stage that fit together: the smallest ratio first, then the shortest.

    A part that does not fit leaves its time to those after it.
    """

    def place(part: Part) -> tuple[float, float]:
        config = parts[part][0].config
        return config.train_ratio, sum(g.seconds * g.number for g in parts[part])

    kept = list[Part]()
    for part in sorted(parts, key=place):
        if fits([*kept, part]):
            kept.append(part)
    return kept


def _scale_of(record: TrialRecord, shape: Shape) -> float:
    usual = trial_s(record.config, shape, UNIT, tests=bool(record.test)) or math.inf
    return record.wall_s / usual * record.config.epochs / len(record.history)
