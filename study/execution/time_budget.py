"""`--max-time`: which trials still fit into the time of a command, and what had to be left out.

How long a trial is expected to take is in `study/diagnosis/observed.py`. A network of the search
starts only if there is time left for it, for the networks at smaller ratios, which cost less and
together are the curve, and for confirming all of them. So the largest ratios are left out first.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from study.cluster.capacity import Capacity
from study.config.settings import Settings
from study.diagnosis.estimate import (
    Speeds,
    TrialGroup,
    confirming_stages,
    example_of,
    repeats_of_cells,
    stage_s,
)
from study.diagnosis.first_line import measure_step
from study.diagnosis.observed import expected_s
from study.preflight.prepare import Prepared
from study.records.trial_record import ENDED, Kind, TrialRecord
from study.search.cells import Cell, shares
from study.search.choosing import REPEATS
from study.search.confirmation import Planned
from study.search.short_sweeps import Shape, is_short
from study.trials.trial_context import TrialContext, shape_of
from tl_core.config import FROZEN, TrialConfig
from tl_core.text import pluralize


class OutOfTimeError(Exception):
    """The time of this command is over."""


_MARGIN = 1.15
"""Trials of one kind don't take equally long, least of all on a machine that others use."""
_REPORT_S = 60.0
"""Most of the time of a command that is kept for its files and its report, seconds."""


@dataclass
class TimeBudget:
    """The time that is left, and what does not fit."""

    settings: Settings
    shape: Shape
    capacity: Capacity
    end: float = math.inf
    """When the last trial has to have ended, by `clock`."""
    speeds: Speeds | None = None
    """Measured before the first trial, if they were."""
    clock: Callable[[], float] = time.monotonic
    left_out: Counter[tuple[Kind, Cell]] = field(default_factory=Counter)
    """Trials that did not fit."""
    given_up: set[tuple[Kind, TrialConfig]] = field(default_factory=set)
    """Those of them that follow the search."""
    late_s: float = math.inf
    """Seconds that lacked, at the least, for a trial of the search and all that follows."""

    def check(self) -> None:
        """Raise `OutOfTimeError` at the end."""
        if self.clock() >= self.end:
            raise OutOfTimeError

    def admits(self, planned: Planned, records: Sequence[TrialRecord]) -> bool:
        """Whether a trial may start; the stages after the search were `admitted` before.

        Repeats help to choose: if they take longer than expected, the rest of them gives way to
        trials that confirm.
        """
        if self.end == math.inf or planned.kind not in ("search", "repeat"):
            return True
        if planned.kind == "repeat":
            stage = [*self._running(records), self._group(planned.config, 1, records)]
            if not (fits := self._fits([stage, *self._after_stage([planned], records)])):
                self._give_up(planned)
            return fits
        cell = Cell.of(planned.config)
        started = Counter(
            Cell.of(r.config) for r in records if r.kind == "search" and r.status != "failed"
        )
        counted = {c: n for c, n in started.items() if self._comes_first(c, cell)}
        search, numbers = self._running(records), Counter(counted) + Counter([cell])
        search.append(self._group(planned.config, 1, records))
        for smaller, lacks in self._smaller(cell, started):
            search.append(self._cell(smaller, lacks, records))
            numbers[smaller] += lacks
        late_s = self._late_s([search, *self._after_search(numbers, records)])
        if late_s <= 0:
            return True
        self.left_out["search", cell] += 1
        self.late_s = min(self.late_s, late_s)
        return False

    def admitted(self, stage: Sequence[Planned], records: Sequence[TrialRecord]) -> list[Planned]:
        """The trials of a stage after the search that fit, whole cells each, the shortest first.

        The winner's training, which leaves the study's weights, is kept as long as the time lasts.
        """
        if self.end == math.inf or not stage:
            return list(stage)
        then = self._after_stage(stage, records)
        cells: dict[Cell, list[Planned]] = {}
        for planned in stage:
            if not planned.winner:
                cells.setdefault(Cell.of(planned.config), []).append(planned)
        kept = [p for p in stage if p.winner]
        for cell in sorted(cells, key=lambda c: self._seconds(cells[c][0].config, records)):
            more = [*kept, *cells[cell]]
            if self._fits([[self._group(p.config, 1, records) for p in more], *then]):
                kept = more
                continue
            for planned in cells[cell]:
                self._give_up(planned)
        return [planned for planned in stage if planned in kept]

    def _give_up(self, planned: Planned) -> None:
        self.left_out[planned.kind, Cell.of(planned.config)] += 1
        self.given_up.add((planned.kind, planned.config))

    def describe(self) -> Iterator[str]:
        """Yield, in lines, what was left out."""
        searched = {cell: n for (kind, cell), n in self.left_out.items() if kind == "search"}
        others = [(cell, n) for (kind, cell), n in self.left_out.items() if kind != "search"]
        for what, cells in (("of the search", [*searched.items()]), ("that confirm", others)):
            if cells:
                names = dict.fromkeys(f"{cell.mode} at {cell.train_ratio:g}" for cell, _ in cells)
                n = pluralize(sum(n for _, n in cells), "trial")
                yield f"left out, as --max-time does not suffice: {n} {what} ({', '.join(names)})"
        if searched and self.late_s < math.inf:
            late = timedelta(seconds=math.ceil(self.late_s))
            yield f"the first of them to fit, and its confirmation, needed about {late} more"

    def _running(self, records: Sequence[TrialRecord]) -> list[TrialGroup]:
        """What is left of the trials that run."""
        return [
            self._group(r.config, 1 - len(r.history) / r.config.epochs, records)
            for r in records
            if r.status == "running"
        ]

    def _comes_first(self, other: Cell, cell: Cell) -> bool:
        """Whether the time to confirm a cell is kept while another one is searched."""
        if self.settings.design != "cells" or other.mode in FROZEN:
            return True
        return other.train_ratio <= cell.train_ratio

    def _smaller(self, cell: Cell, started: Counter[Cell]) -> Iterator[tuple[Cell, int]]:
        """The cells at smaller ratios that come later, and the trials that they lack."""
        if self.settings.design != "cells":
            return
        frozen = cell.mode in FROZEN
        for other, share in shares(self.settings).items():
            later = other.train_ratio < cell.train_ratio and (other.mode in FROZEN) == frozen
            if later and share > started[other]:
                yield other, share - started[other]

    def _after_search(
        self, numbers: Counter[Cell], records: Sequence[TrialRecord]
    ) -> list[list[TrialGroup]]:
        """The stages that confirm cells which have so many trials each."""
        if not self.settings.confirm:
            return self._confirming([*numbers], records)
        each = [self._cell(cell, n, records, seeds=REPEATS) for cell, n in numbers.items()]
        return [repeats_of_cells(each), *self._confirming([*numbers], records)]

    def _confirming(
        self, cells: Sequence[Cell], records: Sequence[TrialRecord]
    ) -> list[list[TrialGroup]]:
        groups = [self._cell(cell, 1, records, seeds=1, tests=True) for cell in cells]
        return confirming_stages(self.settings, groups) if groups else []

    def _after_stage(
        self, stage: Sequence[Planned], records: Sequence[TrialRecord]
    ) -> list[list[TrialGroup]]:
        """The stages that follow one after the search."""
        confirmed = any(r.kind == "confirm" and r.status in ENDED for r in records)
        cells = [*dict.fromkeys(Cell.of(r.config) for r in records if r.kind == "search")]
        if stage[0].kind == "repeat" and not confirmed:
            return self._confirming(cells, records)
        winner = any(planned.winner for planned in stage)
        return [] if winner else self._confirming(cells, records)[-1:]

    def _cell(
        self,
        cell: Cell,
        number: float,
        records: Iterable[TrialRecord],
        seeds: int | None = None,
        tests: bool = False,
    ) -> TrialGroup:
        config = example_of(self.settings, cell)
        if seeds and cell.mode in FROZEN:
            config = config.model_copy(update={"seeds": seeds})
        return self._group(config, number, records, tests)

    def _group(
        self,
        config: TrialConfig,
        number: float,
        records: Iterable[TrialRecord],
        tests: bool = False,
    ) -> TrialGroup:
        own = config.mode in FROZEN and is_short(config, self.shape)
        return TrialGroup(config, self._seconds(config, records, tests), number, own)

    def _seconds(
        self, config: TrialConfig, records: Iterable[TrialRecord], tests: bool = False
    ) -> float:
        return expected_s(config, records, self.shape, self.speeds, tests)

    def _fits(self, stages: Iterable[Sequence[TrialGroup]]) -> bool:
        return self._late_s(stages) <= 0

    def _late_s(self, stages: Iterable[Sequence[TrialGroup]]) -> float:
        """How long after the end stages would take; 0 or less if they fit."""
        at_once = self.capacity.most_at_once(self.settings.trials)
        needed = sum(stage_s(stage, self.capacity, at_once) for stage in stages)
        return self.clock() + _MARGIN * needed - self.end


def make_time_budget(prepared: Prepared, context: TrialContext) -> TimeBudget:
    """The time that a study with `--max-time` has, from the start of its command."""
    settings = prepared.settings
    assert settings.max_time
    end = prepared.started + settings.max_time - min(_REPORT_S, settings.max_time / 10)
    step = measure_step(prepared)
    return TimeBudget(
        settings,
        shape_of(prepared.images, context),
        prepared.capacity,
        end,
        speeds=step[0] if step else None,
    )
