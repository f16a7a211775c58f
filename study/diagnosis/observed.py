"""How long a trial is expected to take, from the trials of its study.

As long as ended ones of its mode, scaled by the images that they process; else as a running one's
speed says; else as one measured step does.
"""

import math
from collections.abc import Iterable

from study.diagnosis.estimate import Speeds, trial_s
from study.records.trial_record import TrialRecord
from study.search.cells import Cell, nearest
from study.search.short_sweeps import PER_S, Shape
from tl_core.config import WHOLE, TrialConfig

UNIT = Speeds(forward=3.0, train=1.0, partial=1.0, sweep=PER_S, probe=PER_S)
"""One image a second: what takes how long compared with what."""


def expected_s(
    config: TrialConfig,
    records: Iterable[TrialRecord],
    shape: Shape,
    speeds: Speeds | None = None,
    tests: bool = False,
) -> float:
    """Seconds that a trial is expected to take; 0 if nothing like it was seen or measured.

    Args:
        config: of the trial.
        records: of the trials of its study.
        shape: of its data.
        speeds: measured before the first trial, if they were.
        tests: it reads the test set.
    """
    usual = trial_s(config, shape, UNIT, tests) or 0.0
    if (scale := _scale(config, records, shape)) is not None:
        return usual * scale
    return (speeds and trial_s(config, shape, speeds, tests)) or 0.0


def _scale(config: TrialConfig, records: Iterable[TrialRecord], shape: Shape) -> float | None:
    """How many times as long as with `UNIT` the nearest trial has taken; None without one."""
    alike = WHOLE if config.mode in WHOLE else (config.mode,)
    seen = [r for r in records if r.config.mode in alike and r.history]
    ended = [r for r in seen if r.status in ("done", "pruned") and r.wall_s > 0]
    if not ended:
        speeds = [r.history[-1].images_per_s for r in seen if r.status == "running"]
        return 1 / min(speeds) if speeds and min(speeds) > 0 else None
    same = [r for r in ended if r.config.mode == config.mode] or ended
    cell = Cell(same[-1].config.mode, config.train_ratio)
    [near, *_] = nearest(cell, (Cell.of(r.config) for r in same))
    # The first trial of a worker takes longer by the worker's start.
    return min(_scale_of(r, shape) for r in [r for r in same if Cell.of(r.config) == near][-3:])


def _scale_of(record: TrialRecord, shape: Shape) -> float:
    usual = trial_s(record.config, shape, UNIT, tests=bool(record.test)) or math.inf
    return record.wall_s / usual * record.config.epochs / len(record.history)
