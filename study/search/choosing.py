"""What the results so far choose: a configuration for each cell, and the winner.

The search has one noisy score for each configuration, and the best of many noisy scores is the
luckiest. So both choices are made again on seeds that are the same for all that are compared:

1. The three best configurations of a cell are repeated on three seeds; the best mean is chosen.
2. The chosen ones are confirmed on fresh seeds; the cell with the best mean is the winner.
3. The three best of a network are repeated without the auxiliary task on the same seeds, and the
   best with a much lower and a much higher learning rate: without the task another may be best. The
   best mean is the control. So it is tuned like the network that it is compared with.

All scores are the study's metric on the validation set. The test set chooses nothing.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress, islice
from statistics import fmean
from typing import NamedTuple

from study.config.defaults import TRIALS_PER_CELL
from study.config.settings import Settings
from study.records.trial_record import ENDED, Kind, TrialRecord, best_of, ranked, tried
from study.search.cells import Cell, all_cells, nearest
from tl_core.aux_task import AuxWeight
from tl_core.config import FROZEN, TrialConfig, sign

BEST, REPEATS = 3, 3
"""How many configurations of a cell are repeated, and on how many seeds."""
CONTROLS = BEST + 2
"""How many configurations of a control are repeated at most."""
_FAR = 3.0
"""How many times another a learning rate is that is much higher."""
REPEATED, FRESH = 5_000, 10_000
"""How far from the study's seed the seeds of the repeats and the fresh seeds start."""


class Rank(NamedTuple):
    """How trials of one configuration did; less is better."""

    failed: int
    """A mean that lacks a seed is compared with others only if all lack one."""
    cost: float
    """Mean of the metric, with the sign that makes less better."""


@dataclass(frozen=True)
class Chosen:
    """The configuration of a cell."""

    config: TrialConfig
    source: TrialRecord
    """The trial of the search that it comes from; of another cell if this one has no result."""

    @property
    def borrowed(self) -> bool:
        """Whether it comes from another cell."""
        return self.source.config.train_ratio != self.config.train_ratio


def on_seed(seed: int, config: TrialConfig) -> TrialConfig:
    """Return the configuration on one seed."""
    return config.model_copy(update={"seed": seed, "seeds": 1})


def fresh_seeds(settings: Settings) -> range:
    """Return the seeds of the confirming trials."""
    return range(settings.seed + FRESH, settings.seed + FRESH + settings.confirm_seeds)


def later_seeds(settings: Settings) -> list[int]:
    """Return all seeds of a study after its search."""
    if not settings.confirm or settings.debug:
        return []
    first = settings.seed + REPEATED
    return [*range(first, first + REPEATS), *fresh_seeds(settings)]


def repeats_of(settings: Settings, config: TrialConfig) -> list[TrialConfig]:
    """Return the trials that repeat a configuration; a frozen one trains its seeds at once."""
    first = settings.seed + REPEATED
    if config.mode in FROZEN:
        return [config.model_copy(update={"seed": first, "seeds": REPEATS})]
    return [on_seed(seed, config) for seed in range(first, first + REPEATS)]


class Choices:
    """What a study's records choose; `settings` are the study's."""

    def __init__(self, settings: Settings, records: Sequence[TrialRecord]) -> None:
        self.settings = settings
        self.records = list(records)
        self._by_config = {(r.kind, r.config): r for r in records}
        self._sign = sign(settings.metric)

    def candidates(self, cell: Cell) -> list[Chosen]:
        """Return the best different configurations of a cell, the best first."""
        return self._different(cell)[:BEST]

    def _different(self, cell: Cell) -> list[Chosen]:
        different: dict[TrialConfig, TrialRecord] = {}
        here = [r for r in self.records if Cell.of(r.config) == cell]
        for record in ranked(here, self.settings.metric):
            different.setdefault(on_seed(0, record.config), record)
        return [Chosen(record.config, record) for record in different.values()]

    def repeated(self) -> Iterator[tuple[TrialRecord, TrialConfig]]:
        """Yield each candidate of the search with each trial that repeats it."""
        for cell in all_cells(self.settings):
            yield from self._repeats(self._to_repeat(cell))

    def compared(self, cell: Cell) -> int:
        """How many candidates of a cell its repeats have compared; 0 if they have not all ended."""
        candidates = self._to_repeat(cell)
        return len(candidates) if self._best_repeated(candidates) else 0

    def repeated_control(
        self, cell: Cell, weight: AuxWeight
    ) -> Iterator[tuple[TrialRecord, TrialConfig]]:
        """Yield each candidate of a control with each trial that repeats it."""
        return self._repeats(self._control_candidates(cell, weight))

    def control(self, cell: Cell, weight: AuxWeight) -> Chosen:
        """The configuration of a cell at another auxiliary weight.

        It is the best of the cell's candidates at that weight if they were repeated, else the
        chosen one of the cell.
        """
        chosen = self.chosen[cell]
        same = Chosen(chosen.config.model_copy(update={"aux_weight": weight}), chosen.source)
        return self._best_repeated(self._control_candidates(cell, weight)) or same

    @cached_property
    def chosen(self) -> dict[Cell, Chosen]:
        """The configuration of each cell.

        A cell without a finished trial has that of the nearest ratio of its mode, if there is one.
        """
        candidates = {
            cell: found for cell in all_cells(self.settings) if (found := self.candidates(cell))
        }
        own = {cell: self._best_repeated(c) or c[0] for cell, c in candidates.items()}
        near = {cell: next(iter(nearest(cell, own)), None) for cell in all_cells(self.settings)}
        return {
            cell: replace(
                own[n], config=own[n].config.model_copy(update={"train_ratio": cell.train_ratio})
            )
            for cell, n in near.items()
            if n
        }

    @cached_property
    def ranks(self) -> dict[Cell, Rank]:
        """How the confirming trials of each cell did, if one has finished."""
        found = {cell: self.rank("confirm", self._on_fresh_seeds(cell)) for cell in self.chosen}
        return {cell: rank for cell, rank in found.items() if rank.cost < math.inf}

    @cached_property
    def ranking(self) -> list[Cell]:
        """The cells with a finished confirming trial, the winner first.

        A tie is won by a cell with a configuration of its own, then by the earlier configuration.
        """

        def place(cell: Cell) -> tuple[Rank, bool, int]:
            chosen = self.chosen[cell]
            return self.ranks[cell], chosen.borrowed, chosen.source.trial

        return sorted(self.ranks, key=place)

    @cached_property
    def unconfirmed(self) -> list[Cell]:
        """The cells with confirming trials that have not ended."""
        each = {cell: self._on_fresh_seeds(cell) for cell in self.chosen}
        return [cell for cell, c in each.items() if not all(self.ended("confirm", x) for x in c)]

    def mean_on_fresh_seeds(self, cell: Cell) -> float:
        """The mean of the metric over a cell's finished confirming trials."""
        return self._sign * self.ranks[cell].cost

    def _on_fresh_seeds(self, cell: Cell) -> list[TrialConfig]:
        config = self.chosen[cell].config
        return [on_seed(seed, config) for seed in fresh_seeds(self.settings)]

    @cached_property
    def winner(self) -> TrialConfig | None:
        """The configuration that the study recommends, on the seed that its weights come from.

        That is its first fresh seed, not its best one. If nothing is confirmed, it is that of the
        best trial of the search; None if none has finished.
        """
        if not self.ranking:
            best = best_of(self.records, self.settings.metric)
            return best.config if best else None
        trials = self._on_fresh_seeds(self.ranking[0])
        return next(c for c in trials if self.value("confirm", c) is not None)

    @cached_property
    def winning(self) -> TrialRecord | None:
        """The trial with the winner's numbers: the one that made its weights, if it has ended."""
        if self.winner is None:
            return None
        kinds: tuple[Kind, ...] = ("winner", "confirm", "search")
        found = (self._by_config.get((kind, self.winner)) for kind in kinds)
        return next((r for r in found if r and r.status == "done"), None)

    def ended(self, kind: Kind, config: TrialConfig) -> bool:
        """Whether a trial has ended."""
        record = self._by_config.get((kind, config))
        return record is not None and record.status in ENDED

    def value(self, kind: Kind, config: TrialConfig) -> float | None:
        """The metric of a trial that has finished."""
        record = self._by_config.get((kind, config))
        is_done = record is not None and record.status == "done"
        return record.value(self.settings.metric) if record and is_done else None

    def _to_repeat(self, cell: Cell) -> list[Chosen]:
        """The candidates of a cell; none if it is a probe, which tunes itself, or has no choice."""
        candidates = [] if cell.mode == "probe" else self.candidates(cell)
        return candidates if len(candidates) > 1 else []

    def _control_candidates(self, cell: Cell, weight: AuxWeight) -> list[Chosen]:
        """The different configurations that a control is chosen from; none without a choice.

        Where the cell had too few trials to be tuned, the control needs no tuning either.
        """
        if tried(r for r in self.records if Cell.of(r.config) == cell) < TRIALS_PER_CELL:
            return []
        every, different = self._different(cell), dict[TrialConfig, Chosen]()
        for found in (*every[:BEST], *_far_from_best(every)):
            config = found.config.model_copy(update={"aux_weight": weight})
            different.setdefault(on_seed(0, config), replace(found, config=config))
        return [*different.values()] if len(different) > 1 else []

    def _repeats(self, candidates: Iterable[Chosen]) -> Iterator[tuple[TrialRecord, TrialConfig]]:
        for candidate in candidates:
            for config in repeats_of(self.settings, candidate.config):
                yield candidate.source, config

    def _best_repeated(self, candidates: Sequence[Chosen]) -> Chosen | None:
        """The candidate whose repeats are best; None while some are still to run."""
        if not all(self.ended("repeat", config) for _, config in self._repeats(candidates)):
            return None
        return min(
            candidates,
            key=lambda c: self.rank("repeat", repeats_of(self.settings, c.config)),
            default=None,
        )

    def rank(self, kind: Kind, configs: Sequence[TrialConfig]) -> Rank:
        """How the finished ones of some trials did, which are on seeds of one configuration."""
        found = [self.value(kind, config) for config in configs]
        values = [value for value in found if value is not None]
        cost = self._sign * fmean(values) if values else math.inf
        return Rank(len(configs) - len(values), cost)


def _far_from_best(ranked: Sequence[Chosen]) -> Iterator[Chosen]:
    """Yield the best with a much lower learning rate than the first, and with a much higher one."""
    rates = [found.config.lr or 0.0 for found in ranked]  # Only a probe has none.
    for far in ([r * _FAR <= rates[0] for r in rates], [r >= rates[0] * _FAR for r in rates]):
        yield from islice(compress(ranked, far), 1)
