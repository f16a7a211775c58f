"""One trial of a study again, in this process and without Ray: does it give the same numbers?"""

from dataclasses import asdict
from typing import Any

import torch
from rich.console import Console

from study.debug import EpochPrinter
from study.display import describe
from study.prepare import device_of
from study.records import TrialRecord
from study.settings import Settings
from tl_core.datasets import ImageSet
from tl_core.epoch import EpochMetrics
from tl_core.errors import DivergedError
from tl_core.train import run_trial

CLOCK = "images_per_s"
"""The one value of an epoch that no replay repeats."""


def run_replay(settings: Settings, images: ImageSet, record: TrialRecord, console: Console) -> int:
    """Train the trial again, print a line an epoch, and hold it against the record.

    A trial that was stopped early is trained as far as it came. Returns 0 if all numbers are the
    same, else 3.
    """
    torch.set_num_threads(1)  # As in a worker: sums of several threads are rounded differently.
    console.print(f"again: {describe(record, settings.metric)}", highlight=False)
    epochs = len(record.history)
    config = record.config.model_copy(update={"epochs": epochs})
    printer, history = EpochPrinter(epochs, console), list[EpochMetrics]()

    def report(metrics: EpochMetrics) -> None:
        history.append(metrics)
        printer.line(metrics)

    device, reads = device_of(settings), bool(record.test)
    try:
        test = run_trial(config, images, settings.cache, device, report, read_test=reads).test
    except DivergedError as error:
        console.print(f"failed: {error}", style="red")
        test = {}
    apart = differences(record, history, test)
    if not apart:
        console.print(f"the same bit for bit: {epochs} epochs{', test scores' * reads}")
        return 0
    name, worst = max(apart.items(), key=lambda item: item[1])
    console.print(f"not the same: {name} is {worst:.3g} away, the most of {len(apart)} values")
    return 3


def differences(
    record: TrialRecord, history: list[EpochMetrics], test: dict[str, float]
) -> dict[str, float]:
    """Return the values that are not those of the record, and how far apart they are.

    What only one of the two has is infinitely far.
    """
    was = _values(record.history, record.test)
    now = _values(history, test)
    names = was.keys() | now.keys()
    gaps = {n: abs(was[n] - now[n]) if n in was and n in now else float("inf") for n in names}
    return {name: gap for name, gap in gaps.items() if gap}


def _values(history: list[EpochMetrics], test: dict[str, float]) -> dict[str, float]:
    values: dict[str, Any] = dict(test)
    for metrics in history:
        told = asdict(metrics)
        epoch = told.pop("epoch")
        del told[CLOCK]
        values |= {f"{n} of epoch {epoch}": v for n, v in told.items() if v is not None}
    return values
