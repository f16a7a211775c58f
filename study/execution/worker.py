"""One trial in a Ray worker; it lives for the whole study and keeps what trials share."""

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

from study.cluster.stores import contents
from study.cluster.worker_setup import settle_worker
from study.errors import NodeError
from study.execution.features import on_node
from study.execution.trial_context import TrialContext
from study.records.study_folder import WINNER
from tl_core.config import EpochMetrics, Metric, TrialConfig
from tl_core.data.datasets import ImageSet
from tl_core.files import is_disk_full
from tl_core.inference.winner import save_winner
from tl_core.training.checkpoints import CheckpointWarning
from tl_core.training.train import TrialResult, needs_pretrained, pretrained, run_trial

_PATIENCE_S = 1.0


def run_in_worker(drawn: dict[str, Any], context: TrialContext) -> None:
    """Run one trial and report its epochs to Ray Tune, and its failure if it fails.

    An exception ends the trial: it would come again. Only of a worker that dies does Ray hear, and
    has another one take the trial up, at its checkpoint.
    """
    config = TrialConfig(**drawn["config"])
    # The epochs of a frozen trial take milliseconds and nobody stops it between them.
    reporter = Reporter(context.metric, every_s=_PATIENCE_S if config.mode == "freeze" else 0)
    try:
        with _warnings_to(reporter):
            _run(drawn, config, context, reporter)
    except Exception as error:
        reporter.fail(error)
    finally:
        reporter.send()
        _free()  # The worker stays; trials beside it need the memory.


def _run(
    drawn: dict[str, Any], config: TrialConfig, context: TrialContext, reporter: "Reporter"
) -> None:
    _free()  # What a trial that was stopped held until its exception was gone.
    with on_node(context):
        device, images = settle_worker(context.versions), context.attach()
        config = _with_weights(config, context)
    reads = drawn["kind"] in ("confirm", "control")
    result = run_trial(
        config,
        images,
        context.cache,
        device,
        reporter.epoch,
        reads,
        context.checkpoint(drawn["trial"]),
        # The study has verified all other features before its first trial.
        verify=config.weights == "none",
    )
    if drawn["winner"]:
        _keep_winner(result, config, images, context)
    reporter.send(result.test)


def _with_weights(config: TrialConfig, context: TrialContext) -> TrialConfig:
    """The configuration with the weights as this node has them, which are loaded, and kept."""
    c = config.model_copy(update={"weights": context.weights_here(config.weights)})
    if needs_pretrained(c.mode) and c.weights != "none":
        pretrained(c.backbone, c.weights, c.image_size, c.precision)
    return c


def _keep_winner(
    result: TrialResult, config: TrialConfig, images: ImageSet, context: TrialContext
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_winner(Path(folder), result, config, images)
        context.storage.replace(WINNER, contents(Path(folder)))


@contextmanager
def _warnings_to(reporter: "Reporter") -> Iterator[None]:
    """Report what a checkpoint was not good for; a worker's own output is seen by nobody."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", CheckpointWarning)
        told = warnings.showwarning
        warnings.showwarning = lambda message, category, *where: (
            reporter.warnings.append(str(message))
            if issubclass(category, CheckpointWarning)
            else told(message, category, *where)
        )
        yield


def _free() -> None:
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


class Reporter:
    """Sends the epochs of a trial, several at once if they come fast: each message costs 20 ms."""

    def __init__(self, metric: Metric, every_s: float) -> None:
        # All that Ray is told by name it keeps averages of, to the study's end.
        self._names = (metric, "epoch")
        self._every_s = every_s
        self._sent_at = time.monotonic()
        self._waiting: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}
        self.warnings: list[str] = []
        """To be sent with what comes next."""

    def epoch(self, metrics: EpochMetrics) -> None:
        """Keep an epoch, or send it with those that wait."""
        self._waiting.append(asdict(metrics))
        if time.monotonic() - self._sent_at >= self._every_s:
            self.send()

    def send(self, test: dict[str, float] | None = None) -> None:
        """Send what waits: the last value, for the search, and all epochs, for the journal.

        `test` are the scores of a trial that has read the test set, after its last epoch.
        """
        # Forgotten first: Ray ends a trial that is stopped by an exception from `report`.
        epochs, self._waiting, self._sent_at = self._waiting, [], time.monotonic()
        if epochs:
            self._last = {name: epochs[-1][name] for name in self._names}
        if epochs or test:
            self._report(epochs, test=test or {})

    def fail(self, error: Exception) -> None:
        """Send what waits, and that the trial has failed."""
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
        told, self.warnings = self.warnings, []
        tune.report(self._last | {"epochs": epochs, "warnings": told} | more)
