"""One trial in a Ray worker; it lives for the whole study and keeps what trials share."""

import gc
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from study.extraction import attach, settle_worker
from tl_core.config import TrialConfig
from tl_core.epoch import EpochMetrics
from tl_core.train import run_trial
from tl_core.winner import save_winner

_PATIENCE_S = 1.0


@dataclass(frozen=True)
class Job:
    """What every trial of the study shares; small, since the data are attached by path."""

    images: Path
    cache: Path
    winner: Path
    """Where the winner's weights go."""


def run_in_worker(drawn: dict[str, Any], job: Job) -> None:
    """Run one trial and report its epochs to Ray Tune."""
    device = settle_worker()
    _free(device)  # What a trial that was stopped held until its exception was gone.
    config = TrialConfig(**drawn["config"])
    # The epochs of a frozen trial take milliseconds and nobody stops it between them.
    reporter = Reporter(every_s=_PATIENCE_S if config.mode == "freeze" else 0)
    images, reads = attach(job.images), drawn["kind"] in ("confirm", "control")
    try:
        result = run_trial(config, images, job.cache, device, reporter.epoch, read_test=reads)
        if drawn["winner"]:
            shutil.rmtree(job.winner, ignore_errors=True)  # Of an earlier winner.
            save_winner(job.winner, result, config, images)
        reporter.send(result.test)
    finally:
        reporter.send()
        _free(device)  # The worker stays; trials beside it need the memory.


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


class Reporter:
    """Sends the epochs of a trial, several at once if they come fast: each message costs 20 ms."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._sent_at = time.monotonic()
        self._waiting: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}

    def epoch(self, metrics: EpochMetrics) -> None:
        """Keep an epoch, or send it with those that wait."""
        self._waiting.append(asdict(metrics))
        if time.monotonic() - self._sent_at >= self._every_s:
            self.send()

    def send(self, test: dict[str, float] | None = None) -> None:
        """Send what waits: the last epoch, for the search, and all of them, for the journal.

        `test` are the scores of a trial that has read the test set, after its last epoch.
        """
        # Forgotten first: Ray ends a trial that is stopped by an exception from `report`.
        epochs, self._waiting, self._sent_at = self._waiting, [], time.monotonic()
        self._last = epochs[-1] if epochs else self._last
        if epochs or test:
            tune.report(self._last | {"epochs": epochs, "test": test or {}})
