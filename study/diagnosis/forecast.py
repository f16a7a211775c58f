"""Measures how fast a study's trials are, and prints how long the study will take."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace

from rich.console import Console

from study.cluster.local_ray import local_ray
from study.diagnosis.estimate import Before, cells_of, eta, groups_of, trials_an_hour
from study.diagnosis.measure import Measured, measure
from study.diagnosis.measure_sweep import measure_sweeps
from study.diagnosis.stages import Stages
from study.diagnosis.tables import eta_line, limit_line, speed_table
from study.errors import NodeError
from study.preflight.disk import networks
from study.preflight.memory import feature_makers
from study.preflight.setup import Setup
from study.search.short_sweeps import SOON_S, Shape
from tl_core.config import Mode
from tl_core.data.caching.tables import rows_kept
from tl_core.data.image_entries import image_entry
from tl_core.inputs.features import feature_entry
from tl_core.training.setup import needs_features


def print_forecast(setup: Setup, console: Console, stages: Stages) -> None:
    """Measure, and print what follows for a study that was checked; `stages` shows what it does."""
    if setup.faults or setup.settings.debug or not setup.resources:
        alone = "--debug runs one trial in this process"
        why = "the study can't start" if setup.faults else alone
        console.print(f"speed not measured: {why}")
        return
    before_s, shape = time.monotonic() - stages.started, _shape(setup)
    found = _measure(setup, shape, stages.begin)
    cells = cells_of(setup.settings, shape, found.speeds) if shape else {}
    console.print(speed_table(setup.settings, found, cells))
    for why in found.reasons:
        console.print(f"not measured: {why}", style="yellow")
    for why in found.left:
        console.print(f"temporary files may be left on node {why}", style="yellow")
    for line in _outlook(setup, found, shape, before_s):
        console.print(line)


def _measure(setup: Setup, shape: Shape | None, report: Callable[[str], None]) -> Measured:
    s = setup.settings
    assert setup.resources
    report("measuring sweeps")
    modes: list[Mode] = ["freeze"] if "freeze" in s.mode else []
    # Some networks start from a probe.
    modes += ["probe"] if any(needs_features(m) and m != "freeze" for m in s.mode) else []
    speeds = measure_sweeps(s, shape, modes) if shape else {}
    found = Measured()
    if s.networks or views(setup):
        report("starting Ray")
        try:
            # A cluster was joined by the checks.
            start = time.monotonic()
            with nullcontext() if setup.resources.joined else local_ray(setup.gpus):
                ray_s = time.monotonic() - start
                bounds = setup.held, setup.per_gpu
                found = measure(s, setup.resources, setup.gpus, report, *bounds)
                found.ray_s = ray_s
        except NodeError as why:
            found.reasons.append(str(why))
    found.speeds = replace(found.speeds, sweep=speeds.get("freeze"), probe=speeds.get("probe"))
    return found


def _shape(setup: Setup) -> Shape | None:
    """The size of frozen trials' data; None if they are not here yet."""
    if setup.source is None or setup.network is None:
        return None
    source = setup.source
    sizes = source.rules.sizes(len(source.ids))
    return Shape(sizes, len(source.classes), setup.network.n_features)


def views(setup: Setup) -> int:
    """Images and mirror images that the frozen network has to run over, one after another."""
    s, source, network = setup.settings, setup.source, setup.network
    if not (source and network and any(map(needs_features, s.mode))):
        return 0
    n = len(source.ids)
    if s.weights == "none":  # Each seed has its own random network.
        return networks(s) * n * (2 if s.hflip else 1)
    images = image_entry(source, s.image_size, s.cache, s.resize).name
    plain, both = (feature_entry(images, network, s.cache, hflip) for hflip in (False, True))
    if s.hflip and both.exists():
        return 0
    left = 0 if plain.exists() else n - rows_kept(plain)
    return left + (2 * n - max(n, rows_kept(both)) if s.hflip else 0)


def _outlook(setup: Setup, found: Measured, shape: Shape | None, start_s: float) -> Iterator[str]:
    """How many trials an hour, and when all will be done."""
    assert setup.resources
    s, capacity, pending = setup.settings, setup.capacity, setup.undecoded
    makers = setup.resources.cpus
    if setup.network:
        makers = feature_makers(s, setup.resources, setup.network.network)
    before = Before(
        start_s,
        found.ray_s,
        found.workers_s,
        images=pending.number if pending else 0,
        decoded_per_s=pending.per_s if pending else 1.0,
        views=views(setup),
        extractors=setup.gpus or makers,
        soon_s=SOON_S if setup.resources.only_cores(setup.gpus) else 0,
    )
    estimate = eta(s, capacity, before, found.speeds, shape) if shape else None
    if shape is None or estimate is None:
        why = "not every speed is known" if setup.source else f"{s.data} is not here yet"
        yield f"ETA of this study: not known, as {why}"
        return
    groups = groups_of(s, shape, found.speeds, cores=capacity.cpus)
    at_once = capacity.searching(s)
    # A frozen trial may take a thousandth of a network's: a mean of both would tell of neither.
    by_mode = {mode: [g for g in groups if g.config.mode == mode] for mode in s.mode}
    numbers = {m: trials_an_hour(capacity, at_once, of) for m, of in by_mode.items()}
    an_hour = [f"{float(f'{n:.2g}'):,.12g} in mode {mode}" for mode, n in numbers.items()]
    yield f"trials an hour: about {', '.join(an_hour)}"
    yield eta_line(estimate)
    if s.max_time:
        yield limit_line(estimate, s.max_time)
    if s.compile:
        yield "measured without --compile, which makes first epochs slower and all others faster"
