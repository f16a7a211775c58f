"""Who runs which trial: the driver makes short sweeps itself, workers run all else.

A network waits for one short sweep at most. The driver draws ahead until each place has a network,
and sweeps what it has drawn on the way while no worker has news, batch by batch. Only before the
first worker is there does it sweep at once, so that the search learns from each batch.
"""

import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from functools import cached_property

from study.execution.study_trials import StudyTrials
from study.search.confirmation import Planned
from study.search.queue import is_frozen
from study.search.short_sweeps import Shape, is_short
from study.trials.sweep import cell_key, sweep
from study.trials.trial_context import TrialContext, on_node, shape_of
from tl_core.data.datasets import ImageSet
from tl_core.device import CPU
from tl_core.runtime import one_thread, usable_cpus
from tl_core.training.setup import Inputs

AHEAD_S = 30.0
"""Longest that a study sweeps before it starts workers, seconds; its networks take minutes each."""


class Jobs:
    """The jobs of workers, and the driver's own."""

    def __init__(
        self,
        trials: StudyTrials,
        context: TrialContext,
        alone: bool,
        check_time: Callable[[], None] = lambda: None,
        searching: float = math.inf,
    ) -> None:
        """Share the trials of a study out.

        Args:
            trials: of the study.
            context: what they share.
            alone: no network learns, so the driver may take its time.
            check_time: raises an error when the time is over; called before each sweep.
            searching: most jobs of the search at once; the rest of it learns from these.
        """
        self._trials, self.context, self._alone = trials, context, alone
        self.check_time = check_time
        self._for_workers = deque[list[Planned]]()
        self._own = deque[list[Planned]]()
        self._most_searching = searching
        self._searching: list[list[Planned]] = []
        """Jobs of the search that workers have or had."""
        self._running = set[str]()
        self._workers = 0
        """How many have been busy at once."""

    def need_workers(self) -> bool:
        """Sweep until there is something for a worker, or nothing left; return whether there is.

        A study whose networks wait goes on after `AHEAD_S`.
        """
        start = time.monotonic()
        while not self._for_workers:
            if not self._alone and time.monotonic() - start > AHEAD_S:
                return True
            if self._own:
                self.sweep_one()
            elif batch := self._trials.queue.next():
                self._share(batch)
            else:
                return False
        return True

    def next(self) -> list[Planned] | None:
        """The next job of a worker, [] while there is none, None after the last.

        While networks run it makes one sweep at most: Ray Tune's loop, which hears of them, waits.
        If none does, [] would have Ray Tune sleep for a second.
        """
        swept = False
        while not self._for_workers:
            if self._may_draw() and (batch := self._trials.queue.next()):
                self._share(batch)
            elif self._own and not (swept and self._workers_are_busy()):
                self.sweep_one()  # Its results decide what follows.
                swept = True
            elif self._own:
                return []
            else:
                return None if self._trials.queue.finished else []
        job = self._for_workers.popleft()
        if job[0].kind == "search" and job not in self._searching:  # Else it was given back.
            self._searching.append(job)
        return job

    def _may_draw(self) -> bool:
        is_open = self._trials.queue.is_open
        self._searching = [job for job in self._searching if any(map(is_open, job))]
        return len(self._searching) < self._most_searching

    def _workers_are_busy(self) -> bool:
        """Whether some of the trials that are neither waiting nor ended are with workers."""
        return self._trials.queue.n_open > sum(map(len, self._own))

    def stage_waits(self) -> bool:
        """Whether a stage is to come, and nothing can be begun before a trial has ended."""
        return not self._for_workers and not self._own and self._trials.queue.waits()

    def is_idle(self, n_given: int) -> bool:
        """Whether a worker waits for the next stage, if so many have a job.

        On a cluster none does: it would keep its place from a trial whose node has died, and a
        rented machine from ending.
        """
        joined = self._trials.settings.address != "local"
        return not joined and n_given < self._workers and self.stage_waits()

    def starts(self, job: str) -> None:
        """Hear that a worker has begun a job."""
        self._running.add(job)
        self._workers = max(self._workers, len(self._running))

    def ends(self, job: str) -> None:
        """Hear that a job has ended."""
        self._running.discard(job)

    def again(self, batch: list[Planned]) -> None:
        """A worker gives a job back: another one gets it after those that wait."""
        self._for_workers.append(batch)

    def sweep_one(self) -> None:
        """Make one of the driver's own sweeps, if one waits."""
        if not self._own:
            return
        self.check_time()
        batch = self._own.popleft()
        self._trials.open(batch)
        with one_thread():
            self._trials.swept(sweep(batch, self._inputs, self.context.storage))

    def _share(self, batch: list[Planned]) -> None:
        if not is_frozen(batch[0]):
            self._for_workers.append(batch)
            return
        for _, some in itertools.groupby(sorted(batch, key=cell_key), cell_key):
            cell = list(some)
            (self._own if self._is_own(cell) else self._for_workers).append(cell)

    def _is_own(self, batch: list[Planned]) -> bool:
        """Whether the driver makes a sweep.

        A winner's predictions take a pass of the network, for which others may not wait.
        """
        if batch[0].winner and not self._alone:
            return False
        return is_short(batch[0].config, self._shape)

    @cached_property
    def _inputs(self) -> Inputs:
        """The study has verified its features before the first trial."""
        context = self.context
        beside = (context.cache / name if name else None for name in (context.rules, context.aux))
        with on_node(context):
            images = ImageSet.open(context.cache / context.images, *beside)
        # If no network learns, no worker needs a core.
        return Inputs(images, context.cache, CPU, False, usable_cpus() if self._alone else 1)

    @cached_property
    def _shape(self) -> Shape:
        return shape_of(self._inputs.images, self.context)
