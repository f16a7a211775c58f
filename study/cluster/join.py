"""A Ray cluster that is up already: joined, looked at, and told what to run."""

import logging
import os
import platform
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray._private import services
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.cluster.head_probe import NO_HEAD, ask
from study.cluster.ray_environment import LOGICAL, worker_environment
from study.errors import NodeError
from tl_core.errors import Fault, InputError

_COMPARED = ("torch", "torchvision", "timm", "ray")
_PACKAGES = ("tl_core", "study")
_ANSWER_S = 4.0
_LONGEST = 300
PATIENCE_S = 60.0
"""How long a node has for what it is asked, unless it may take longer."""

Value = TypeVar("Value")
Versions = tuple[tuple[str, str], ...]
"""Names and versions."""


@dataclass(frozen=True)
class NodeFault:
    """Why a node did not do what it was asked to."""

    why: str


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, as Ray knows it."""

    id: str
    address: str
    cpus: int
    gpus: int


def join(address: str) -> None:
    """Join a running cluster as a driver; this project's code goes to its workers.

    Raises `InputError` within seconds if there is none, it wants another token, or it has another
    Ray or Python.
    """
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=_found(address),
            runtime_env={"py_modules": _code(), "env_vars": worker_environment()},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, RayError) as error:
        why = " ".join(str(error).split())[:_LONGEST]
        raise InputError([Fault("--address", f"{address}: {why}")]) from error
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would end it with nothing saved.


def _found(address: str) -> str:
    """HOST:PORT of the cluster's head, which was asked: Ray would try for minutes."""
    head: str | None = services.canonicalize_bootstrap_address(address)
    if head is None:
        raise ConnectionError("no Ray runs on this machine; ray start starts one, or joins one")
    if error := _unreachable(head):
        # Ray has put this machine's address for 127.0.0.1, where something else may listen.
        if address != "auto" and not _unreachable(address):
            raise ConnectionError(NO_HEAD)
        where = f"at {head}" if address == "auto" else "there"
        raise ConnectionError(f"no Ray answers {where}: {error.strerror or error}") from error
    if why := ask(head):
        raise ConnectionError(why)
    return head


def _unreachable(place: str) -> OSError | None:
    """Why nothing can be sent to HOST:PORT, or None if something listens there."""
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _ANSWER_S).close()
    except OSError as error:
        return error
    return None


def _code() -> list[str]:
    root = Path(__file__).parents[2]
    return [str(root / name) for name in _PACKAGES]


def nodes() -> list[Node]:
    """The nodes that are up, the driver's first."""
    here = ray.get_runtime_context().get_node_id()
    up = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    up.sort(key=lambda node: (node["NodeID"] != here, node["NodeManagerAddress"]))
    return [
        Node(
            node["NodeID"],
            node["NodeManagerAddress"],
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("GPU", 0)),
        )
        for node in up
    ]


def versions() -> Versions:
    """What this process has of all that decides a trial's numbers, and of Ray."""
    return (("python", platform.python_version()), *((n, _version(n)) for n in _COMPARED))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def version_fault(node: str, wanted: Versions, found: Versions) -> str | None:
    """Tell what a node has otherwise than this process, or None if it has all the same."""
    has = dict(found)
    apart = [f"{n} {has.get(n)} where the driver has {v}" for n, v in wanted if has.get(n) != v]
    return f"node {node} has {', '.join(apart)}: install constraints.txt there" if apart else None


def check_versions(wanted: Versions) -> None:
    """Raise `NodeError` if this node has others; without any wanted there is no cluster."""
    if wanted and (why := version_fault(own_address(), wanted, versions())):
        raise NodeError(why)


def own_address() -> str:
    """By which the cluster knows this node."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def gpus_are_real() -> bool:
    """Whether what Ray calls a GPU is one."""
    return not os.environ.get(LOGICAL)


def on_each(
    task: Callable[..., Value], among: list[Node], *given: Any, timeout_s: float = PATIENCE_S
) -> dict[Node, Value | NodeFault]:
    """Run a function on each node at once; return what came of it."""
    # A process of its own, which ends with it: no GPU memory is kept from those that follow.
    remote = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(task)
    sees_gpus = {"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}}
    asked = {
        node: remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
            runtime_env=sees_gpus,
        ).remote(*given)
        for node in among
    }
    ready, _ = ray.wait([*asked.values()], num_returns=len(asked), timeout=timeout_s)
    late = NodeFault(f"no answer in {timeout_s:g} s")
    return {node: _given(ref) if ref in ready else late for node, ref in asked.items()}


def _given(ref: "ray.ObjectRef[Value]") -> Value | NodeFault:
    try:
        value: Value = ray.get(ref)
    except Exception as error:  # Whatever it was, on whichever node.
        return NodeFault((str(error).strip().splitlines() or [type(error).__name__])[-1])
    return value
