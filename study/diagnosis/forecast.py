"""Measures how fast a study's trials are, and prints how long the study will take."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from rich.console import Console

from study.cluster.local_ray import local_ray
from study.diagnosis.estimate import Before, Part, cells_of, eta, trials_an_hour
from study.diagnosis.measure import Measured, measure
from study.diagnosis.tables import eta_line, speed_table
from study.preflight.disk import lacking_views
from study.preflight.setup import Setup
from tl_core.data.datasets import image_entry
from tl_core.data.splits import make_split
from tl_core.training.train import needs_features


def print_forecast(setup: Setup, console: Console, started: float, soon_s: float) -> None:
    """Measure, and print what follows for the study.

    Args:
        setup: the study, checked.
        console: prints it.
        started: when this process began, by `time.monotonic`.
        soon_s: seconds up to which the driver makes features itself.
    """
    if setup.faults or setup.settings.debug or not setup.resources:
        alone = "--debug runs one trial in this process"
        why = "the study can't start" if setup.faults else alone
        console.print(f"speed not measured: {why}")
        return
    before_s = time.monotonic() - started
    with console.status("starting Ray") as status, _ray(setup) as ray_s:
        found = measure(setup.settings, setup.resources, setup.gpus, status.update)
    parts = _parts(setup)
    console.print(speed_table(setup.settings, found, cells_of(setup.settings, parts, found.speeds)))
    for why in found.reasons:
        console.print(f"not measured: {why}", style="yellow")
    for why in found.left:
        console.print(f"temporary files may be left on node {why}", style="yellow")
    for line in _outlook(setup, found, parts, before_s + ray_s, soon_s):
        console.print(line)


@contextmanager
def _ray(setup: Setup) -> Iterator[float]:
    """Run inside the cluster that was joined, or a local Ray; yield the seconds that it took."""
    assert setup.resources
    if setup.resources.joined:
        yield 0.0
        return
    start = time.monotonic()
    with local_ray(setup.gpus):
        yield time.monotonic() - start


def _parts(setup: Setup) -> dict[float, Part]:
    """The images of a trial by ratio; none if there are no data yet."""
    if setup.source is None:
        return {}
    labels, s = np.asarray(setup.source.labels), setup.settings
    splits = {ratio: make_split(labels, ratio, s.split_seed) for ratio in s.train_ratio}
    return {ratio: Part(len(split.train), len(split.val)) for ratio, split in splits.items()}


def views(setup: Setup) -> int:
    """Images and mirror images whose features the cache lacks."""
    s, source, network = setup.settings, setup.source, setup.network
    if not (source and network and any(map(needs_features, s.mode))):
        return 0
    images = image_entry(source, s.image_size, s.cache).name
    return len(source.ids) * lacking_views(s, images, network)


def _outlook(
    setup: Setup, found: Measured, parts: Mapping[float, Part], start_s: float, soon_s: float
) -> Iterator[str]:
    """How many trials an hour, and when all will be done."""
    assert setup.resources
    s, capacity, pending = setup.settings, setup.capacity, setup.undecoded
    before = Before(
        start_s,
        workers_s=found.workers_s,
        images=pending.number if pending else 0,
        decoded_per_s=pending.per_s if pending else 1.0,
        views=views(setup),
        extractors=capacity.full or setup.gpus or setup.resources.cpus,
        soon_s=soon_s if setup.resources.only_cores(setup.gpus) else 0,
    )
    estimate = eta(s, capacity, before, found.speeds, parts) if parts else None
    if estimate is None:
        why = "not every speed is known" if setup.source else f"{s.data} is not here yet"
        yield f"ETA of this study: not known, as {why}"
        return
    cells = cells_of(s, parts, found.speeds)
    an_hour = trials_an_hour(capacity, capacity.most_at_once(s.trials), cells)
    yield f"about {an_hour:,.0f} trials an hour"
    yield eta_line(estimate)
    if s.compile:
        yield "measured without --compile, which makes first epochs slower and all others faster"
