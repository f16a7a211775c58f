"""Ask and tell of each sampler, and taking a search up again, by number of finished trials."""

import time
from collections.abc import Iterator
from typing import Any

from benchmarks.scaling.base import Row, Tables, figures, median_ms
from study.config.settings import Sampler, Settings
from study.config.validate import resolve
from study.records.trial_record import TrialRecord
from study.search.sampler import Suggestions
from tl_core.config import EpochMetrics, TrialConfig

SIZES = (100, 1_000, 10_000)
REPEATS = 20

NAMES: tuple[Sampler, ...] = ("tpe", "random", "qmc")
"""Not gp, whose time grows with the cube of the trials."""


def measure(sizes: tuple[int, ...] = SIZES, repeats: int = REPEATS) -> Tables:
    """Every sampler on the study's default space, after so many trials."""
    finished = finished_trials(max(sizes))
    rows = [_row(name, finished[:n], repeats) for n in sizes for name in NAMES]
    return {"ms a trial by finished trials": rows}


def finished_trials(n: int) -> list[TrialRecord]:
    """Trials drawn at random that have ended."""
    search = Suggestions(_settings("random"))
    return list(_finished(search, n))


def _finished(search: Suggestions, n: int) -> Iterator[TrialRecord]:
    for trial in range(n):
        number, config = search.ask()
        value = _value(config)
        search.tell(number, "done", 1, value)
        epoch = EpochMetrics(1, *([value] * 9))
        yield TrialRecord(trial, config, "done", [epoch], draw=number)


def _value(config: TrialConfig) -> float:
    return config.train_ratio + float(config.aux_weight)


def _settings(sampler: Sampler) -> Settings:
    given: dict[str, Any] = {"name": "scaling", "sampler": sampler, "precision": "fp32"}
    settings, faults = resolve(given)
    assert not faults, faults
    return settings


def _row(sampler: Sampler, finished: list[TrialRecord], repeats: int) -> Row:
    start = time.perf_counter()
    search = Suggestions(_settings(sampler), finished)
    restored = time.perf_counter() - start
    times = [_one_trial(search) for _ in range(repeats)]
    ask, tell = (figures(median_ms(list(column))) for column in zip(*times, strict=True))
    total = figures(ask + tell)
    row: Row = {"sampler": sampler, "finished": len(finished), "ask_ms": ask, "tell_ms": tell}
    row |= {"trial_ms": total, "trials_per_s_at_most": figures(1000 / total)}
    return row | {"taken_up_again_s": figures(restored)}


def _one_trial(search: Suggestions) -> tuple[float, float]:
    """Seconds to ask for a trial, and to tell its end."""
    start = time.perf_counter()
    number, config = search.ask()
    asked = time.perf_counter()
    search.tell(number, "done", 1, _value(config))
    return asked - start, time.perf_counter() - asked
