"""Is all here that a study takes, and how long will it take? `python study/doctor.py`."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from study.cluster.ray_environment import set_ray_environment
from study.config.command_line import parse_with, settings_parser
from study.config.validate import resolve
from study.errors import print_faults
from study.preflight.checks import address_faults
from study.signals import EXIT_CODE, interruptible
from tl_core.errors import Fault
from tl_core.text import printable

if TYPE_CHECKING:
    from study.diagnosis.estimate import Part
    from study.diagnosis.measure import Measured
    from study.preflight.checkup import Checkup

_ABOUT = """\
Looks at all that a study with these flags takes, on this machine or on every node of a cluster,
and tells every fault in the words of study/run.py; if there is none, measures how fast its trials
are there, and tells how long it will take. Nothing is left but weights that had to be fetched."""
_EXAMPLES = """\
examples:
  python study/doctor.py                                  the small study on drawn cats and dogs
  python study/doctor.py --data ./cat_dog --gpus 4
  python study/doctor.py --data ./cat_dog --address auto --storage s3://BUCKET/PATH

exit codes: 0 the study can start, 2 it can't (every fault is told), 130 interrupted"""
_BEGAN = time.monotonic()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2 or 130."""
    given = parse_with(settings_parser("study/doctor.py", _ABOUT, _EXAMPLES), argv)
    try:
        with interruptible():
            return _run(given)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_CODE


def _run(given: Mapping[str, Any]) -> int:
    # Paths and reasons may hold brackets and colons: they are no markup.
    console = Console(markup=False, emoji=False, highlight=False)
    _, faults = resolve(given)
    if address_faults(faults):  # No machines to look at.
        return _refuse(faults)
    for fault in faults:  # All that follows takes a while, and finds more.
        console.print(printable(str(fault)), style="red", soft_wrap=True)
    with console.status("importing torch and Ray"):
        set_ray_environment(own=given.get("address", "local") == "local")
        import ray

        from study.preflight.checkup import examine

    try:
        with console.status("") as status:
            checkup = examine(given, status.update)
        _show(checkup, console)
        _forecast(checkup, console)
    finally:
        ray.shutdown()  # Of a cluster that was joined.
    if checkup.faults:
        return _refuse(checkup.faults)
    console.print("the study can start", style="green")
    return 0


def _refuse(faults: list[Fault]) -> int:
    print_faults("the study can't start", faults)
    return 2


def _show(c: "Checkup", console: Console) -> None:
    from study.diagnosis.tables import check_table, node_table

    if c.seen:
        console.print(node_table(c))
    console.print(check_table(c))


def _forecast(c: "Checkup", console: Console) -> None:
    """Measure, and print what follows for the study."""
    from study.diagnosis.estimate import cells_of
    from study.diagnosis.tables import speed_table

    if why := _unmeasurable(c):
        console.print(f"speed not measured: {why}")
        return
    before_s = time.monotonic() - _BEGAN
    with console.status("starting Ray") as status, _ray(c) as ray_s:
        found = _measured(c, status.update)
    parts = _parts(c)
    console.print(speed_table(c.settings, found, cells_of(c.settings, parts, found.speeds)))
    for why in found.reasons:
        console.print(f"not measured: {why}", style="yellow")
    for why in found.left:
        console.print(f"temporary files may be left on node {why}", style="yellow")
    for line in _outlook(c, found, parts, before_s + ray_s):
        console.print(line)


def _unmeasurable(c: "Checkup") -> str | None:
    if c.faults:
        return "the study can't start"
    return "--debug runs one trial in this process" if c.settings.debug else None


@contextmanager
def _ray(c: "Checkup") -> Iterator[float]:
    """Have a Ray up, that of the study's cluster or one of this machine; yield what that took."""
    from study.cluster.local_ray import local_ray

    assert c.resources
    if c.resources.joined:
        yield 0.0
        return
    start = time.monotonic()
    with local_ray(c.gpus):
        yield time.monotonic() - start


def _measured(c: "Checkup", doing: Callable[[str], None]) -> "Measured":
    from study.diagnosis.measure import measure

    assert c.resources
    return measure(c.settings, c.resources, c.gpus, doing)


def _parts(c: "Checkup") -> "dict[float, Part]":
    """The images of a trial by ratio; none if there are no data yet."""
    from study.diagnosis.estimate import Part
    from tl_core.data.splits import make_split

    if c.source is None:
        return {}
    labels, s = np.asarray(c.source.labels), c.settings
    splits = {ratio: make_split(labels, ratio, s.split_seed) for ratio in s.train_ratio}
    return {ratio: Part(len(split.train), len(split.val)) for ratio, split in splits.items()}


def _why_no_eta(c: "Checkup") -> str:
    return "not every speed is known" if c.source else f"{c.settings.data} is not here yet"


def _outlook(
    c: "Checkup", found: "Measured", parts: "dict[float, Part]", start_s: float
) -> Iterator[str]:
    """How many trials an hour, and when all will be done."""
    from study.diagnosis.estimate import Before, cells_of, eta, trials_an_hour
    from study.diagnosis.tables import eta_line
    from study.execution.features import SOON_S

    assert c.resources
    extractors = c.capacity.full or c.gpus or c.resources.cpus
    pictures = (c.pictures.number, c.pictures.per_s) if c.pictures else (0, 1.0)
    soon_s = SOON_S if c.resources.only_cores(c.gpus) else 0
    before = Before(start_s, found.workers_s, *pictures, c.views, extractors, soon_s)
    told = eta(c.settings, c.capacity, before, found.speeds, parts) if parts else None
    if told is None:
        yield f"ETA of this study: not known, as {_why_no_eta(c)}"
        return
    cells = cells_of(c.settings, parts, found.speeds)
    an_hour = trials_an_hour(c.capacity, c.capacity.most_at_once(c.settings.trials), cells)
    yield f"about {an_hour:,.0f} trials an hour"
    yield eta_line(told)
    if c.settings.compile:
        yield "measured without --compile, whose first epochs are slower and all others faster"


if __name__ == "__main__":
    sys.exit(main())
