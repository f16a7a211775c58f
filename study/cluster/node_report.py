"""What the nodes of a cluster say of themselves, and whether a study can run on all of them."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from study.cluster.devices import check_compiler
from study.cluster.folders import folder_faults, nearest
from study.cluster.join import (
    PATIENCE_S,
    Node,
    NodeFault,
    Versions,
    gpus_are_real,
    nodes,
    on_each,
    version_fault,
    versions,
)
from study.cluster.resources import Resources, best_precisions, hardware, usable_cpus
from study.config.settings import Settings
from tl_core.config import Precision
from tl_core.errors import Fault, InputError
from tl_core.training.train import needs_pretrained, pretrained

FETCHING_S = 600.0
"""Nodes that have no weights yet may have to fetch them first."""


@dataclass(frozen=True)
class Look:
    """A node as its own processes see it."""

    versions: Versions
    hardware: dict[str, Any]
    gpu_memory: tuple[tuple[int, int], ...]
    """Free and total bytes of each GPU."""
    precisions: dict[str, Precision]
    cache_fault: str | None
    cache_free: int
    """Bytes."""
    weights_fault: str | None
    compiler_fault: str | None


@dataclass(frozen=True)
class Seen:
    """A node, and what came of looking at it."""

    node: Node
    look: Look | NodeFault


def this_node(settings: Settings) -> Seen:
    """This machine alone, looked at as a node is."""
    node = Node("", "this machine", usable_cpus(), torch.cuda.device_count())
    return Seen(node, look(settings.cache.resolve(), _weights(settings), compiles=False))


def survey(settings: Settings, timeout_s: float = PATIENCE_S) -> list[Seen]:
    """Look at every node of the cluster that was joined; those that die meanwhile are left out."""
    there = nodes()
    cache, weights = settings.cache.resolve(), _weights(settings)
    found = on_each(look, there, cache, weights, settings.compile, timeout_s=timeout_s)
    up = {node.id for node in nodes()}
    return [Seen(node, found[node]) for node in there if node.id in up]


def look(cache: Path, weights: tuple[str, str, int] | None, compiles: bool) -> Look:
    """Return what this node is like.

    Args:
        cache: where data will be kept.
        weights: name, weights and image size of a network that is needed.
        compiles: try whether networks can be compiled.
    """
    cuda = range(torch.cuda.device_count())
    device = torch.device("cuda" if cuda else "cpu")
    return Look(
        versions(),
        hardware(),
        tuple(torch.cuda.mem_get_info(i) for i in cuda),
        best_precisions(),
        next(map(str, folder_faults("--cache", cache)), None),
        shutil.disk_usage(nearest(cache)).free,
        _fault(lambda: pretrained(*weights, "fp32")) if weights else None,
        _fault(lambda: check_compiler(device)) if compiles else None,
    )


def _weights(settings: Settings) -> tuple[str, str, int] | None:
    """A file of weights is brought to the nodes, and random ones are drawn there."""
    if settings.weights != "default" or not any(map(needs_pretrained, settings.mode)):
        return None
    return settings.backbone, "default", settings.image_size


def _fault(look: Callable[[], object]) -> str | None:
    try:
        look()
    except InputError as error:
        return str(error.faults[0])
    return None


def machines_of(settings: Settings, seen: list[Seen]) -> Resources:
    """Return what the nodes have together.

    Raises `InputError` naming every node that can't work with the driver.
    """
    if faults := [fault for each in seen for fault in _faults(each, settings)]:
        raise InputError([Fault("--address", f"{settings.address}: {why}") for why in faults])
    looks = {s.node: s.look for s in seen if isinstance(s.look, Look)}
    with_gpus = [node for node in looks if node.gpus]
    return Resources(
        cpus=sum(node.cpus for node in looks),
        gpus=sum(node.gpus for node in looks),
        # Of nodes that are yet to come nothing is known but that they have a core a GPU.
        cpus_per_gpu=min((node.cpus / node.gpus for node in with_gpus), default=1.0),
        gpus_are_real=gpus_are_real(),
        precisions={
            device: _worst([look.precisions[device] for look in looks.values()
                            if device in look.precisions])
            for device in ("cpu", "cuda")
        },
        nodes=tuple({"node": n.address, "gpus_of_ray": n.gpus} | look.hardware
                    for n, look in looks.items()),
    )  # fmt: skip


def _worst(precisions: list[Precision]) -> Precision:
    return "bf16" if precisions and all(p == "bf16" for p in precisions) else "fp32"


def _faults(seen: Seen, settings: Settings) -> Iterator[str]:
    node, look = seen.node, seen.look
    if isinstance(look, NodeFault):
        yield f"node {node.address}: {look.why}"
        return
    if why := version_fault(node.address, versions(), look.versions):
        yield why
    there = len(look.hardware["gpus"])
    if gpus_are_real() and node.gpus > there:
        yield f"node {node.address}: Ray counts {node.gpus} GPUs, torch finds {there}"
    # A head without a GPU trains no network if others have some.
    compiles = look.compiler_fault if node.gpus or settings.gpus == 0 else None
    for why in (look.cache_fault, look.weights_fault, compiles):
        if why:
            yield f"node {node.address}: {why}"
