"""Whole studies of a world whose truth is known: the product's own search, stages and verdicts.

Nothing is trained. A trial's scores are drawn from the truth of its configuration, with the noise
of its seed and of the images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from study.analysis.comparisons import Difference, mode_differences
from study.analysis.study_data import confirmed_of
from study.config.settings import Settings
from study.records.trial_record import TrialRecord, best_of
from study.search.cells import Cell
from study.search.choosing import Choices
from study.search.confirmation import Planned, plan, remaining, still_planned
from study.search.queue import TrialQueue
from study.search.space import LR_RANGES
from tests.support.studies.builders import make_epoch, make_settings
from tl_core.config import Mode, TrialConfig

Chance = np.random.Generator


@dataclass(frozen=True)
class World:
    """The truth on two modes, and how noisy a look at it is."""

    best: Mapping[Mode, float]
    """Where the best learning rate of each mode lies in its log range, from 0 to 1."""
    noise: Mapping[Mode, float]
    """Standard deviation of a seed's log loss, on a log scale; its mean is the truth."""
    ratios: tuple[float, ...] = (0.05, 0.3)
    level: float = 0.10
    """Log loss at the largest ratio and the best learning rate: the same for all modes."""
    power: float = 0.3
    """How fast it falls with the labels."""
    width: float = 6.0
    """Log loss grows by exp(width * distance^2) away from the best learning rate."""
    subset: float = 0.1
    """Standard deviation of what all modes share in a seed: its training subset."""
    images: int = 240
    """In the test set; as many are for validation."""
    shared: float = 0.9
    """Share of an image's variance that all modes have in common: it is hard, or easy."""
    own: float = 0.0
    """Share that a mode has for itself on all its seeds; the rest is a seed's."""
    without: Mapping[Mode, float] = field(default_factory=dict)
    """Where the best learning rate lies at auxiliary weight 0, if that is elsewhere."""

    def log_loss(self, config: TrialConfig) -> float:
        """The true log loss of a configuration, over all seeds and images."""
        low, high = np.log(LR_RANGES[config.mode])
        best = self.best if config.aux_weight else {**self.best, **self.without}
        place = (np.log(config.lr or 1.0) - low) / (high - low) - best[config.mode]
        return float(self.least(config.train_ratio) * np.exp(self.width * place**2))

    def least(self, ratio: float) -> float:
        """The least log loss at a ratio."""
        return float(self.level * (max(self.ratios) / ratio) ** self.power)

    def settings(self, **given: Any) -> Settings:
        """A study of it, by defaults: eight trials a cell, and five fresh seeds."""
        ratios = [*map(str, self.ratios)]
        fixed = {"mode": [*self.best], "train_ratio": ratios, "aux_weight": ["0"]}
        return make_settings(data="photos", **fixed | given)


@dataclass
class SimulatedStudy:
    """One study of a world, run to its end."""

    world: World
    settings: Settings
    seed: int
    records: list[TrialRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = np.random.default_rng(self.seed)
        self._looks: dict[TrialConfig, tuple[float, float]] = {}
        self._subsets: dict[tuple[float, int], float] = {}
        n, modes = self.world.images, self.world.best
        self._hard = self._chance.normal(size=n)
        self._own = {mode: self._chance.normal(size=n) for mode in modes}
        # What this validation set adds to every log loss.
        self._luck = self._chance.normal(0, 1 / np.sqrt(n))
        queue = TrialQueue(self.settings, self._stage)
        while batch := queue.next():
            # As in a study, all trials of a batch are drawn before one ends.
            ended = [self._run(planned) for planned in batch]
            self.records += ended
            for r in ended:
                queue.ended(r.trial, r.status, r.config.epochs, r.value(self.settings.metric))

    @cached_property
    def choices(self) -> Choices:
        """What was chosen."""
        return Choices(self.settings, self.records)

    @property
    def winner(self) -> Mode:
        """The winner's mode."""
        return self.choices.ranking[0].mode

    @property
    def winner_by_minimum(self) -> Mode:
        """The mode of the best single score of the search: how winners were chosen before."""
        best = best_of(self.records, self.settings.metric)
        assert best
        return best.config.mode

    @cached_property
    def differences(self) -> list[Difference]:
        """The modes compared in test accuracy, at each ratio."""
        search = [r for r in self.records if r.kind == "search"]
        return mode_differences(confirmed_of(still_planned(self.settings, self.records), search))

    def regret(self, cell: Cell) -> float:
        """How much worse a cell's configuration truly is than the best, as a share of log loss."""
        config = self.choices.chosen[cell].config
        return self.world.log_loss(config) / self.world.least(cell.train_ratio) - 1

    def _stage(self) -> list[Planned]:
        return remaining(plan(self.settings, self.records), self.records, None)

    def _run(self, planned: Planned) -> TrialRecord:
        config, number = planned.config, planned.trial
        assert number is not None
        record = TrialRecord(number, config, "done", kind=planned.kind, source=planned.source)
        seeds = range(config.seed, config.seed + config.seeds)
        loss = float(np.mean([self._loss(config, seed) for seed in seeds]))
        record.history = [make_epoch(val_log_loss=loss * np.exp(self._luck))]
        if planned.kind in ("confirm", "control"):
            record.test = self._test(config, loss)
        return record

    def _loss(self, config: TrialConfig, seed: int) -> float:
        """Log loss of one seed; the same configuration and seed have the same."""
        place = config.train_ratio, seed
        if place not in self._subsets:
            self._subsets[place] = self._chance.normal(0, self.world.subset)
        sd = self.world.noise[config.mode]
        noise = self._chance.normal(-(sd**2) / 2, sd) + self._subsets[place]
        return self.world.log_loss(config) * float(np.exp(noise))

    def _test(self, config: TrialConfig, loss: float) -> dict[str, float]:
        w = self.world
        right = float(np.clip(1 - 0.4 * loss, 0.01, 0.99))
        seeds = self._chance.normal(size=w.images) * np.sqrt(1 - w.shared - w.own)
        image: NDArray[np.float64] = np.sqrt(w.shared) * self._hard
        image = image + np.sqrt(w.own) * self._own[config.mode] + seeds
        accuracy = float(np.mean(image < stats.norm.ppf(right)))
        return {
            "test_accuracy": accuracy, "test_log_loss": loss, "test_auroc": 0.9,
            "test_brightness_mae": 0.1, "test_brightness_r2": 0.0, "test_loss": loss,
        }  # fmt: skip


def simulate(world: World, studies: int, **given: Any) -> list[SimulatedStudy]:
    """Run so many studies of a world, each with chances of its own."""
    settings = world.settings(**given)
    return [
        SimulatedStudy(world, settings.model_copy(update={"seed": seed}), seed)
        for seed in range(studies)
    ]
