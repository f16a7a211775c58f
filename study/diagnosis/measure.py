"""The speeds of a study's trials on the Ray that is up, for `study.diagnosis.estimate`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

import ray

from study.cluster.capacity import Capacity
from study.cluster.join import NodeFault, nodes, on_each, versions
from study.cluster.resources import Resources
from study.config.settings import Settings
from study.diagnosis.estimate import Speeds
from study.diagnosis.probe_worker import TINY_LR, Probe, ProbeWorker, remove_temp_dirs, temp_name
from study.errors import why_failed
from tl_core.config import WHOLE, TrialConfig

_MOST = 8
"""Networks that learn at once."""
_UP_S, _MEASURING_S, _REMOVING_S = 45.0, 25.0, 20.0
"""The longest wait for workers to start, to measure, and to remove their files."""

Ask = dict[str, float]
"""Cores and GPUs of a worker."""


class NoFigureError(RuntimeError):
    """Something could not be measured; the message says why."""


@dataclass
class Measured:
    """What was measured."""

    speeds: Speeds = field(default_factory=Speeds)
    ray_s: float = 0.0
    """Seconds until Ray was up, if one was started."""
    workers_s: float = 0.0
    """Seconds until all workers were up."""
    places: int = 0
    """How many measured at once."""
    reasons: list[str] = field(default_factory=list)
    """Why a speed is not known."""
    left: list[str] = field(default_factory=list)
    """Nodes whose temporary files could not be removed, and why."""


def measure(
    settings: Settings,
    resources: Resources,
    gpus: int,
    report: Callable[[str], None],
    held: int | None = None,
    per_gpu: int | None = None,
) -> Measured:
    """Run networks in all places that the study's trials have, eight at most.

    Args:
        settings: of the study, with its precision.
        resources: what is there.
        gpus: to be used.
        report: is called with what is measured.
        held: networks that the memory holds, if it bounds them.
        per_gpu: what `--trials-per-gpu auto` has found.
    """
    there = min(gpus, resources.gpus)
    found, probe = Measured(), _probe(settings, joined=resources.joined)
    if gpus and not there:
        found.reasons.append("networks, as no node with a GPU is up yet")
        return found
    capacity = Capacity.of(settings, there, resources.cpus_for(there), held, per_gpu)
    places = [capacity.resources()] * min(_MOST, capacity.full)
    found.places = len(places)
    try:
        with _workers(probe, places, found) as workers:
            _measure(settings, workers, found, report)
    except NoFigureError as why:
        found.reasons.append(str(why))
    return found


def _probe(s: Settings, joined: bool) -> Probe:
    net = TrialConfig(
        mode="scratch",
        train_ratio=0.8,
        lr=TINY_LR,
        aux_weight=0.5,
        backbone=s.backbone,
        weights="none",
        image_size=s.image_size,
        precision="fp32" if s.precision == "auto" else s.precision,
        augment=s.augment,
        epochs=10_000,
        min_steps=0,
        batch_size=s.batch_size,
    )
    last = {"mode": "partial", "unfreeze": max(s.unfreeze, default=1), "batchnorm": "frozen"}
    partial = net.model_copy(update=last) if "partial" in s.mode else None
    return Probe(net, partial, temp_name(), versions() if joined else ())


@contextmanager
def _workers(probe: Probe, asks: list[Ask], found: Measured) -> Iterator[list[Any]]:
    workers: list[Any] = []
    try:
        for ask in asks:  # One by one, so that an interrupt leaves none out of the list.
            options = {"num_cpus": ask["CPU"], "num_gpus": ask.get("GPU", 0)}
            workers.append(ray.remote(ProbeWorker).options(**options).remote(probe))
        yield workers
    finally:
        for worker in workers:
            ray.kill(worker)
        # Not by the workers: one that hangs, or has not come up yet, is killed.
        removed = on_each(remove_temp_dirs, nodes(), probe.temp_dir, timeout_s=_REMOVING_S)
        for node, why in removed.items():
            if isinstance(why, NodeFault):
                found.left.append(f"{node.address}: {why.why}")


def _measure(
    settings: Settings, workers: list[Any], found: Measured, report: Callable[[str], None]
) -> None:
    report("starting workers")
    start = time.monotonic()
    late = f"its workers were not up in {_UP_S:g} s: is the cluster busy?"
    _ask(workers, "is_up", start + _UP_S, late)
    found.workers_s = time.monotonic() - start
    until = time.monotonic() + _MEASURING_S
    report("measuring")
    found.speeds = replace(found.speeds, forward=mean(_ask(workers, "forward", until)))
    if {*settings.mode} & {*WHOLE}:
        found.speeds = replace(found.speeds, train=mean(_ask(workers, "train", until)))
    if "partial" in settings.mode:
        rates = _ask(workers, "train_partial", until)
        found.speeds = replace(found.speeds, partial=mean(rates))


def _ask(workers: list[Any], what: str, until: float, late: str = "") -> list[Any]:
    """Have all measure at once; return what each has found."""
    asked = [getattr(worker, what).remote() for worker in workers]
    left = max(0.0, until - time.monotonic())
    ready, _ = ray.wait(asked, num_returns=len(asked), timeout=left)
    if len(ready) < len(asked):
        raise NoFigureError(late or f"{what}: no figure in {_MEASURING_S:g} s")
    try:
        return list(ray.get(asked))
    except Exception as error:  # A trial can end with any, such as too little memory.
        raise NoFigureError(f"{what}: {why_failed(error)}") from error
