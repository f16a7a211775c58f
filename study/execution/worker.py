"""One trial in a Ray worker, which stays for the whole study and keeps what trials share."""

import gc
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from ray import tune

from study.cluster.join import settle_worker
from study.cluster.stores import contents
from study.errors import NodeError
from study.execution.features import on_node
from study.execution.trial_context import TrialContext
from study.records.study_folder import WINNER
from tl_core.config import EpochMetrics, Metric, TrialConfig
from tl_core.files import is_disk_full
from tl_core.inference.winner import save_winner
from tl_core.training.checkpoints import CheckpointWarning
from tl_core.training.train import needs_pretrained, pretrained, run_trial

_REPORT_EVERY_S = 1.0


def run_in_worker(drawn: dict[str, Any], context: TrialContext) -> None:
    """Run one trial and report its epochs to Ray Tune, and its failure if it fails.

    Exceptions are reported, not raised: Ray would start the trial again, and it would fail again.
    If the worker dies, Ray gives the trial to another one, which resumes its checkpoint.
    """
    config = TrialConfig(**drawn["config"])
    # Epochs of a frozen trial take milliseconds, and it is never stopped early.
    reporter = Reporter(context.metric, every_s=_REPORT_EVERY_S if config.mode == "freeze" else 0)
    try:
        with _warnings_to(reporter):
            _run(drawn, config, context, reporter)
    except Exception as error:
        reporter.fail(error)
    finally:
        reporter.send()
        _free()  # The worker stays, and trials beside it need the memory.


def _run(
    drawn: dict[str, Any], config: TrialConfig, context: TrialContext, reporter: "Reporter"
) -> None:
    _free()  # A stopped trial holds memory until its exception is gone.
    with on_node(context):
        device, images = settle_worker(context.versions), context.attach()
        c = config.model_copy(update={"weights": context.weights_here(config.weights)})
        if needs_pretrained(c.mode) and c.weights != "none":  # Load them here: a node may fail to.
            pretrained(c.backbone, c.weights, c.image_size, c.precision)
    result = run_trial(
        c,
        images,
        context.cache,
        device,
        reporter.epoch,
        read_test=drawn["kind"] in ("confirm", "control"),
        checkpoint=context.checkpoint(drawn["trial"]),
        # The study has verified all other features before its first trial.
        verify=c.weights == "none",
    )
    if drawn["winner"]:
        with tempfile.TemporaryDirectory() as folder:
            save_winner(Path(folder), result, c, images)
            context.storage.replace(WINNER, contents(Path(folder)))
    reporter.send(result.test)


@contextmanager
def _warnings_to(reporter: "Reporter") -> Iterator[None]:
    """Report warnings about checkpoints, as nobody sees a worker's output."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", CheckpointWarning)
        show = warnings.showwarning
        warnings.showwarning = lambda message, category, *where: (
            reporter.warnings.append(str(message))
            if issubclass(category, CheckpointWarning)
            else show(message, category, *where)
        )
        yield


def _free() -> None:
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


class Reporter:
    """Sends the epochs of a trial, several at once if they are fast: a message costs 20 ms."""

    def __init__(self, metric: Metric, every_s: float) -> None:
        # Ray keeps averages of every named number, to the study's end.
        self._names = (metric, "epoch")
        self._every_s = every_s
        self._sent_at = time.monotonic()
        self._waiting: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}
        self.warnings: list[str] = []
        """Sent with the next message."""

    def epoch(self, metrics: EpochMetrics) -> None:
        """Queue an epoch, and send the queue if it is time."""
        self._waiting.append(asdict(metrics))
        if time.monotonic() - self._sent_at >= self._every_s:
            self.send()

    def send(self, test: dict[str, float] | None = None) -> None:
        """Send the queue: the last value for the search, and all epochs for the journal.

        `test` are the scores of a trial that has read the test set, after its last epoch.
        """
        # Emptied first, as Ray stops a trial by an exception from `report`.
        epochs, self._waiting, self._sent_at = self._waiting, [], time.monotonic()
        if epochs:
            self._last = {name: epochs[-1][name] for name in self._names}
        if epochs or test:
            self._report(epochs, test=test or {})

    def fail(self, error: Exception) -> None:
        """Send the queue, and that the trial has failed."""
        epochs, self._waiting = self._waiting, []
        self._report(
            epochs,
            test={},
            failure=f"{type(error).__name__}: {error}",
            traceback=traceback.format_exc(),
            disk_full=isinstance(error, OSError) and is_disk_full(error),
            node_fault=str(error) if isinstance(error, NodeError) else None,
        )

    def _report(self, epochs: list[dict[str, Any]], **more: Any) -> None:
        warned, self.warnings = self.warnings, []
        tune.report(self._last | {"epochs": epochs, "warnings": warned} | more)
