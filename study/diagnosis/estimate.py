"""How long a study will take, from measured speeds: arithmetic alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.cluster.capacity import Capacity
from study.config.settings import Settings
from tl_core.config import Mode
from tl_core.training.train import needs_features

_DRIVER_S = 0.04
"""Seconds of the driver's work for each trial, while its place waits: 19 to 53 ms on an idle core
in `docs/scaling.md`."""

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
class TrialGroup:
    """Trials of one mode that take equally long."""

    mode: Mode
    seconds: float
    number: float


@dataclass(frozen=True)
class Before:
    """Work before the first trial."""

    start_s: float
    """Seconds until Ray is up, checks included."""
    workers_s: float
    """Seconds until its workers are."""
    images: int
    """To be decoded."""
    decoded_per_s: float
    views: int
    """Images and mirror images that the frozen network has to process."""
    extractors: int
    """Places that it runs in at once."""
    soon_s: float = 0.0
    """The driver does what takes no more seconds than this itself, without workers."""


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
    """Seconds of a trial; None if it depends on a speed that is not known.

    Args:
        mode: of the trial.
        part: its images.
        epochs: in each of its stages.
        seeds: that a frozen trial trains.
        speeds: of its place.
        tests: it reads the test set, which is as large as that for validation.
    """
    seconds = _DRIVER_S
    if needs_features(mode):
        if not speeds.heads:
            return None
        n_seeds = seeds if mode == "freeze" else 1
        seconds += epochs * (n_seeds * part.train / speeds.heads + speeds.score_s)
    if mode != "freeze":
        if not speeds.train or not speeds.forward:
            return None
        seconds += epochs * (part.train / speeds.train + speeds.save_s)
        seconds += (epochs + tests) * part.val / speeds.forward
    return seconds


def cells_of(
    settings: Settings, parts: Mapping[float, Part], speeds: Speeds, confirm: bool = False
) -> Cells:
    """Seconds of a trial of each cell for which they are known.

    Trials that `confirm` have one seed and read the test set.
    """
    seeds = 1 if confirm else settings.seeds
    return {
        (mode, ratio): seconds
        for mode in settings.mode
        for ratio, part in parts.items()
        if (seconds := trial_s(mode, part, settings.epochs, seeds, speeds, confirm)) is not None
    }


def stage_s(trials: Sequence[TrialGroup], capacity: Capacity, at_once: int) -> float:
    """Seconds until trials have ended that run in all places, `at_once` at most.

    The longest of: all trials divided by the places, the longest trial, and the driver's work.
    """

    def shared(group: Sequence[TrialGroup], places: int) -> float:
        if not group:
            return 0.0
        longest = max(trial.seconds for trial in group)
        return max(sum(trial.seconds * trial.number for trial in group) / places, longest)

    return max(
        _DRIVER_S * sum(t.number for t in trials),
        shared([t for t in trials if t.mode != "freeze"], min(capacity.full, at_once)),
        shared([t for t in trials if t.mode == "freeze"], min(capacity.frozen, at_once)),
    )


def trials_an_hour(capacity: Capacity, at_once: int, cells: Cells) -> float:
    """Trials of a search that goes to every cell equally often, without early stopping."""
    many = 1000  # So that the longest trial does not matter.
    return 3600 * many * len(cells) / stage_s(_each(cells, many), capacity, at_once)


def eta(
    settings: Settings,
    capacity: Capacity,
    before: Before,
    speeds: Speeds,
    parts: Mapping[float, Part],
) -> Eta | None:
    """Estimate a whole study, without early stopping; None if a speed is not known."""
    search = cells_of(settings, parts, speeds)
    n_cells = len(settings.mode) * len(settings.train_ratio)
    if len(search) < n_cells or (before.views and not speeds.forward):
        return None
    at_once = capacity.most_at_once(settings.trials)
    confirming = _confirming(settings, cells_of(settings, parts, speeds, confirm=True))
    alone_s = before.views / (speeds.forward or math.inf)
    distributed = alone_s > before.soon_s
    return Eta(
        # The workers of the frozen network are not those of the trials.
        start_s=before.start_s + before.workers_s * (2 if distributed else 1),
        decoding_s=before.images / before.decoded_per_s,
        features_s=alone_s / before.extractors if distributed else alone_s,
        search_s=stage_s(_each(search, settings.trials / n_cells), capacity, at_once),
        confirming_s=stage_s(confirming, capacity, at_once),
    )


def _each(cells: Cells, number: float) -> list[TrialGroup]:
    return [TrialGroup(mode, seconds, number) for (mode, _), seconds in cells.items()]


def _confirming(settings: Settings, cells: Cells) -> list[TrialGroup]:
    """The trials of `study.search.confirmation.plan`, if the longest ones are the best."""
    planned = _each(cells, settings.confirm_seeds if settings.confirm else 1)
    if not settings.confirm:
        return [max(planned, key=lambda trial: trial.seconds)]
    nets = [trial for trial in planned if trial.mode != "freeze"]
    if nets and settings.aux_weight != (0.0,):  # The control of the auxiliary task.
        planned.append(max(nets, key=lambda trial: trial.seconds))
    return planned
