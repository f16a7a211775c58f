"""What a study's own files and its display cost the driver, by its number of trials.

The files have every record; the more there are, the less often they are written. The display hears
of each event, and is drawn four times a second.
"""

import io
from typing import Any

from rich.console import Console

from benchmarks.common import Row, Tables, figures, median_ms, scratch, seconds
from benchmarks.scaling.memory import draw_entry
from study.cluster.capacity import Capacity
from study.diagnosis.observed import Expected
from study.diagnosis.remaining import Remaining
from study.execution.progress import StudyDisplay
from study.records.study_files import Results
from study.records.trial_record import TrialRecord
from tests.support.studies.builders import make_record, make_settings, plain_shape
from tl_core.data.datasets import ImageSet

SIZES = (100, 1_000, 10_000)
EPOCHS = 10
REPEATS = 20


def measure(quick: bool) -> Tables:
    """Files and display with growing lists of records."""
    sizes, repeats = ((10, 20), 2) if quick else (SIZES, REPEATS)
    with scratch() as folder:
        images = ImageSet.open(draw_entry(folder / "entry", 200, 16))
        settings = make_settings(mode=("finetune",), train_ratio=(0.1,))
        results = Results(folder / "study", settings, images)
        rows = [_row(results, n, repeats) for n in sizes]
    return {"ms in the driver": rows}


def _row(results: Results, n: int, repeats: int) -> Row:
    # Each a little worse than the one before.
    fixed: dict[str, Any] = {"mode": "finetune", "epochs": EPOCHS}
    losses = [0.5] * (EPOCHS - 1)
    records = [make_record(i, log_losses=(*losses, 1.0 + i), **fixed) for i in range(n)]
    few = max(3, repeats // 5)
    save = median_ms([seconds(lambda: results.save(records)) for _ in range(few)])
    show = {name: _show_ms(records, repeats, name == "terminal") for name in ("terminal", "log")}
    # Start, every epoch and end are shown.
    trial = (EPOCHS + 2) * show["terminal"]
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
    settings = make_settings(mode=("finetune",), train_ratio=(0.1,), trials=2 * len(records))
    shown: list[TrialRecord] = []  # Of an earlier run none.
    remaining = Remaining(Expected(settings, plain_shape(2000, 2, 512), shown), Capacity(2, 2, 0))
    with StudyDisplay(remaining, console) as display:
        shown += records
        ended = None if terminal else records[-1]
        return median_ms([seconds(lambda: display.show(ended)) for _ in range(repeats)])
