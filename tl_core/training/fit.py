"""The training loop of a network, and of stacked heads, and what it measures."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tl_core.config import EpochMetrics, Report, TrialConfig
from tl_core.data.splits import Split
from tl_core.errors import DivergedError
from tl_core.objectives.metrics import measure
from tl_core.objectives.outputs import Outputs
from tl_core.training.checkpoints import Checkpoint
from tl_core.training.learners.base import Learner
from tl_core.training.learners.net import NetLearner, Part
from tl_core.training.learners.stack import StackLearner
from tl_core.training.optimizers import StackAdamW, make_optimizer
from tl_core.training.steps.graphs import StepGraphs

_COMPARED = ("val_log_loss", "val_accuracy")
"""Scores that are compared most."""
Scores = dict[str, Tensor]
"""Metrics by name, [...] each: one value, or one for each of the stacked heads."""


def fit(
    learner: NetLearner,
    split: Split,
    config: TrialConfig,
    report: Report,
    checkpoint: Checkpoint | None = None,
    graphs: StepGraphs | None = None,
) -> tuple[EpochMetrics, ...]:
    """Train a network with AdamW, and validate on `split.val` `config.epochs` times.

    Continues from the `checkpoint` if it has a state: first reports its epochs again. Takes its
    steps by one of the `graphs`, if they suit.

    Raises `DivergedError` when a metric is not finite; names it and the epoch.
    """
    torch.manual_seed(config.seed)  # Dropout draws from the global generator.
    optimizer = make_optimizer(learner.model, learner.weighting, config)
    history, part = checkpoint.restore(learner, optimizer) if checkpoint else ([], Part())
    for metrics in history:
        report(metrics)
    steps, own = graphs.begin(learner, optimizer, config) if graphs else None, learner
    if steps:
        learner, optimizer = steps.learner, steps.optimizer
    take = steps.take if steps else None

    def save(done: Part) -> None:
        if checkpoint:
            checkpoint.save_if_due(learner, optimizer, history, done)

    with checkpoint or nullcontext():
        for epoch in range(len(history) + 1, config.epochs + 1):
            train = partial(learner.train_part, epoch, optimizer, part, save, take)
            scores, images_per_s = _train_and_score(learner, split.val, train)
            step, part = learner.budget.part(epoch).stop, Part()
            history.append(as_metrics(*as_table(scores), images_per_s, epoch, step))
            if epoch < config.epochs:
                save(part)
            report(history[-1])
    if steps:
        steps.end(own)
    return tuple(history)


class StackReport(NamedTuple):
    """What stacked heads report after one part of their steps."""

    names: list[str]
    """Of M metrics."""
    values: np.ndarray
    """[M, H]."""
    images_per_s: float
    """For all heads together."""
    step: int
    """The last that was taken."""


def fit_stack(
    learner: StackLearner, split: Split, config: TrialConfig, rates: Sequence[float]
) -> list[StackReport]:
    """Train stacked heads with AdamW; return what they report, `config.epochs` times.

    Args:
        learner: has the heads.
        split: validation is `split.val`, the same for all seeds.
        config: of one of the trials; others differ in `lr`, `aux_weight` and seeds alone.
        rates: the learning rate of each head, [H].
    """
    optimizer = stack_optimizer(learner, config, rates)
    reports = []
    for epoch in range(1, config.epochs + 1):
        train = partial(learner.train_part, epoch, optimizer)
        scores, images_per_s = _train_and_score(learner, split.val, train)
        step = learner.budget.part(epoch).stop
        reports.append(StackReport(*as_table(scores), images_per_s, step))
    return reports


def stack_optimizer(
    learner: StackLearner, config: TrialConfig, rates: Sequence[float]
) -> StackAdamW:
    """AdamW of stacked heads, each at a learning rate of its own, [H]; changes their unit."""
    stack, decay = learner.model, config.weight_decay
    stack.in_units_of(torch.tensor(rates, device=learner.labels.device))
    decays = [(stack.columns, stack.unit * decay)] if decay else []
    own = [(group["lr"], group["params"]) for group in learner.weighting.groups()]
    return StackAdamW([(1.0, [stack.weight, stack.bias]), *own], decays)


def join_reports(stacks: Sequence[list[StackReport]]) -> list[StackReport]:
    """Put the reports of several stacks of heads side by side."""
    return [
        StackReport(
            each[0].names,
            np.concatenate([report.values for report in each], axis=1),
            sum(report.images_per_s for report in each),
            each[0].step,
        )
        for each in zip(*stacks, strict=True)
    ]


def history_of(
    reports: Sequence[StackReport], heads: list[int]
) -> tuple[tuple[EpochMetrics, ...], DivergedError | None]:
    """Return the epochs of the trial that has these heads, and why it has stopped, if it has."""
    history = []
    for epoch, (names, values, images_per_s, step) in enumerate(reports, start=1):
        share = images_per_s * len(heads) / values.shape[1]
        try:
            history.append(as_metrics(names, values[:, heads], share, epoch, step))
        except DivergedError as error:
            return tuple(history), error
    return tuple(history), None


def score(learner: Learner, indices: np.ndarray) -> Scores:
    """Return `tl_core.objectives.metrics.measure` of the images `indices`."""
    return _measured(learner, learner.predict(indices), indices)


def score_test(learner: Learner, split: Split) -> tuple[Scores, dict[str, Outputs]]:
    """Return the scores on the test set, `test_accuracy` and so on, and the outputs behind them.

    The outputs are those on `val` and `test`.
    """
    outputs = {name: learner.predict(getattr(split, name)) for name in ("val", "test")}
    scores = _measured(learner, outputs["test"], split.test)
    return {f"test_{name}": value for name, value in scores.items()}, outputs


def _measured(learner: Learner, outputs: Outputs, indices: np.ndarray) -> Scores:
    (labels, aux), (logits, predicted) = learner.targets(indices), outputs
    if learner.known is not None:
        there = np.flatnonzero(learner.known[indices])
        at = torch.from_numpy(there)
        # The axis of the images in both outputs.
        aux, predicted = aux.cpu()[at], predicted.index_select(logits.ndim - 2, at)
    # On the device and in the precision of the outputs, so that nothing is rounded.
    weight = torch.as_tensor(learner.weighting.aux_weight, dtype=torch.float64, device="cpu")
    spread = learner.scale.spread.double().cpu()
    outputs = Outputs(logits, predicted)
    return measure(outputs, labels.cpu(), aux.cpu(), weight, spread, learner.task)


def _train_and_score(
    learner: Learner, val: np.ndarray, train: Callable[[], tuple[Tensor, Tensor, int]]
) -> tuple[Scores, float]:
    """Take the steps before a report, and validate."""
    start = time.perf_counter()
    loss, accuracy, n_images = train()
    images_per_s = n_images / (time.perf_counter() - start)
    scores = {"train_loss": loss, "train_accuracy": accuracy}
    scores |= {f"val_{name}": value for name, value in score(learner, val).items()}
    return scores | learner.weighting.metrics(), images_per_s


def as_table(scores: Scores) -> tuple[list[str], np.ndarray]:
    """Return the names of metrics, and their values, float64 [M, S]."""
    return [*scores], np.stack(
        [value.double().cpu().numpy().reshape(-1) for value in scores.values()]
    )


def as_metrics(
    names: Sequence[str],
    values: np.ndarray,
    images_per_s: float,
    epoch: int,
    step: int | None,
    l2: float | None = None,
) -> EpochMetrics:
    """Means over the seeds, and the spread of two scores.

    Args:
        names: of M metrics.
        values: [M, S].
        images_per_s: for each of the trial's networks, summed.
        epoch: counted from 1.
        step: the last that was taken; None where nothing takes steps.
        l2: the penalty, of a probe.

    Raises `DivergedError` when a metric is not finite.
    """
    means = dict(zip(names, values.mean(axis=1).tolist(), strict=True))
    spread = {}
    if values.shape[1] > 1:
        rows = [names.index(name) for name in _COMPARED]
        found = values[rows].std(axis=1, ddof=1).tolist()
        spread = {f"{name}_std": value for name, value in zip(_COMPARED, found, strict=True)}
    about: dict[str, Any] = {"epoch": epoch, "step": step, "images_per_s": images_per_s, "l2": l2}
    metrics = EpochMetrics.read(about | means | spread)
    for name, value in metrics.plain().items():
        if value is not None and not math.isfinite(value):
            raise DivergedError(name, value, epoch)
    return metrics
