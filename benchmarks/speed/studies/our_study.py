"""The study as users run it, with a stop watch beside its display; and its search alone."""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.speed.bench import RATIO, Bench
from benchmarks.speed.harness import Gate
from study.execution.run_study import EXIT_CODES, open_journal, run_study
from study.preflight.prepare import Prepared, prepare_new
from study.records.trial_record import TrialRecord
from study.tracking.sender import Sender
from tl_core.config import TrialConfig


class Watch:
    """A display that notes when the search's first trial starts and when each ends."""

    def __init__(self) -> None:
        self.records: list[TrialRecord] = []
        self.ends: list[float] = []
        self.first = 0.0
        self.closed = 0.0
        """When the tracker had been told everything."""

    def show(self, records: list[TrialRecord], ended: TrialRecord | None) -> None:
        """Called after every change."""
        self.records = [r for r in records if r.kind == "search"]
        self.first = self.first or time.perf_counter()
        if ended and ended.kind == "search":
            self.ends.append(time.perf_counter())

    def warn(self, text: str) -> None:
        """Called when something went wrong."""

    def confirm(self, planned: Sequence[TrialConfig]) -> None:
        """Called when the search is over."""

    @property
    def searching_s(self) -> float:
        """From the start of the first trial to the end of the last."""
        return self.ends[-1] - self.first

    @property
    def trial_s(self) -> float:
        """Wall time a trial in a study that runs: from end to end, without the first workers."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


@dataclass(frozen=True)
class OurStudy:
    """What a study cost, and its trials."""

    wall_s: float
    """From reading the settings to the last file written."""
    searching_s: float
    """From the start of the first trial to the end of the last."""
    records: list[TrialRecord]


def settings_of(bench: Bench, cache: Path, trials: int, **changes: Any) -> dict[str, Any]:
    """What a user would give on the command line for the study of a row."""
    home = bench.fresh("study")
    plain = {
        "data": str(bench.folder),
        "backbone": bench.backbone_name,
        "image_size": bench.image_size,
        "mode": ("freeze",),
        "train_ratio": (RATIO,),
        "epochs": bench.pick(5, 2),
        "trials": trials,
        "confirm": False,
        "cache": cache,
        "out": home,
        "name": "ours",
        "tracking_uri": f"sqlite:///{home / 'mlflow.db'}",
    }
    return plain | changes


def run_ours(given: dict[str, Any], replace: dict[str, Any] | None = None) -> OurStudy:
    """Prepare and run a study; `replace` holds fields of `Prepared` to be changed between."""
    start, watch = time.perf_counter(), Watch()
    prepared = prepare_new(given)
    prepared = Prepared(**(vars(prepared) | (replace or {})))
    code = run_study(prepared, Console(file=io.StringIO()), [watch])
    wall_s = time.perf_counter() - start
    if code == EXIT_CODES["interrupted"]:
        raise KeyboardInterrupt  # Ray Tune has swallowed the one that there was.
    if code:
        errors = sorted({r.error for r in watch.records if r.error})
        raise RuntimeError(f"the study ended with exit code {code}: {'; '.join(errors)}")
    return OurStudy(wall_s, watch.searching_s, watch.records)


def search_alone(prepared: Prepared, sender: Sender, run: Any = None) -> Watch:
    """Run the search of a study on the Ray that is up, with a sender of one's own."""
    from study.execution.supply import make_context
    from study.execution.tune import search
    from study.execution.worker import run_in_worker

    settings, watch = prepared.settings, Watch()
    journal, _ = open_journal(prepared, sender)
    journal.displays.append(watch)
    run = run or run_in_worker
    search(settings, make_context(prepared), prepared.capacity, prepared.folder, journal, run=run)
    journal.close("done", [])
    unsent = sender.close()
    watch.closed = time.perf_counter()
    if len(watch.ends) < settings.trials:
        raise KeyboardInterrupt  # As above.
    if unsent:
        raise RuntimeError(f"tracking failed: {unsent}")
    return watch


def all_done(records: list[TrialRecord], trials: int) -> Gate:
    """Gate on every trial having run to its last epoch."""
    done = sum(r.status == "done" and len(r.history) == r.config.epochs for r in records)
    return Gate(done == trials, f"{done} of {trials} trials ran to their last epoch")
