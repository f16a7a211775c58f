"""Reports of a cluster's nodes, and whether a study can run on all of them."""

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from study.cluster.resources import (
    Resources,
    best_precisions,
    check_compiler,
    common_precision,
    hardware,
)
from study.config.settings import Settings
from tl_core.config import Precision
from tl_core.device import find_device, gpus_here
from tl_core.errors import Fault, InputError
from tl_core.gpu_memory import memory
from tl_core.runtime import usable_cpus
from tl_core.training.setup import needs_pretrained, pretrained

FETCHING_S = 600.0
"""Seconds for a report: a node may have to fetch weights first."""
GpuMemory = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class NodeReport:
    """A node as its own processes see it."""

    versions: Versions
    hardware: dict[str, Any]
    gpu_memory: GpuMemory
    """Free and total bytes of each GPU; 0 of one that could not be asked."""
    precisions: dict[str, Precision]
    cache_fault: str | None
    cache_free: int
    """Bytes."""
    weights_fault: str | None
    compiler_fault: str | None


@dataclass(frozen=True)
class ReportedNode:
    """A node and its report, or why there is none."""

    node: Node
    report: NodeReport | NodeFault


def this_node(settings: Settings, gpu_memory: GpuMemory | None) -> ReportedNode:
    """This machine alone, reported as a node is."""
    node = Node("", "this machine", usable_cpus(), len(gpus_here()))
    given = (settings.cache.resolve(), _weights(settings), False, gpu_memory)
    report = report_node(*given)
    return ReportedNode(node, report)


def report_nodes(settings: Settings, timeout_s: float = PATIENCE_S) -> list[ReportedNode]:
    """Have every node of the joined cluster report; nodes that die meanwhile are left out."""
    there = nodes()
    cache, weights = settings.cache.resolve(), _weights(settings)
    found = on_each(report_node, there, cache, weights, settings.compile, timeout_s=timeout_s)
    up = {node.id for node in nodes()}
    return [ReportedNode(node, found[node]) for node in there if node.id in up]


def report_node(
    cache: Path,
    weights: tuple[str, str, int] | None,
    compiles: bool,
    gpu_memory: GpuMemory | None = None,
) -> NodeReport:
    """Report on this node.

    Args:
        cache: where data will be kept.
        weights: name, weights and image size of a network that is needed.
        compiles: try whether networks can be compiled.
        gpu_memory: of the GPUs, if it is known; otherwise this process asks them, by which it
            takes some of it.
    """
    return NodeReport(
        versions(),
        hardware(),
        tuple(map(memory, gpus_here())) if gpu_memory is None else gpu_memory,
        best_precisions(),
        next(map(str, folder_faults("--cache", cache)), None),
        shutil.disk_usage(nearest(cache)).free,
        fault_of(pretrained, *weights, "fp32") if weights else None,
        fault_of(check_compiler, find_device(), cache) if compiles else None,
    )


def _weights(settings: Settings) -> tuple[str, str, int] | None:
    """The default weights, which a node has to have; others are sent, or drawn at random."""
    if settings.weights != "default" or not any(map(needs_pretrained, settings.mode)):
        return None
    return settings.backbone, "default", settings.image_size


def fault_of(check: Callable[..., object], *given: Any) -> str | None:
    """Why a check of this node fails, None if it does not."""
    try:
        check(*given)
    except InputError as error:
        return str(error.faults[0])
    return None


def resources_of(settings: Settings, reported: list[ReportedNode]) -> Resources:
    """Return what the nodes have together.

    Raises `InputError` naming every node that can't work with the driver.
    """
    if faults := [why for each in reported for why in _faults(each, settings)]:
        raise InputError([Fault("--address", f"{settings.address}: {why}") for why in faults])
    reports = {r.node: r.report for r in reported if isinstance(r.report, NodeReport)}
    return Resources(
        cpus=sum(node.cpus for node in reports),
        gpus=sum(node.gpus for node in reports),
        # A node that joins later is expected to have one core a GPU.
        cpus_per_gpu=min((node.cpus / node.gpus for node in reports if node.gpus), default=1.0),
        gpus_are_real=gpus_are_real(),
        precisions=_precisions(reports.values()),
        nodes=tuple(
            {"node": node.address, "gpus_of_ray": node.gpus} | report.hardware
            for node, report in reports.items()
        ),
    )


def _precisions(reports: Collection[NodeReport]) -> dict[str, Precision]:
    """The best number format that all CPUs, and all GPUs, have."""
    return {
        kind: common_precision(r.precisions[kind] for r in reports if kind in r.precisions)
        for kind in ("cpu", "cuda")
    }


def _faults(reported: ReportedNode, settings: Settings) -> Iterator[str]:
    node, report = reported.node, reported.report
    name = f"node {node.address}"
    if isinstance(report, NodeFault):
        yield f"{name}: {report.why}"
        return
    if why := version_fault(node.address, versions(), report.versions):
        yield why
    n_found = len(report.hardware["gpus"])
    if gpus_are_real() and node.gpus > n_found:
        yield f"{name}: Ray counts {node.gpus} GPUs, torch finds {n_found}"
    # A head without a GPU trains no network if others have some.
    compiler_fault = report.compiler_fault if node.gpus or settings.gpus == 0 else None
    for why in filter(None, (report.cache_fault, report.weights_fault, compiler_fault)):
        yield f"{name}: {why}"
