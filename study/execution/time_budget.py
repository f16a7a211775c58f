"""`--max-time`: which trials still fit into the time of a command, and what had to be left out.

How long a trial is expected to take is in `study/diagnosis/observed.py`. A network of the search
starts only if there is time left for it, for the networks at smaller ratios, which cost less and
together are the curve, and for all that follows.

After the search the time goes first to confirming cells, the smallest ratio first, and to training
the winner; then to repeats, which help to choose; last to the auxiliary task's control. Cells that
did not fit get another chance before each later stage. If the time of a study that goes on is too
short for any whole cell, trials start that fit alone.
"""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from study.cluster.capacity import Capacity
from study.cluster.stores import Bucket, Folder, storage_of
from study.diagnosis.estimate import MARGIN, TrialGroup, stage_s
from study.diagnosis.first_line import workers_s
from study.diagnosis.observed import Expected, Part, fitting
from study.preflight.prepare import Prepared
from study.records.trial_record import Kind
from study.search.cells import Cell
from study.search.confirmation import PART_OF, Planned, plan
from study.trials.headway import headway
from tl_core.config import TrialConfig
from tl_core.errors import OutOfTimeError
from tl_core.text import pluralize


@dataclass
class TimeBudget:
    """The time that is left, and what does not fit."""

    expected: Expected
    """How long the study's trials take."""
    capacity: Capacity
    storage: Folder | Bucket
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
    """Whether trials start that fit alone, as nothing larger has."""

    def __post_init__(self) -> None:
        self.settings, self.records = self.expected.settings, self.expected.records
        self._answered = self.resumed and not plan(self.settings, self.records)
        self._before = headway(self.records, self.storage)
        self._untrained: set[Cell] = set()

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
        """Whether a trial may start.

        Stages after the search were `admitted` before, but slow repeats give way to confirming.
        """
        if planned.kind == "repeat":
            running = self.expected.running()
            then = [] if self.alone else self._kept_for([planned], running)
            if not (fits := self._late_s([[*running, self.expected.rest(planned)], *then]) <= 0):
                self._give_up(planned)
            return fits
        if planned.kind != "search":
            return True
        late_s = self._late_s(self.expected.with_all(planned), searching=True)
        fits = late_s <= 0 or self._fits_alone(planned)
        self.started |= fits
        if not fits:
            known = self.expected.seconds(planned.config) > 0  # On a GPU nothing is at first.
            self.late_s = min(self.late_s, late_s if known else math.inf)
            self.left_out["search", Cell.of(planned.config)] += 1
        return fits

    def _fits_alone(self, planned: Planned) -> bool:
        """Whether a trial of the search starts though what confirms it is left to later runs."""
        if not self._answered or (self.started and not self.alone):
            return False
        begun = [*self.expected.running(), self.expected.rest(planned)]
        late_s = self._late_s([begun], searching=True)
        self.short_s = min(self.short_s, late_s if begun[-1].seconds else math.inf)
        self.alone |= late_s <= 0
        return late_s <= 0

    def admitted(self, stage: Sequence[Planned]) -> list[Planned]:
        """The trials of a stage after the search that fit, whole cells each.

        The winner's training is kept as long as the time lasts, unless something else may start.
        """
        self._untrained = self.expected.untrained()
        groups = {planned: [self.expected.rest(planned)] for planned in stage if not planned.winner}
        winner = [self.expected.rest(planned) for planned in stage if planned.winner]
        kept = self._whole_cells(groups, winner)
        if not kept and self.alone:
            kept = {*self._fitting(groups)}
        if self.started or self.alone or self._late_s([winner]) <= 0:
            kept |= {planned for planned in stage if planned.winner}
        self.started |= bool(kept)
        for planned in (p for p in stage if p not in kept):
            self._give_up(planned)
        return [planned for planned in stage if planned in kept]

    def _whole_cells(
        self, trials: Mapping[Planned, list[TrialGroup]], winner: Sequence[TrialGroup]
    ) -> set[Planned]:
        """The trials of the cells of a stage that fit, beside the winner's if that is one of it."""
        cells: dict[Cell, list[TrialGroup]] = {}
        for planned, groups in trials.items():
            cells.setdefault(Cell.of(planned.config), []).extend(groups)
        kinds = {planned.kind for planned in trials}
        if "confirm" in kinds:
            kept, _ = self._confirming(cells)
        else:
            then = self._kept_for([*trials]) if "repeat" in kinds else []
            kept = self._fitting(cells, winner, lambda _: then)
        return {planned for planned in trials if Cell.of(planned.config) in kept}

    def reconsider(self, kinds: Collection[Kind]) -> None:
        """Give trials of some kinds that were given up another chance."""
        again = {key for key in self.given_up if key[0] in kinds}
        self.given_up -= again
        self.left_out -= Counter((kind, Cell.of(config)) for kind, config in again)

    def begin_alone(self) -> bool:
        """Whether trials that fit alone may start from now on, as nothing has started."""
        if self.started or self.alone or not self.given_up:
            return False
        self.reconsider({kind for kind, _ in self.given_up})
        self.alone = True
        return True

    def _kept_for(
        self, stage: Sequence[Planned], running: Sequence[TrialGroup] = ()
    ) -> list[list[TrialGroup]]:
        """The stages that a stage of repeats leaves time for, beside the trials that run.

        Those of the search leave it for what confirms; those of a control for all that follows.
        """
        first, *later = self.expected.after_stage(stage)
        if not later:
            return [first]
        kept, then = self._confirming({Cell.of(g.config): [g] for g in first}, running)
        return [[group for group in first if Cell.of(group.config) in kept], *then]

    def _confirming(
        self, cells: Mapping[Cell, list[TrialGroup]], running: Sequence[TrialGroup] = ()
    ) -> tuple[list[Cell], list[list[TrialGroup]]]:
        """The cells whose confirming trials fit, and the winner's training, which is to follow.

        If that does not fit even alone, no time is kept for it.
        """

        def training(kept: Sequence[Cell] = ()) -> list[list[TrialGroup]]:
            return self.expected.training({*kept, *self._untrained})

        if kept := self._fitting(cells, running, training):
            return kept, training(kept)
        if self._untrained and self._late_s([running, *training()]) <= 0:
            return [], training()
        return self._fitting(cells, running), []

    def _fitting(
        self,
        parts: Mapping[Part, list[TrialGroup]],
        beside: Sequence[TrialGroup] = (),
        then: Callable[[list[Part]], list[list[TrialGroup]]] = lambda _: [],
    ) -> list[Part]:
        """The parts of a stage that fit beside others, and before what follows them."""

        def fits(kept: list[Part]) -> bool:
            groups = itertools.chain(beside, *(parts[part] for part in kept))
            late_s = self._late_s([[*groups], *then(kept)])
            self.short_s = min(self.short_s, late_s if self.alone else math.inf)
            return late_s <= 0

        return fitting(parts, fits)

    def _give_up(self, planned: Planned) -> None:
        self.left_out[planned.kind, Cell.of(planned.config)] += 1
        self.given_up.add((planned.kind, planned.config))

    def describe(self) -> Iterator[str]:
        """Yield, in lines, what was left out."""
        for kind, what in PART_OF.items():
            if cells := {cell: n for (of, cell), n in self.left_out.items() if of == kind}:
                n = pluralize(sum(cells.values()), "trial")
                names = ", ".join(f"{c.mode} at {c.train_ratio:g}" for c in cells)
                yield f"left out, as --max-time does not suffice: {n} of the {what} ({names})"
        late_s, what = self.late_s, "the first of them to fit, and its confirmation,"
        if (stuck := self.is_stuck) and (self.started or self.short_s == math.inf):
            yield "in this time no trial has got any further"
        elif stuck:
            late_s, what = self.short_s, "no trial fits by itself: the shortest that is next"
        if late_s < math.inf:
            yield f"{what} needed about {timedelta(seconds=math.ceil(late_s))} more"
        elif any(kind == "search" for kind, _ in self.left_out):
            yield "how much more they need is not known yet, as no trial like them has run"

    def _late_s(self, stages: Iterable[Sequence[TrialGroup]], searching: bool = False) -> float:
        """How late stages would end; 0 or less if they fit. The first may be of the search."""
        first, *rest = stages
        workers = any(not group.own for stage in (first, *rest) for group in stage)
        at_once = self.capacity.searching(self.settings) if searching else None
        needed = stage_s(first, self.capacity, at_once)
        needed += sum(stage_s(stage, self.capacity) for stage in rest)
        return self.clock() + workers * self.start_s + MARGIN * needed - self.end


def make_time_budget(prepared: Prepared, made: bool, expected: Expected) -> TimeBudget | None:
    """The time that a study has from the start of its command; None without `--max-time`."""
    if prepared.end is None:
        return None
    storage = storage_of(prepared.settings, prepared.folder)
    given = expected, prepared.capacity, storage, prepared.end
    return TimeBudget(*given, resumed=bool(prepared.state), made=made, start_s=workers_s(prepared))
