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
from study.diagnosis.probe_worker import Probe, ProbeWorker
from study.diagnosis.temp_dirs import scratch_name, sweep
from tl_core.config import TrialConfig
from tl_core.training.train import needs_features

_MOST = 8
"""Networks that learn at once."""
_UP_S, _MEASURING_S = 45.0, 25.0
"""The longest that is waited for workers, and for what they measure."""
_SWEEPING_S = 8.0
_EPOCHS = 10
"""Of a frozen trial."""
_STILL = 1e-9
"""A learning rate at which noise teaches nothing."""


Ask = dict[str, float]
"""Cores and GPUs of a worker."""


class NoFigureError(RuntimeError):
    """Something could not be measured, for the reason that it tells."""


@dataclass
class Measured:
    """What came of measuring."""

    speeds: Speeds = field(default_factory=Speeds)
    workers_s: float = 0.0
    """Seconds until all workers were up."""
    places: int = 0
    """How many measured at once."""
    reasons: list[str] = field(default_factory=list)
    """Why a speed is not known."""
    left: list[str] = field(default_factory=list)
    """Nodes whose temporary files could not be removed, and why."""

    def keep(self, **speeds: float) -> None:
        """Add what was measured."""
        self.speeds = replace(self.speeds, **speeds)


def measure(
    settings: Settings, resources: Resources, gpus: int, doing: Callable[[str], None]
) -> Measured:
    """Run short trials in all places that are there for those of the study, eight at most.

    Args:
        settings: of the study, with its precision.
        machines: what there is.
        gpus: to be used.
        doing: is told what is measured.
    """
    there = min(gpus, resources.gpus)
    found, probe = Measured(), _probe(settings, joined=resources.joined)
    if gpus and not there:
        found.reasons.append("networks, as no node with a GPU is up yet")
        places, apart = list[Ask](), [{"CPU": 1.0}]
    else:
        capacity = Capacity.of(settings, there, resources.cpus_for(there))
        places = _places(capacity, there)
        apart = [capacity.resources("freeze")] if capacity.full and capacity.frozen else []
    found.places = len(places)
    try:
        with _gauges(probe, places + apart, found) as gauges:
            _measure(settings, gauges, found, doing)
    except NoFigureError as why:
        found.reasons.append(str(why))
    return found


def _probe(s: Settings, joined: bool) -> Probe:
    net = TrialConfig(
        mode="scratch",
        train_ratio=0.8,
        lr=_STILL,
        aux_weight=0.5,
        backbone=s.backbone,
        weights="none",
        image_size=s.image_size,
        precision="fp32" if s.precision == "auto" else s.precision,
        hflip=s.hflip,
        epochs=10_000,
        batch_size=s.batch_size,
    )
    seeds = s.seeds if "freeze" in s.mode else 1
    heads = net.model_copy(update={"mode": "freeze", "seeds": seeds, "epochs": _EPOCHS})
    return Probe(net, heads, scratch_name(), versions() if joined else ())


def _places(capacity: Capacity, gpus: int) -> list[Ask]:
    """What workers ask Ray for in which networks run, learning or, in a frozen study, frozen."""
    if capacity.full:
        return [capacity.resources("finetune")] * min(_MOST, capacity.full)
    one = {"CPU": 1.0} | ({"GPU": 1.0} if gpus else {})
    return [one] * min(_MOST, gpus or capacity.cpus)


@contextmanager
def _gauges(probe: Probe, asks: list[Ask], found: Measured) -> Iterator[list[Any]]:
    gauges: list[Any] = []
    try:
        for ask in asks:  # One by one: an interrupt between two finds the first in the list.
            gauges.append(_start(probe, ask))
        yield gauges
    finally:
        for gauge in gauges:
            ray.kill(gauge)
        # No gauge could do it: one that has not come up yet, or hangs, is killed as it is.
        swept = on_each(sweep, nodes(), probe.scratch, timeout_s=_SWEEPING_S)
        faults = {node: why for node, why in swept.items() if isinstance(why, NodeFault)}
        found.left += [f"{node.address}: {why.why}" for node, why in faults.items()]


def _start(probe: Probe, ask: Ask) -> Any:
    options = {"num_cpus": ask["CPU"], "num_gpus": ask.get("GPU", 0)}
    return ray.remote(ProbeWorker).options(**options).remote(probe)


def _measure(
    settings: Settings, gauges: list[Any], found: Measured, doing: Callable[[str], None]
) -> None:
    doing("starting workers")
    start = time.monotonic()
    late = f"its workers were not up in {_UP_S:g} s: is the cluster busy?"
    _ask(gauges, "is_up", start + _UP_S, late)
    found.workers_s = time.monotonic() - start
    until = time.monotonic() + _MEASURING_S
    doing("measuring")
    places = gauges[: found.places]
    if places:
        found.keep(forward=mean(_ask(places, "forward", until)))
    if any(needs_features(mode) for mode in settings.mode):
        [(heads, score_s)] = _ask(gauges[-1:], "heads", until)
        found.keep(heads=heads, score_s=score_s)
    if places and settings.mode != ("freeze",):
        each = _ask(places, "train", until)
        found.keep(train=mean(t for t, _ in each), save_s=mean(s for _, s in each))


def _ask(gauges: list[Any], what: str, until: float, late: str = "") -> list[Any]:
    """Have all measure at once; return what each has found."""
    asked = [getattr(gauge, what).remote() for gauge in gauges]
    left = max(0.0, until - time.monotonic())
    ready, _ = ray.wait(asked, num_returns=len(asked), timeout=left)
    if len(ready) < len(asked):
        raise NoFigureError(late or f"{what}: no figure in {_MEASURING_S:g} s")
    try:
        return list(ray.get(asked))
    except Exception as error:  # Whatever a trial may end with, such as too little memory.
        cause = getattr(error, "cause", error)
        told = (str(cause).strip().splitlines() or [type(cause).__name__])[-1]
        raise NoFigureError(f"{what}: {told}") from error
