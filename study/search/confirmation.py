"""Confirming trials: the best of each cell on fresh seeds, and a control without the task.

A seed sets the initial weights, the batch order and the training subset. All cells get the same
seeds, so that modes can be compared seed by seed. These trials alone read the test set, once each.
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

from study.config.settings import Settings
from study.records.trial_record import ENDED, Kind, TrialRecord, best_of
from tl_core.config import Mode, TrialConfig

FRESH = 10_000
"""Fresh seeds start this far from those of the search."""


@dataclass(frozen=True)
class Planned:
    """A trial that is to run."""

    config: TrialConfig
    kind: Kind = "search"
    source: int | None = None
    """The trial of the search that its configuration comes from."""
    winner: bool = False
    """Whether its weights become the study's."""
    draw: int | None = None
    """Of a trial of the search: the number of its draw."""
    trial: int | None = None
    """Its number if an earlier run of the study started it."""


def plan(settings: Settings, records: list[TrialRecord]) -> list[Planned]:
    """Return the trials that run after the search.

    Every cell is confirmed, with the configuration of the nearest ratio (in log `train_ratio`) if
    no trial of its own has finished; a mode without any is left out. The best full network is also
    trained without the auxiliary task. Without `--confirm` the winner, the best trial of all, is
    trained once more, for its weights.
    """
    winner = best_of(records, settings.metric)
    if winner is None:
        return []
    if not settings.confirm:
        return [Planned(winner.config, "winner", winner.trial, winner=True)]
    cells = itertools.product(settings.mode, settings.train_ratio)
    sources = [(ratio, _source(settings, records, mode, ratio)) for mode, ratio in cells]
    confirming = [
        _repeat(settings, source, "confirm", train_ratio=ratio)
        for ratio, source in sources
        if source
    ]
    planned = [*itertools.chain(*confirming), *_controls(settings, records)]
    # The winner's weights come from its first fresh seed, not from the best seed on test.
    kept = next(p for p in planned if p.config == _on_seed(settings.seed + FRESH, winner.config))
    return [replace(p, winner=p is kept) for p in planned]


def remaining(
    planned: list[Planned], records: list[TrialRecord], winner: TrialRecord | None
) -> list[Planned]:
    """Return the planned trials that a resumed study still has to run.

    A trial that was cut off goes on under its number. A trial that has ended runs again only if it
    has to make the study's weights and the present ones come from another trial, `winner`.
    """
    before = {(r.kind, r.config): r for r in records}
    kept = (winner.kind, winner.config) if winner else None
    left = []
    for p in planned:
        key = (p.kind, p.config)
        there = before.get(key)
        if there is None or (p.winner and there.status in ENDED and key != kept):
            left.append(p)
        elif there.status not in ENDED:
            left.append(replace(p, trial=there.trial))
    return left


def still_planned(settings: Settings, records: list[TrialRecord]) -> list[TrialRecord]:
    """Return the confirming trials that are still planned, the last of each.

    When a study is extended, other configurations may become the best.
    """
    wanted = {(p.kind, p.config) for p in plan(settings, records)}
    ended = {(r.kind, r.config): r for r in records if r.status == "done"}
    return [r for key, r in ended.items() if key in wanted]


def max_confirm_trials(settings: Settings) -> int:
    """How many confirming trials there can be at most."""
    cells = len(settings.mode) * len(settings.train_ratio)
    return (cells + 1) * settings.confirm_seeds if settings.confirm else 1


def _source(
    settings: Settings, records: list[TrialRecord], mode: Mode, ratio: float
) -> TrialRecord | None:
    """The best trial of a cell, or of the nearest cell of its mode."""
    own = [r for r in records if r.config.mode == mode]
    ratios = {r.config.train_ratio for r in own}
    for near in sorted(ratios, key=lambda r: (abs(math.log(r / ratio)), r)):
        here = [r for r in own if r.config.train_ratio == near]
        if best := best_of(here, settings.metric):
            return best
    return None


def _repeat(settings: Settings, source: TrialRecord, kind: Kind, **changes: Any) -> list[Planned]:
    config = source.config.model_copy(update=changes)
    seeds = (settings.seed + FRESH + i for i in range(settings.confirm_seeds))
    return [Planned(_on_seed(seed, config), kind, source.trial) for seed in seeds]


def _on_seed(seed: int, config: TrialConfig) -> TrialConfig:
    return config.model_copy(update={"seed": seed, "seeds": 1})


def _controls(settings: Settings, records: list[TrialRecord]) -> list[Planned]:
    """The best full network without the auxiliary task; with it, if the best one has none.

    All else is equal, including the learning rate: Adam's steps do not depend on the loss's scale.
    Frozen trials need no control, as their two heads share no weights.
    """
    full = [r for r in records if r.config.mode != "freeze"]
    best = best_of(full, settings.metric)
    if best is None:
        return []
    if best.config.aux_weight != 0:
        return _repeat(settings, best, "control", aux_weight=0.0)
    own = [r for r in full if r.config.mode == best.config.mode and r.config.aux_weight != 0]
    rival = best_of(own, settings.metric)
    return _repeat(settings, best, "control", aux_weight=rival.config.aux_weight) if rival else []
