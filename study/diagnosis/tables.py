"""What the doctor prints: nodes, checks, speeds, and how long the study will take."""

import shutil
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from study.cluster.join import NodeFault, versions
from study.cluster.node_report import NodeReport, ReportedNode
from study.cluster.stores import bucket_of
from study.config.settings import Settings
from study.config.uris import SQLITE, is_database, is_server, without_credentials
from study.diagnosis.estimate import MARGIN
from study.diagnosis.measure import Measured
from study.preflight.disk import cache_needs, out_needs
from study.preflight.memory import free_memory
from study.preflight.setup import Setup, work_s
from study.search.cells import Cell
from tl_core.cgroups import OWN
from tl_core.config import FROZEN
from tl_core.runtime import describe_cpus
from tl_core.text import pluralize

_SHOWN = ("python", "torch", "ray")
_SHM = 128 * 10**6
"""Bytes of shared memory that Ray needs."""
_GOOD, _BAD = "green", "red"


def node_table(setup: Setup) -> Table:
    """A row for each node, as its own processes see it."""
    columns = ("node", "cores", "GPUs", "versions", "cache", "storage", "weights")
    table = Table(*columns, title="nodes", show_lines=len(setup.nodes) > 1)
    for seen in setup.nodes:
        node, report = seen.node, seen.report
        if isinstance(report, NodeFault):
            why = Text(report.why, _BAD)
            table.add_row(node.address, str(node.cpus), why, *[""] * 4)
            continue
        free = f"{decimal(report.cache_free)} free"
        can = "can't" if report.cache_fault else "can"
        needed = "there" if setup.settings.weights == "default" else "none to fetch"
        table.add_row(
            node.address,
            str(node.cpus),
            "\n".join(_gpus(seen, report)) or "none",
            _versions(report),
            Text(f"{can} be written, {free}", _BAD if report.cache_fault else ""),
            _storage(setup, seen),
            Text("unavailable", _BAD) if report.weights_fault else needed,
        )
    return table


def _gpus(seen: ReportedNode, report: NodeReport) -> Iterator[str]:
    names = report.hardware["gpus"]
    for name, (free, total) in zip(names, report.gpu_memory, strict=True):
        has = f"{decimal(free)} of {decimal(total)} free" if total else "its memory is not known"
        yield f"{name}, {has}"
    if seen.node.gpus != len(names):
        yield f"{pluralize(seen.node.gpus, 'GPU')} in Ray's books"


def _versions(report: NodeReport) -> Text:
    """The versions of a node; those that differ from the driver's are marked."""
    wanted, lines = dict(versions()), []
    for name, found in report.versions:
        if found != wanted[name]:
            lines.append(Text(f"{name} {found}, driver {wanted[name]}", _BAD))
        elif name in _SHOWN:
            lines.append(Text(f"{name} {found}"))
    return Text("\n").join(lines)


def _storage(setup: Setup, seen: ReportedNode) -> Text | str:
    s = setup.settings
    if not s.storage:
        return "its own disk" if s.address == "local" else "over Ray"
    here = [f.message for f in setup.faults if f.flag == "--storage" and s.address == "local"]
    fault = next(iter(here), None) or setup.unwritable.get(seen.node)
    return Text("can't be written", _BAD) if fault else "can be written"


def check_table(setup: Setup) -> Table:
    """A row for each thing that was checked."""
    table = Table("checked", "", "found", title="checks")
    for name, describe in _FOUND.items():
        if setup.faults_by_name.get(name):
            table.add_row(name, Text("fault", _BAD), "listed below")
        else:
            table.add_row(name, Text("ok", _GOOD), describe(setup))
    return table


def _settings(setup: Setup) -> str:
    s = setup.settings
    if s.debug:
        return "one trial, without Ray"
    ratios = pluralize(len(s.train_ratio), "train ratio")
    return f"{pluralize(s.trials, 'trial')} of {' '.join(s.mode)} at {ratios}"


def _machines(setup: Setup) -> str:
    assert setup.resources
    used = f"{setup.resources.describe(setup.gpus)}, {setup.settings.precision}"
    if setup.resources.joined:
        return used
    memory = [f"{decimal(free)} of memory free"] if (free := free_memory()) is not None else []
    if (limit := OWN.memory_limit()) is not None:
        memory.append(f"limit {decimal(limit)}")
    parts = [used, describe_cpus(), ", ".join(memory), shm_note()]
    return "; ".join(filter(None, parts))


def shm_note(folder: Path = Path("/dev/shm")) -> str:
    """That Ray has too little shared memory, as in a container with Docker's 64 MB, if it has."""
    size = shutil.disk_usage(folder).total if folder.is_dir() else 0
    if not folder.is_dir() or size >= _SHM:
        return ""
    why = f"{folder} has {decimal(size)}, so Ray keeps its objects in its folder in /tmp"
    return f"{why}; docker run --shm-size=1g gives it more"


def _data(setup: Setup) -> str:
    s, source = setup.settings, setup.source
    if not source:
        return f"{s.data} is downloaded into {s.cache} when the study starts"
    images = pluralize(len(source.ids), "image")
    found = [f"{source.name}: {images} of {pluralize(len(source.classes), 'class', 'classes')}"]
    new = setup.undecoded
    found.append(f"{new.tried:,} of {len(source.ids):,} tried" if new else "decoded already")
    if setup.unreadable:
        found.append(pluralize(len(setup.unreadable), "unreadable file"))
    return "; ".join(found)


def _backbone(setup: Setup) -> str:
    network = setup.network
    assert network
    of = f"{network.n_features:,} features, weights {network.weights_id}"
    return f"{setup.settings.backbone}: {of}"


def _folder(setup: Setup) -> str:
    s, source = setup.settings, setup.source
    if not source or not setup.resources:
        return str(setup.folder)
    cache = sum(need.size for need in cache_needs(s, source, setup.network))
    out = sum(need.size for need in out_needs(s, setup.network, setup.capacity.full))
    needed = f"{decimal(out)} to be written, and {decimal(cache)} into {s.cache}"
    return f"{setup.folder}: {needed}"


def _tracking(setup: Setup) -> str:
    s = setup.settings
    if s.offline:
        return "off: nothing is sent to MLflow"
    known = (
        is_server(s.tracking_uri)
        or is_database(s.tracking_uri)
        or s.tracking_uri.startswith(SQLITE)
    )
    store = f"{without_credentials(s.tracking_uri)}, experiment {s.experiment}"
    named = f" (from {' and '.join(setup.variables)})" if setup.variables else ""
    return store + named + ("" if known else ": asked when the study starts")


def _bucket(setup: Setup) -> str:
    s = setup.settings
    if s.storage:
        return f"{bucket_of(s)}: a file written and removed"
    if s.address == "local":
        return "checkpoints go into the study's folder"
    return "checkpoints go over Ray into the study's folder on the driver's machine"


_FOUND = {
    "settings": _settings,
    "machines": _machines,
    "data": _data,
    "backbone": _backbone,
    "folder": _folder,
    "tracking": _tracking,
    "storage": _bucket,
}
"""What each row says if nothing is wrong."""


def speed_table(s: Settings, found: Measured, search: Mapping[Cell, float]) -> Table:
    """A row for each mode: what was measured, and how long a trial takes at that speed."""
    table = Table("mode", "places", "images/s a place", "seconds a trial", title="measured speed")
    speeds = found.speeds
    for mode in s.mode:
        if mode in FROZEN:
            known = speeds.probe if mode == "probe" else speeds.sweep
            how, places = f"many at once, {pluralize(s.seeds, 'seed')}", "1 core"
        else:
            known = speeds.partial if mode == "partial" else speeds.train
            how, places = f"{known or 0:,.0f}", str(found.places)
        shown = (places, how) if known else ("", "not measured")
        table.add_row(mode, *shown, _span(search, mode))
    if found.speeds.forward:
        table.add_row("frozen network", str(found.places), f"{found.speeds.forward:,.0f}", "")
    return table


def _span(cells: Mapping[Cell, float], mode: str) -> str:
    """Seconds of a trial at the smallest and the largest ratio."""
    of_mode = {ratio: seconds for (m, ratio), seconds in cells.items() if m == mode}
    if not of_mode:
        return "not known"
    ends = {
        ratio: f"{s:,.0f}" if (s := of_mode[ratio]) >= 10 else f"{s:.2g}"
        for ratio in (min(of_mode), max(of_mode))
    }
    return " to ".join(f"{seconds} at {ratio:g}" for ratio, seconds in ends.items())


def eta_line(stages: Mapping[str, float]) -> str:
    """How long the study will take, from the seconds of its stages."""
    parts = ", ".join(f"{name} {_clock(seconds)}" for name, seconds in stages.items())
    whole = _clock(sum(stages.values()))
    return f"ETA of this study: {whole} ({parts}; early stopping not counted)"


def limit_line(stages: Mapping[str, float], limit_s: float) -> str:
    """Whether a study's stages fit into its limit of time, both in seconds."""
    trials_s = stages["search"] + stages["confirming"]
    enough = sum(stages.values()) + (MARGIN - 1) * trials_s <= work_s(limit_s)
    what = "is enough" if enough else "ends it before; --resume goes on then"
    return f"--max-time {_clock(limit_s)} {what}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
