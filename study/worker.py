"""One trial in a Ray worker; it lives for the whole study and keeps what trials share."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from study.extraction import attach, settle_worker
from study.space import Space
from tl_core.fit import EpochMetrics
from tl_core.train import run_trial


@dataclass(frozen=True)
class Job:
    """What every trial of the study shares; small, since the data are attached by path."""

    space: Space
    images: Path
    cache: Path


def run_in_worker(drawn: dict[str, Any], job: Job) -> None:
    """Run one trial and report each epoch to Ray Tune."""
    device = settle_worker()

    def report(metrics: EpochMetrics) -> None:
        tune.report(asdict(metrics))

    try:
        run_trial(job.space.config(drawn), attach(job.images), job.cache, device, report)
    finally:
        torch.cuda.empty_cache()  # The worker stays; trials beside it need the memory.
