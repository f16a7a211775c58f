"""Ask and tell of each sampler, and resuming a search, by number of finished trials."""

import time

from benchmarks.common import Row, Tables, figures, median_ms
from study.config.settings import Sampler
from study.records.trial_record import TrialRecord
from study.search.sampler import Suggestions
from tests.support.studies.builders import make_epoch, make_settings
from tl_core.config import TrialConfig

SIZES = (100, 1_000, 10_000)
REPEATS = 20
NAMES: tuple[Sampler, ...] = ("tpe", "random", "qmc")
"""Without gp, whose time grows with the cube of the trials."""


def measure(quick: bool) -> Tables:
    """Every sampler on the study's default space, after so many trials."""
    sizes, repeats = ((10, 20), 2) if quick else (SIZES, REPEATS)
    finished = finished_trials(max(sizes))
    rows = [_row(name, finished[:n], repeats) for n in sizes for name in NAMES]
    return {"ms a trial by finished trials": rows}


def finished_trials(n: int) -> list[TrialRecord]:
    """Finished trials, drawn at random."""
    search, records = Suggestions(make_settings(sampler="random", design="joint")), []
    for trial in range(n):
        number, config = search.ask()
        value = _value(config)
        search.tell(number, "done", 1, value)
        epoch = make_epoch(val_log_loss=value)
        records.append(TrialRecord(trial, config, "done", [epoch], draw=number))
    return records


def _value(config: TrialConfig) -> float:
    return config.train_ratio + float(config.aux_weight)


def _row(sampler: Sampler, finished: list[TrialRecord], repeats: int) -> Row:
    start = time.perf_counter()
    search = Suggestions(make_settings(sampler=sampler, design="joint"), finished)
    restored = time.perf_counter() - start
    times = [_one_trial(search) for _ in range(repeats)]
    ask, tell = (figures(median_ms(list(column))) for column in zip(*times, strict=True))
    total = figures(ask + tell)
    row: Row = {"sampler": sampler, "finished": len(finished), "ask_ms": ask, "tell_ms": tell}
    row |= {"trial_ms": total, "trials_per_s_at_most": figures(1000 / total)}
    return row | {"taken_up_again_s": figures(restored)}


def _one_trial(search: Suggestions) -> tuple[float, float]:
    """Seconds to ask for a trial, and to report its end."""
    start = time.perf_counter()
    number, config = search.ask()
    asked = time.perf_counter()
    search.tell(number, "done", 1, _value(config))
    return asked - start, time.perf_counter() - asked
