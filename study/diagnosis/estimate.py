"""How long a study will take, from measured speeds: arithmetic alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from study.cluster.capacity import Capacity
from study.config.defaults import TRIALS_PER_CELL
from study.config.settings import Settings
from study.search.cells import Cell, numbers
from study.search.choosing import BEST, CONTROLS, REPEATS
from study.search.short_sweeps import Shape, is_short, products, seen_in_steps
from study.search.space import Space
from tl_core.config import FROZEN, TrialConfig
from tl_core.training.schedule import Budget
from tl_core.training.setup import needs_features

MARGIN = 1.15
"""Times the seconds of trials that `--max-time` must have left: trials of one kind don't take
equally long, least of all on a machine that others use."""
_DRIVER_S = 0.04
"""Seconds of the driver's work for each job of a worker, while its place waits: 19 to 53 ms on an
idle core in `docs/scaling.md`."""
_RECORD_S = 0.01
"""Seconds of the driver's work for each swept trial: to draw it and to write it down."""
_LEAST_STEP = 1 / 3
"""Share of a full batch that a smaller one is worth at least, as speeds are those of full batches:
on a CPU a step of 4 images takes about a third of the time of one of 32."""


@dataclass(frozen=True)
class Speeds:
    """Of one place for trials while all others are busy too; None is not known."""

    forward: float | None = None
    """Images a second through the frozen network."""
    train: float | None = None
    """Images a second of a whole network that learns."""
    partial: float | None = None
    """Images a second of the last stages, if they alone learn."""
    sweep: float | None = None
    """Products a second of frozen trials (`study.search.short_sweeps.products`), on one core."""
    probe: float | None = None
    """The same of probes."""


@dataclass(frozen=True)
class TrialGroup:
    """Trials that take equally long."""

    config: TrialConfig
    """One of them."""
    seconds: float
    number: float
    own: bool = False
    """Whether the driver makes them itself."""


@dataclass(frozen=True)
class Before:
    """Work before the first trial."""

    start_s: float
    """Seconds of the checks."""
    ray_s: float
    """Seconds until Ray is up, for what needs workers."""
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


def trial_s(config: TrialConfig, shape: Shape, speeds: Speeds, tests: bool = False) -> float | None:
    """Seconds of a trial; None if it depends on a speed that is not known.

    Args:
        config: of the trial.
        shape: of its data.
        speeds: of its place.
        tests: it reads the test set.
    """
    if config.mode in FROZEN:
        rate = speeds.probe if config.mode == "probe" else speeds.sweep
        return products(config, shape) / rate + _RECORD_S if rate else None
    rate = speeds.partial if config.mode == "partial" else speeds.train
    # What scores an image of a part of the network is not measured: as if it learned from it.
    scoring = rate if config.mode == "partial" else speeds.forward
    if not rate or not scoring or (needs_features(config.mode) and not speeds.probe):
        return None
    images = shape.images
    n_train = round(config.train_ratio * images.base)
    least = Budget.of(config, n_train).steps * config.batch_size * _LEAST_STEP
    seconds = _DRIVER_S + max(seen_in_steps(config, n_train, images.unheld), least) / rate
    seconds += (config.epochs * images.val + tests * images.test) / scoring
    if needs_features(config.mode) and speeds.probe:
        # Its heads start from a probe.
        probe = TrialConfig(mode="probe", train_ratio=config.train_ratio, epochs=1)
        seconds += products(probe, shape) / speeds.probe
    return seconds


def groups_of(
    settings: Settings,
    shape: Shape,
    speeds: Speeds,
    seeds: int | None = None,
    tests: bool = False,
    cores: int = 1,
) -> list[TrialGroup]:
    """The trials of each cell of the search for which the seconds are known.

    Args:
        settings: of the study.
        shape: of its data.
        speeds: of its places.
        seeds: of a frozen trial, if not as many as in the search.
        tests: they read the test set.
        cores: if no network learns, the driver's sweeps in mode `freeze` share the seeds among so
            many threads.
    """
    found = []
    for cell, number in numbers(settings).items():
        config = example_of(settings, cell, seeds)
        if (seconds := trial_s(config, shape, speeds, tests)) is not None:
            own = config.mode in FROZEN and is_short(config, shape)
            if own and not settings.networks and config.mode == "freeze":
                batch = settings.confirm_seeds if tests else seeds or settings.seeds
                threads = min(cores, batch)
                seconds = _RECORD_S + (seconds - _RECORD_S) / threads
            found.append(TrialGroup(config, seconds, number, own))
    return found


def example_of(settings: Settings, cell: Cell, seeds: int | None = None) -> TrialConfig:
    """A trial of a cell; its learning rate takes no time, and any weight but 0 as much.

    `seeds` are those of a frozen one, if not as many as in the search.
    """
    factors: dict[str, Any] = cell._asdict()
    if cell.mode != "probe":
        factors |= {f"lr_{cell.mode}": 1e-3, "aux_weight": settings.aux_weight[-1]}
    if cell.mode == "partial":
        factors |= {"unfreeze": max(settings.unfreeze)}
    config = Space(settings).config(factors)
    return config.model_copy(update={"seeds": seeds}) if seeds and cell.mode in FROZEN else config


def cells_of(settings: Settings, shape: Shape, speeds: Speeds) -> dict[Cell, float]:
    """Seconds of a trial of each cell of the search for which they are known."""
    groups = groups_of(settings, shape, speeds)
    return {Cell.of(group.config): group.seconds for group in groups}


def stage_s(trials: Sequence[TrialGroup], capacity: Capacity, at_once: int | None = None) -> float:
    """Seconds until trials have ended that run in all places, or `at_once` at most.

    The longest of: all jobs of workers divided by the places, the longest job, and the driver's
    work, its own sweeps included.
    """
    jobs = [group for group in trials if not group.own]
    driver_s = sum(g.number * (g.seconds if g.own else _DRIVER_S) for g in trials)
    if not jobs:
        return driver_s
    all_s = sum(group.seconds * group.number for group in jobs)
    shared_s = all_s / min(capacity.full, at_once or capacity.full)
    return max(driver_s, shared_s, *(group.seconds for group in jobs))


def trials_an_hour(capacity: Capacity, at_once: int, groups: Sequence[TrialGroup]) -> float:
    """Trials of a search that goes to every cell equally often, without early stopping."""
    many = 1000  # So that the longest trial does not matter.
    each = [replace(group, number=many) for group in groups]
    return 3600 * many * len(each) / stage_s(each, capacity, at_once)


def eta(
    settings: Settings, capacity: Capacity, before: Before, speeds: Speeds, shape: Shape
) -> dict[str, float] | None:
    """Seconds of each stage of a study, without early stopping; None if a speed is not known."""
    make = partial(groups_of, settings, shape, speeds, cores=capacity.cpus)
    search = make()
    n_cells = len(settings.mode) * len(settings.train_ratio)
    if len(search) < n_cells or (before.views and not speeds.forward):
        return None
    repeats = repeats_of_cells(make(seeds=REPEATS))
    stages = [repeats] if settings.confirm else []
    stages += confirming_stages(settings, make(seeds=1, tests=True))
    features_s = before.views / (speeds.forward or math.inf) / before.extractors
    distributed = features_s > before.soon_s
    # The workers of the frozen network are not those of the trials.
    starts = distributed + any(not group.own for group in search)
    return {
        "start": before.start_s + (before.ray_s if starts else 0) + starts * before.workers_s,
        "decoding": before.images / before.decoded_per_s,
        "features": features_s,
        "search": stage_s(search, capacity, capacity.searching(settings)),
        "confirming": sum(stage_s(stage, capacity) for stage in stages),
    }


def repeats_of_cells(search: Sequence[TrialGroup]) -> list[TrialGroup]:
    """The best configurations of each cell again; those of a frozen one have all their seeds."""
    return [
        replace(g, number=min(BEST, g.number) * (1 if g.config.mode in FROZEN else REPEATS))
        for g in search
        if g.config.mode != "probe" and g.number > 1
    ]


def confirming_stages(settings: Settings, cells: Sequence[TrialGroup]) -> list[list[TrialGroup]]:
    """The last stages of `study.search.confirmation.plan`, if the longest trials are the best."""
    planned = [replace(group, number=settings.confirm_seeds) for group in cells]
    # Its predictions take a worker, unless there is none.
    nets = [group for group in planned if group.config.mode not in FROZEN]
    longest = max(planned, key=lambda group: group.seconds)
    winner = replace(longest, number=1, own=longest.own and not nets)
    if not settings.confirm:
        return [[winner]]
    if not nets or settings.aux_weight == (0.0,):
        return [planned, [winner]]
    longest = max(nets, key=lambda group: group.seconds)
    smallest = min(settings.train_ratio)
    controls = [
        group
        for group in nets
        if group.config.mode == longest.config.mode
        and (group is longest or group.config.train_ratio == smallest)
    ]
    trials = numbers(settings)
    tuned = [g for g in controls if trials.get(Cell.of(g.config), 0) >= TRIALS_PER_CELL]
    repeats = [replace(group, number=CONTROLS * REPEATS) for group in tuned]
    return [planned, *([repeats] if repeats else []), [*controls, winner]]
