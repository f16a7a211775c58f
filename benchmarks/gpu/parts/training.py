"""A network that learns: no wait inside its steps, its first epochs, and the shares of an epoch."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.check import Check, GpuBench
from tl_core.config import EpochMetrics, Report, TrialConfig
from tl_core.device import best_precision, forbid_waits
from tl_core.files import LocalFile
from tl_core.inputs.batches import epoch_order
from tl_core.inputs.readers import pixel_reader
from tl_core.models.backbones import load_backbone
from tl_core.models.heads import Heads, TwoHeadedNet
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import make_weighting
from tl_core.training.checkpoints import CheckpointStore, Content
from tl_core.training.learners.net import NetLearner, Part
from tl_core.training.optimizers import make_optimizer
from tl_core.training.schedule import Budget
from tl_core.training.train import run_trial

_BEFORE, _STEPS = 4, 20
"""Steps that search algorithms and make the optimizer's state; then those without a wait."""
_START_S = 0.5
"""Most that the first epoch of a later trial may take beyond another, seconds: its network is made,
which takes a third of that on the processor, and nothing is searched again."""


def trial_of(bench: GpuBench, batch: int, **changes: Any) -> TrialConfig:
    """A trial from random weights."""
    fixed: dict[str, Any] = {"mode": "scratch", "backbone": bench.backbone, "weights": "none"}
    fixed |= {"image_size": bench.side, "train_ratio": 0.8, "lr": 1e-4, "aux_weight": 0.3}
    fixed |= {"batch_size": batch, "epochs": 5, "precision": best_precision(bench.device)}
    return TrialConfig(**fixed | {"min_steps": 0} | changes)


def train(
    bench: GpuBench, batch: int, report: Report = lambda _: None, given: Any = None, **changes: Any
) -> list[EpochMetrics]:
    """Train it as a study does; `given` are other arguments of `run_trial`."""
    config, images = trial_of(bench, batch, **changes), bench.images
    more = {"report": report} | (given or {})
    return list(run_trial(config, images, bench.scratch / "cache", bench.device, **more).history)


def rate(history: list[EpochMetrics]) -> float:
    """Training images/s of all epochs but the first."""
    return statistics.harmonic_mean(m.images_per_s for m in history[1:])


def no_wait(bench: GpuBench) -> Iterator[Check]:
    """Within steps the host must not wait for the GPU: torch raises an error where it does."""
    batch, _ = bench.batches
    learner, optimizer = _learner(bench, batch)

    def after_step(part: Part) -> None:
        if part.steps in (_BEFORE, _BEFORE + _STEPS):
            forbid_waits(bench.device, part.steps == _BEFORE)

    fault = ""
    try:
        learner.train_part(1, optimizer, Part(), after_step)
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        fault = str(error).splitlines()[0]
    finally:
        forbid_waits(bench.device, False)
    yield Check(f"{_STEPS} steps at batch {batch} without a wait for the GPU", fault=fault)


def _learner(bench: GpuBench, batch: int) -> tuple[NetLearner, torch.optim.Optimizer]:
    """A learner with an epoch of just the steps that are taken."""
    images, device, n = bench.images, bench.device, batch * (_BEFORE + _STEPS + 1)
    config = trial_of(bench, batch, epochs=1)
    backbone = load_backbone(config.backbone, "none", config.image_size)
    heads = Heads(backbone.n_features, len(images.classes))
    net = TwoHeadedNet(backbone.network, heads, config.precision)
    learner = NetLearner(
        net.to(device).to(memory_format=torch.channels_last),
        torch.from_numpy(images.labels).to(device),
        torch.from_numpy(images.brightness).to(device),
        TargetScale.raw(1, device).one(),
        make_weighting(config.aux_weight, device),
        lambda report: epoch_order(np.arange(n) % len(images.labels), 0, report),
        Budget.of(config, n),
        batch,
        pixel_reader(images, backbone, device),
        config.batchnorm,
    )
    return learner, make_optimizer(net, learner.weighting, config)


@dataclass
class _Clock:
    """When a trial began, and when it reported its epochs."""

    at: list[float] = field(default_factory=lambda: [time.perf_counter()])

    def report(self, _: EpochMetrics) -> None:
        self.at.append(time.perf_counter())

    @property
    def epochs_s(self) -> list[float]:
        return np.diff(self.at).tolist()


def first_epoch(bench: GpuBench) -> Iterator[Check]:
    """Trials one after another in a worker: only the first pays for what is made once."""
    batch, _ = bench.batches
    epochs_s = []
    for seed in range(3):
        clock = _Clock()
        train(bench, batch, clock.report, epochs=2, seed=seed)
        epochs_s.append(clock.epochs_s)
    usual = statistics.median(second for _, second in epochs_s)
    for number, (first, _) in enumerate(epochs_s, start=1):
        limit: dict[str, Any] = {} if number == 1 else {"target": _START_S, "direction": "at most"}
        details = {"first_s": first, "second_s": usual}
        what = f"start of trial {number}, by which its first epoch takes longer"
        yield Check(what, first - usual, "s", details=details, **limit)


@dataclass(frozen=True)
class _Counted(CheckpointStore):
    """Counts what is written."""

    file: LocalFile
    writes: list[int] = field(default_factory=list)

    def read(self) -> bytes:
        return self.file.read()

    def write(self, content: Content) -> None:
        self.file.write(content)
        self.writes.append(len(content))


def epoch(bench: GpuBench) -> Iterator[Check]:
    """Where an epoch's time goes: training, validation, and what a checkpoint adds."""
    batch, _ = bench.batches
    epochs = bench.pick(4, 2)

    def run(store: _Counted | None) -> tuple[float, float]:
        """Seconds of an epoch, and of its training."""
        clock = _Clock()
        given = {"checkpoint": store, "checkpoint_every": 0.0} if store else {}
        history = train(bench, batch, clock.report, given, epochs=epochs)
        n = int(0.8 * len(bench.images.labels))
        return statistics.median(clock.epochs_s[1:]), n / rate(history)

    whole, training = run(None)
    store = _Counted(LocalFile(Path(bench.scratch / "checkpoint")))
    saving, _ = run(store)
    shares = {"training": training, "validation": whole - training}
    for what, spent in shares.items():
        yield Check(f"{what} of an epoch at batch {batch}", spent / whole, "of 1")
    each = (saving - whole) * (epochs - 1) / max(1, len(store.writes))
    details = {"writes": len(store.writes), "bytes": max(store.writes, default=0)}
    fault = "" if store.writes else "no checkpoint was written"
    what = "what a checkpoint adds to an epoch, written one after another"
    yield Check(what, each, "s", fault=fault, details=details)
