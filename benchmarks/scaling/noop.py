"""A trial that trains nothing: it sleeps, and reports epochs as a real one does."""

import os
import time
from pathlib import Path
from typing import Any

from benchmarks.scaling.base import meet
from study.execution.worker import Reporter
from tl_core.config import EpochMetrics

SLEEP = "TL_STUDY_NOOP_SLEEP_S"
"""Environment variable, which Ray's workers inherit: seconds that each trial sleeps."""
MEETING = "TL_STUDY_NOOP_MEETING"
"""Environment variable: a folder where the workers wait for each other."""
WORKERS = "TL_STUDY_NOOP_WORKERS"
"""Environment variable: how many of them there are."""


def noop(drawn: dict[str, Any], context: Any) -> None:
    """Sleep, then report every epoch at once; `job` is what a real trial gets."""
    meet(Path(os.environ[MEETING]), int(os.environ[WORKERS]))
    time.sleep(float(os.environ[SLEEP]))
    reporter = Reporter(context.metric, every_s=0)
    for epoch in range(1, drawn["config"]["epochs"] + 1):
        reporter.epoch(made_up(epoch, drawn["train_ratio"]))


def made_up(epoch: int, value: float) -> EpochMetrics:
    """One epoch's metrics, of the size that real ones have."""
    return EpochMetrics(epoch, *([value] * 9))
