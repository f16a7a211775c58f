"""How long a study will take, from measured speeds: arithmetic alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.cluster.capacity import Capacity
from study.config.settings import Settings
from tl_core.config import Mode
from tl_core.training.train import needs_features

_DRIVER_S = 0.04
"""What each trial takes of the driver, which its place waits for: 19 to 53 ms, as `docs/scaling.md`
has measured on an idle core."""

Cells = Mapping[tuple[Mode, float], float]
"""Seconds of a trial by mode and train ratio."""


@dataclass(frozen=True)
class Speeds:
    """Of one place for trials while all others are busy too; None is not known."""

    forward: float | None = None
    """Images a second through the frozen network."""
    train: float | None = None
    """Images a second of a network that learns."""
    save_s: float = 0.0
    """Seconds an epoch of such a network beside training and validation: its checkpoint."""
    heads: float | None = None
    """Training images a second of a frozen trial, over all its seeds."""
    score_s: float = 0.0
    """Seconds an epoch of such a trial beside training: to validate."""


@dataclass(frozen=True)
class Part:
    """Images that a trial trains on, and is validated on."""

    train: int
    val: int


@dataclass(frozen=True)
class Alike:
    """Trials of a mode that take equally long."""

    mode: Mode
    seconds: float
    number: float


@dataclass(frozen=True)
class Before:
    """What is done before the first trial."""

    start_s: float
    """Seconds until Ray is up, checks included."""
    workers_s: float
    """Seconds until its workers are."""
    images: int
    """To be decoded."""
    decoded_per_s: float
    views: int
    """Images and mirror images that the frozen network is to see."""
    extractors: int
    """Places that it runs in at once."""
    soon_s: float = 0.0
    """What the driver alone needs no more than, it does, and starts no workers for."""


@dataclass(frozen=True)
class Eta:
    """Seconds of each stage of a study."""

    start_s: float
    decoding_s: float
    features_s: float
    search_s: float
    confirming_s: float

    @property
    def total_s(self) -> float:
        """Of all."""
        stages = (self.start_s, self.decoding_s, self.features_s, self.search_s)
        return sum(stages) + self.confirming_s


def trial_s(
    mode: Mode, part: Part, epochs: int, seeds: int, speeds: Speeds, tests: bool = False
) -> float | None:
    """Seconds of a trial; None if a speed that they depend on is not known.

    Args:
        mode: that of the trial.
        part: its images.
        epochs: in each of its stages.
        seeds: that a frozen trial trains.
        speeds: of its place.
        tests: it reads the test set, which is as large as that for validation.
    """
    heads = 0.0
    if needs_features(mode):
        if not speeds.heads:
            return None
        n_seeds = seeds if mode == "freeze" else 1
        heads = epochs * (n_seeds * part.train / speeds.heads + speeds.score_s)
    if mode == "freeze":
        return heads + _DRIVER_S
    if not speeds.train or not speeds.forward:
        return None
    training = epochs * (part.train / speeds.train + speeds.save_s)
    return heads + training + (epochs + tests) * part.val / speeds.forward + _DRIVER_S


def cells_of(
    settings: Settings, parts: Mapping[float, Part], speeds: Speeds, confirm: bool = False
) -> Cells:
    """Seconds of a trial of each cell for which they are known.

    Trials that `confirm` have one seed and read the test set.
    """
    seeds = 1 if confirm else settings.seeds
    told = {
        (mode, ratio): trial_s(mode, part, settings.epochs, seeds, speeds, confirm)
        for mode in settings.mode
        for ratio, part in parts.items()
    }
    return {cell: seconds for cell, seconds in told.items() if seconds is not None}


def stage_s(trials: Sequence[Alike], capacity: Capacity, at_once: int) -> float:
    """Seconds until trials have ended that run in all places, `at_once` at most.

    They are what the trials take if every place is always busy, or the longest of them if that is
    more, or what the driver takes.
    """
    frozen = [trial for trial in trials if trial.mode == "freeze"]
    nets = [trial for trial in trials if trial.mode != "freeze"]
    return max(
        _DRIVER_S * sum(trial.number for trial in trials),
        _shared(nets, min(capacity.full, at_once)),
        _shared(frozen, min(capacity.frozen, at_once)),
    )


def _shared(trials: Sequence[Alike], places: int) -> float:
    if not trials:
        return 0.0
    return max(sum(t.seconds * t.number for t in trials) / places, max(t.seconds for t in trials))


def trials_an_hour(capacity: Capacity, at_once: int, cells: Cells) -> float:
    """Trials of a search that goes to every cell equally often, without early stopping."""
    many = 1000  # Of which the longest one alone is nothing.
    return 3600 * many * len(cells) / stage_s(_each(cells, many), capacity, at_once)


def eta(
    settings: Settings,
    capacity: Capacity,
    before: Before,
    speeds: Speeds,
    parts: Mapping[float, Part],
) -> Eta | None:
    """Return what a whole study takes, without early stopping; None if a speed is not known."""
    search = cells_of(settings, parts, speeds)
    n_cells = len(settings.mode) * len(settings.train_ratio)
    if len(search) < n_cells or (before.views and not speeds.forward):
        return None
    at_once = capacity.most_at_once(settings.trials)
    confirming = _confirming(settings, cells_of(settings, parts, speeds, confirm=True))
    alone_s = before.views / (speeds.forward or math.inf)
    spread = alone_s > before.soon_s
    return Eta(
        # The workers that the frozen network runs in are not those of the trials.
        start_s=before.start_s + before.workers_s * (2 if spread else 1),
        decoding_s=before.images / before.decoded_per_s,
        features_s=alone_s / before.extractors if spread else alone_s,
        search_s=stage_s(_each(search, settings.trials / n_cells), capacity, at_once),
        confirming_s=stage_s(confirming, capacity, at_once),
    )


def _each(cells: Cells, number: float) -> list[Alike]:
    return [Alike(mode, seconds, number) for (mode, _), seconds in cells.items()]


def _confirming(settings: Settings, cells: Cells) -> list[Alike]:
    """The trials of `study.search.confirmation.plan`, if the longest ones come to be the best."""

    def longest(trials: list[Alike]) -> Alike:
        return max(trials, key=lambda trial: trial.seconds)

    if not settings.confirm:
        return [longest(_each(cells, 1))]
    planned = _each(cells, settings.confirm_seeds)
    nets = [trial for trial in planned if trial.mode != "freeze"]
    controls = [longest(nets)] if nets and settings.aux_weight != (0.0,) else []
    return planned + controls
