"""What a study's own files and its display cost the driver, by the trials it has on record.

Both look at every record: at each event, or at most once a second, which an endless study feels.
"""

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.scaling.base import Row, Tables, figures, median_ms, scratch, seconds
from benchmarks.scaling.memory import draw_entry
from study.config.validate import resolve
from study.execution.progress import StudyDisplay
from study.records.study_files import Results
from study.records.trial_record import TrialRecord, best_of
from tl_core.config import EpochMetrics, TrialConfig
from tl_core.data.datasets import ImageSet

SIZES = (100, 1_000, 10_000)
EPOCHS = 10
REPEATS = 20


def measure(sizes: tuple[int, ...] = SIZES, repeats: int = REPEATS) -> Tables:
    """Files and display with growing lists of records."""
    with scratch() as folder:
        results = make_results(folder)
        rows = [_row(results, n, repeats) for n in sizes]
    return {"ms in the driver": rows}


def make_results(folder: Path) -> Results:
    """The files of a study on a small set of images."""
    images = ImageSet.open(draw_entry(folder / "entry", 200, 16))
    given: dict[str, Any] = {"name": "scaling", "mode": ("finetune",), "train_ratio": (0.1,)}
    settings, faults = resolve(given)
    assert not faults, faults
    return Results(folder / "study", settings, images)


def make_records(n: int) -> list[TrialRecord]:
    """Finished trials, each a little worse than the one before."""
    config = TrialConfig(mode="finetune", train_ratio=0.1, lr=1e-3, epochs=EPOCHS)
    epochs = [EpochMetrics(epoch, *([0.5] * 9)) for epoch in range(1, EPOCHS)]
    return [
        TrialRecord(i, config, "done", [*epochs, EpochMetrics(EPOCHS, *([1.0 + i] * 9))])
        for i in range(n)
    ]


def _row(results: Results, n: int, repeats: int) -> Row:
    records = make_records(n)
    few = max(3, repeats // 5)
    save = median_ms([seconds(lambda: results.save(records)) for _ in range(few)])
    show = {name: _show_ms(records, repeats, name == "terminal") for name in ("terminal", "log")}
    best = median_ms([seconds(lambda: best_of(records, "val_log_loss")) for _ in range(repeats)])
    # Start, every epoch and end are shown; the end also looks for the best.
    trial = (EPOCHS + 2) * show["terminal"] + best
    return {
        "trials": n,
        "save_files_ms": figures(save),
        "show_on_terminal_ms": figures(show["terminal"]),
        "line_in_a_log_ms": figures(show["log"]),
        "trial_of_10_epochs_ms": figures(trial),
        "trials_per_s_at_most": figures(1000 / trial),
    }


def _show_ms(records: list[TrialRecord], repeats: int, terminal: bool) -> float:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with StudyDisplay(2 * len(records), "val_log_loss", console) as display:
        ended = None if terminal else records[-1]
        return median_ms([seconds(lambda: display.show(records, ended)) for _ in range(repeats)])
