"""A job in a Ray worker, which stays for the next one and keeps what trials share."""

import gc
import os
import queue
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from ray import tune

from study.cluster.join import own_gpu, settle_worker
from study.errors import NodeError
from study.search.confirmation import Planned
from study.search.queue import is_frozen
from study.search.searcher import keep_place
from study.search.short_sweeps import is_short
from study.trials.sweep import FinalScores, Swept, number_of, run_planned, sweep
from study.trials.trial_context import TrialContext, on_node, shape_of
from tl_core.config import EpochMetrics, Metric, Precision
from tl_core.device import (
    CPU,
    best_precision,
    find_device,
    is_gpu,
    is_in_use,
    set_deterministic,
    synchronize,
)
from tl_core.errors import DivergedError
from tl_core.files import is_disk_full
from tl_core.gpu_memory import release_memory
from tl_core.inputs.resident import RESIDENT
from tl_core.models.precision import emulates
from tl_core.training.checkpoints import CheckpointWarning
from tl_core.training.setup import Inputs, needs_pretrained, pretrained
from tl_core.training.steps.graphs import CaptureWarning

_BROKEN = threading.Event()
"""Set when the GPU answers this process with nothing but errors, as after an illegal access."""


def run_in_worker(drawn: dict[str, Any], context: TrialContext) -> None:
    """Run one job and report its epochs to Ray Tune, and its failure if it fails.

    Exceptions are reported, not raised: Ray would start the job again, and it would fail again.
    If the worker dies, Ray gives the job to another one, which resumes its checkpoint.
    """
    gpu = own_gpu()
    _end_if_broken(gpu)
    keep_place(drawn, gpu)
    _job_thread().run(partial(_run_job, drawn, context, gpu))


def _run_job(drawn: dict[str, Any], context: TrialContext, gpu: str | None) -> None:
    batch = [Planned.of(each) for each in drawn["batch"]]
    reporter = Reporter(context.metric, gpu)
    try:
        with _warnings_to(reporter):
            _run(batch, context, reporter)
    except Exception as error:
        reporter.fail(error)
    finally:
        try:
            _free()  # The worker stays, and trials beside it need the memory.
        except RuntimeError:  # Raised, it would stand for the failure that has been reported.
            _BROKEN.set()


def _end_if_broken(gpu: str | None) -> None:
    """End a process that can't use its GPU any more, at its next job; a new one takes its place.

    Not earlier: then Ray Tune would hear of a death, and not of a failure on this GPU. The job's
    trials are given back first, so that the death is not theirs.
    """
    if _BROKEN.is_set():
        tune.report({"waits": True, "ends": True, "gpu": gpu})
        os._exit(1)


def _run(batch: list[Planned], context: TrialContext, reporter: "Reporter") -> None:
    _free()  # A stopped trial holds memory until its exception is gone.
    with on_node(context):
        batch, inputs = _on_this_node(batch, context)
    if is_frozen(batch[0]):
        reporter.swept(sweep(batch, inputs, context.storage), batch[0].config.epochs)
        return
    (network,) = batch
    reporter.warnings += _slow_format(network.config.precision, inputs.device)
    kept = context.checkpoint(number_of(network)), context.checkpoint_every
    reporter.tested(run_planned(network, inputs, context.storage, reporter.epoch, *kept))


def _on_this_node(batch: list[Planned], context: TrialContext) -> tuple[list[Planned], Inputs]:
    """The trials with the weights of this node, and their data."""
    device, images = settle_worker(context.versions), context.attach()
    set_deterministic(context.deterministic)
    RESIDENT.sharing = context.trials_per_gpu
    weights = context.weights_here(batch[0].config.weights)
    here = [replace(p, config=p.config.model_copy(update={"weights": weights})) for p in batch]
    c = here[0].config
    if needs_pretrained(c.mode) and weights != "none":  # Load them here: a node may fail to.
        pretrained(c.backbone, weights, c.image_size, c.precision)
    # The study has verified all other features before its first trial.
    inputs = Inputs(images, context.cache, device, verify=weights == "none")
    if is_frozen(here[0]) and is_short(c, shape_of(images, context)):
        inputs = replace(inputs, device=CPU)  # As in the driver.
    return here, inputs


def _slow_format(precision: Precision, device: torch.device) -> list[str]:
    """Say so if this worker's own GPU, which may have joined late, emulates the study's format."""
    if not (is_gpu(device) and emulates(precision, best := best_precision(device), on_gpu=True)):
        return []
    return [f"this trial's GPU emulates {precision}, which takes many times as long as {best}"]


@contextmanager
def _warnings_to(reporter: "Reporter") -> Iterator[None]:
    """Report warnings about checkpoints and graphs, as nobody sees a worker's output."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", CheckpointWarning)
        warnings.simplefilter("always", CaptureWarning)
        show = warnings.showwarning
        warnings.showwarning = lambda message, category, *where: (
            reporter.warnings.append(str(message))
            if issubclass(category, CheckpointWarning | CaptureWarning)
            else show(message, category, *where)
        )
        yield


def _free() -> None:
    device = find_device()
    if is_in_use(device):  # A collection takes a quarter of a second: none for frozen trials.
        gc.collect()
        synchronize(device)  # Raises the error that a sick GPU has left.
        release_memory(device)


class Reporter:
    """Sends what becomes of a job to Ray Tune."""

    def __init__(self, metric: Metric, gpu: str | None = None) -> None:
        """Send by `metric`; `gpu` is this worker's."""
        # Ray keeps averages of every named number, to the study's end.
        self._names = (metric, "epoch")
        self._last: dict[str, Any] = {}
        self._gpu = gpu
        self.warnings: list[str] = []
        """Sent with the next message."""

    def epoch(self, metrics: EpochMetrics) -> None:
        """Send an epoch: by name only what the search goes by."""
        values = metrics.plain()
        self._last = {name: values[name] for name in self._names}
        self._report([values])

    def tested(self, found: FinalScores) -> None:
        """Send the scores of a trial that has read the test set, after its last epoch."""
        if found.scores:
            self._report([], found)

    def swept(self, found: list[Swept], epochs: int) -> None:
        """Send what became of the trials of a sweep, each so many epochs long."""
        swept = [trial.plain() for trial in found]
        tune.report({"epoch": epochs, "swept": swept, "gpu": self._gpu})

    def fail(self, error: Exception) -> None:
        """Send that the job has failed."""
        self._report(
            [],
            failure=f"{type(error).__name__}: {error}",
            traceback=traceback.format_exc(),
            diverged=isinstance(error, DivergedError),
            disk_full=isinstance(error, OSError) and is_disk_full(error),
            node_fault=str(error) if isinstance(error, NodeError) else None,
        )

    def _report(
        self, epochs: list[dict[str, Any]], tested: FinalScores | None = None, **more: Any
    ) -> None:
        warned, self.warnings = self.warnings, []
        sent = {"epochs": epochs, "warnings": warned, "tested": tested, "gpu": self._gpu}
        tune.report(self._last | sent | more)


class JobThread:
    """Runs jobs one after another, always in the same thread.

    Ray Tune runs each trial in a thread of its own. cuDNN keeps the algorithms that it has searched
    for each thread, so every trial would search them again.
    """

    def __init__(self) -> None:
        self._jobs = queue.SimpleQueue[tuple[Future[None], Callable[[], None]]]()
        # A worker that ends does not wait for its job.
        threading.Thread(target=self._serve, name="jobs", daemon=True).start()

    def run(self, job: Callable[[], None]) -> None:
        """Return when the job has ended; raises what it raises, an exit of its thread included."""
        future = Future[None]()
        self._jobs.put((future, job))
        future.result()

    def _serve(self) -> None:
        while True:
            _finish(*self._jobs.get())


def _finish(future: "Future[None]", job: Callable[[], None]) -> None:
    # A function, so that its end drops the last names of the job and of its exception.
    try:
        job()
    except BaseException as error:  # Ray Tune ends a trial that it stops early by SystemExit.
        future.set_exception(error)
    else:
        future.set_result(None)


_job_thread = cache(JobThread)
"""That of this worker."""
