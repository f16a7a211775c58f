"""`--max-time`: which trials still fit into the time of a command, and what had to be left out.

How long a trial is expected to take is in `study/diagnosis/observed.py`. A network of the search
starts only if there is time left for it, for the networks at smaller ratios, which cost less and
together are the curve, and for confirming all of them. So the largest ratios are left out first.
A study that goes on may have too little time for that, again and again. Then what fits alone
starts, and later runs confirm it.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from study.cluster.capacity import Capacity
from study.cluster.stores import Bucket, Folder, storage_of
from study.diagnosis.estimate import MARGIN, TrialGroup, stage_s
from study.diagnosis.first_line import workers_s
from study.diagnosis.observed import Expected, searching
from study.preflight.prepare import Prepared
from study.records.trial_record import Kind
from study.search.cells import Cell, smaller
from study.search.confirmation import Planned, plan
from study.trials.headway import headway
from study.trials.trial_context import TrialContext
from tl_core.config import FROZEN, TrialConfig
from tl_core.errors import OutOfTimeError
from tl_core.text import pluralize


@dataclass
class TimeBudget:
    """The time that is left, and what does not fit."""

    expected: Expected
    """How long the study's trials take."""
    capacity: Capacity
    storage: Folder | Bucket
    """The study's."""
    end: float
    """When the last trial has to have ended, by `clock`."""
    clock: Callable[[], float] = time.monotonic
    left_out: Counter[tuple[Kind, Cell]] = field(default_factory=Counter)
    """Trials that did not fit."""
    given_up: set[tuple[Kind, TrialConfig]] = field(default_factory=set)
    """Those of them that follow the search."""
    late_s: float = math.inf
    """Seconds that lacked, at the least, for a trial of the search and all that follows."""
    short_s: float = math.inf
    """Seconds that lacked, at the least, for a trial alone."""
    resumed: bool = False
    """Whether the study goes on."""
    made: bool = False
    """Whether this command has made what its trials need, so that the next one has more time."""
    start_s: float = 0.0
    """Seconds until Ray and its workers are up; 0 once they start, which the clock shows."""
    over: bool = False
    """Whether the time has ended."""
    started: bool = False
    """Whether any trial has fitted."""
    alone: bool = False
    """Whether trials start that fit alone, as none has fitted with all that follows."""

    def __post_init__(self) -> None:
        self.settings, self.records = self.expected.settings, self.expected.records
        self._answered = self.resumed and not plan(self.settings, self.records)
        self._before = headway(self.records, self.storage)

    @property
    def is_stuck(self) -> bool:
        """Whether the same time would never suffice, however often the study is resumed."""
        lacks = self.resumed and not self.made and (self.over or bool(self.left_out))
        return lacks and headway(self.records, self.storage) <= self._before

    def check(self) -> None:
        """Raise `OutOfTimeError` at the end."""
        self.over = self.clock() >= self.end
        if self.over:
            raise OutOfTimeError

    def admits(self, planned: Planned) -> bool:
        """Whether a trial may start; the stages after the search were `admitted` before.

        Repeats help to choose: if they take longer than expected, the rest of them gives way to
        trials that confirm.
        """
        if planned.kind == "repeat":
            then = [] if self.alone else self.expected.after_stage([planned])
            if not (fits := self._late_s([self._with_running(planned), *then]) <= 0):
                self._give_up(planned)
            return fits
        if planned.kind != "search":
            return True
        late_s = self._late_with_all(planned)
        fits = late_s <= 0 or self._fits_alone(planned)
        self.started |= fits
        if not fits:
            self.late_s = min(self.late_s, late_s)
            self.left_out["search", Cell.of(planned.config)] += 1
        return fits

    def _fits_alone(self, planned: Planned) -> bool:
        """Whether a trial of the search starts though what confirms it is left to later runs."""
        if not self._answered or (self.started and not self.alone):
            return False
        late_s = self._late_s([self._with_running(planned)], searching=True)
        self.short_s = min(self.short_s, late_s)
        self.alone |= late_s <= 0
        return late_s <= 0

    def _late_with_all(self, planned: Planned) -> float:
        """How late a trial of the search would be with all that is to follow it."""
        cell = Cell.of(planned.config)
        started = self._searched(planned.trial)
        counted = {c: n for c, n in started.items() if self._comes_first(c, cell)}
        search, numbers = self._with_running(planned), Counter(counted) + Counter([cell])
        for other, lacks in smaller(self.settings, cell, started):
            search.append(self.expected.cell(other, lacks))
            numbers[other] += lacks
        return self._late_s([search, *self.expected.after_search(numbers)], searching=True)

    def _searched(self, but: int | None = None) -> Counter[Cell]:
        """How many trials of the search each cell has had, but for one that is to go on."""
        return Counter(Cell.of(r.config) for r in searching(self.records) if r.trial != but)

    def admitted(self, stage: Sequence[Planned]) -> list[Planned]:
        """The trials of a stage after the search that fit, whole cells each, the shortest first.

        The winner's training, which leaves the study's weights, is kept as long as the time lasts.
        If no cell fits, and nothing else has started, it is trial by trial.
        """
        if not stage:
            return []
        cells: dict[Cell, list[Planned]] = {}
        for planned in stage:
            cells.setdefault(Cell.of(planned.config), []).append(planned)
        kept = self._fitting(cells.values(), self.expected.after_stage(stage))
        if not (kept or self.started):
            self.alone = True
            kept = self._fitting([[planned] for planned in stage])
        self.started |= bool(kept)
        for planned in stage:
            if planned not in kept:
                self._give_up(planned)
        return [planned for planned in stage if planned in kept]

    def _fitting(
        self, parts: Iterable[list[Planned]], then: Sequence[Sequence[TrialGroup]] = ()
    ) -> list[Planned]:
        """The parts of a stage that fit before the stages that follow, the winner in any case."""
        kept = [planned for part in parts for planned in part if planned.winner]
        for part in sorted(parts, key=lambda part: self.expected.seconds(part[0].config)):
            more = [*kept, *(planned for planned in part if not planned.winner)]
            late_s = self._late_s([[self.expected.rest(p) for p in more], *then])
            kept = more if late_s <= 0 else kept
            self.short_s = min(self.short_s, math.inf if then else late_s)
        return kept

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
        late_s, what = self.late_s, "the first of them to fit, and its confirmation,"
        if (stuck := self.is_stuck) and (self.started or self.short_s == math.inf):
            yield "in this time no trial has got any further"
        elif stuck:
            late_s, what = self.short_s, "no trial fits by itself: the shortest that is next"
        if late_s < math.inf:
            yield f"{what} needed about {timedelta(seconds=math.ceil(late_s))} more"

    def _with_running(self, planned: Planned) -> list[TrialGroup]:
        """A trial, and what is left of those that run."""
        running = [self.expected.rest(r) for r in self.records if r.status == "running"]
        return [*running, self.expected.rest(planned)]

    def _comes_first(self, other: Cell, cell: Cell) -> bool:
        """Whether the time to confirm a cell is kept while another one is searched."""
        always = self.settings.design != "cells" or other.mode in FROZEN
        return always or other.train_ratio <= cell.train_ratio

    def _late_s(self, stages: Iterable[Sequence[TrialGroup]], searching: bool = False) -> float:
        """How late stages would end; 0 or less if they fit. The first may be of the search."""
        first, *rest = stages
        workers = any(not group.own for stage in (first, *rest) for group in stage)
        at_once = self.capacity.searching(self.settings) if searching else None
        needed = stage_s(first, self.capacity, at_once)
        needed += sum(stage_s(stage, self.capacity) for stage in rest)
        return self.clock() + workers * self.start_s + MARGIN * needed - self.end


def make_time_budget(
    prepared: Prepared, context: TrialContext, expected: Expected
) -> TimeBudget | None:
    """The time that a study has from the start of its command; None without `--max-time`."""
    settings, end = prepared.settings, prepared.end
    if end is None:
        return None
    given = expected, prepared.capacity, storage_of(settings, prepared.folder), end
    resumed, made = prepared.state is not None, _made(prepared, context)
    return TimeBudget(*given, resumed=resumed, made=made, start_s=workers_s(prepared))


def _made(prepared: Prepared, context: TrialContext) -> bool:
    """Whether this command has decoded the images, or run the frozen network."""
    names = (*filter(None, [context.features]), *context.activations)
    entries = (prepared.images.path, *(context.cache / name for name in names))
    age_s = time.time() - max(entry.stat().st_mtime for entry in entries)
    return age_s < time.monotonic() - prepared.started
