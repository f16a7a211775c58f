"""What the doctor prints: nodes, checks, speeds, and how long the study will take."""

from collections.abc import Iterator
from datetime import timedelta

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from study.cluster.join import NodeFault, versions
from study.cluster.node_report import Look, Seen
from study.config.settings import Settings
from study.diagnosis.estimate import Cells, Eta
from study.diagnosis.measure import Measured
from study.preflight.checkup import Checkup
from tl_core.text import pluralize

_SHOWN = ("python", "torch", "ray")
_GOOD, _BAD = "green", "red"


def node_table(c: Checkup) -> Table:
    """A row for each node, as its own processes see it."""
    columns = ("node", "cores", "GPUs", "versions", "cache", "storage", "weights")
    table = Table(*columns, title="nodes", show_lines=len(c.seen) > 1)
    for seen in c.seen:
        if isinstance(seen.look, NodeFault):
            why = Text(seen.look.why, _BAD)
            table.add_row(seen.node.address, str(seen.node.cpus), why, *[""] * 4)
        else:
            table.add_row(*_node(c, seen, seen.look))
    return table


def _node(c: Checkup, seen: Seen, look: Look) -> Iterator[str | Text]:
    yield seen.node.address
    yield str(seen.node.cpus)
    yield "\n".join(_gpus(seen, look)) or "none"
    yield _versions(look)
    free = f"{decimal(look.cache_free)} free"
    yield _word(look.cache_fault, f"can be written, {free}", f"can't be written, {free}")
    yield _storage(c, seen)
    needed = "there" if c.settings.weights == "default" else "none to fetch"
    yield _word(look.weights_fault, needed, "not to be had")


def _gpus(seen: Seen, look: Look) -> Iterator[str]:
    names = look.hardware["gpus"]
    for name, (free, total) in zip(names, look.gpu_memory, strict=True):
        yield f"{name}, {decimal(free)} of {decimal(total)} free"
    if seen.node.gpus != len(names):
        yield f"{pluralize(seen.node.gpus, 'GPU')} in Ray's books"


def _versions(look: Look) -> Text:
    wanted, text = dict(versions()), Text()
    for name, found in look.versions:
        other = found != wanted[name]
        if name in _SHOWN or other:
            told = f"{name} {found}" + (f", driver {wanted[name]}" if other else "")
            text.append(("\n" if text else "") + told, _BAD if other else "")
    return text


def _storage(c: Checkup, seen: Seen) -> Text:
    if not c.settings.storage:
        return Text("over Ray" if c.settings.address != "local" else "its own disk")
    return _word(c.stored.get(seen.node), "can be written", "can't be written")


def _word(fault: str | None, good: str, bad: str) -> Text:
    return Text(bad, _BAD) if fault else Text(good)


def check_table(c: Checkup) -> Table:
    """A row for each thing that was looked at."""
    table = Table("looked at", "", "found", title="checks")
    for check in c.checks:
        if check.faults:
            table.add_row(check.what, Text("fault", _BAD), "told below")
        else:
            table.add_row(check.what, Text("ok", _GOOD), check.told)
    return table


def speed_table(s: Settings, found: Measured, search: Cells) -> Table:
    """A row for each mode: what was measured, and what a trial takes by that."""
    table = Table("mode", "places", "images/s a place", "seconds a trial", title="measured speed")
    for mode in s.mode:
        frozen = mode == "freeze"
        rate = found.speeds.heads if frozen else found.speeds.train
        told = f"{rate:,.0f}" if rate else "not measured"
        if frozen and rate:
            told += f" on features, {pluralize(s.seeds, 'seed')}"
        places = "1" if frozen else str(found.places)
        table.add_row(mode, places if rate else "", told, _span(search, mode))
    if found.speeds.forward:
        table.add_row("frozen network", str(found.places), f"{found.speeds.forward:,.0f}", "")
    return table


def _span(cells: Cells, mode: str) -> str:
    of_mode = {ratio: seconds for (m, ratio), seconds in cells.items() if m == mode}
    if not of_mode:
        return "not known"
    ends = [f"{_figure(of_mode[r])} at {r:g}" for r in dict.fromkeys((min(of_mode), max(of_mode)))]
    return " to ".join(ends)


def _figure(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.2g}"


def eta_line(eta: Eta) -> str:
    """How long the study will take, and with what."""
    stages = {
        "start": eta.start_s,
        "decoding": eta.decoding_s,
        "features": eta.features_s,
        "search": eta.search_s,
        "confirming": eta.confirming_s,
    }
    told = ", ".join(f"{name} {_clock(seconds)}" for name, seconds in stages.items())
    return f"ETA of this study: {_clock(eta.total_s)} ({told}; early stopping not counted)"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
