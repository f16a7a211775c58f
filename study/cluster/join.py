"""A Ray cluster that is up already: how it is joined, and how its nodes are asked."""

import logging
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import ray
import torch
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from study.cluster.ray_environment import LOGICAL, worker_environment
from study.cluster.ray_private import keep_sigterm
from study.errors import NodeError, why_failed
from tl_core.device import CPU, find_device
from tl_core.errors import Fault, InputError
from tl_core.runtime import keep_freed_memory

_COMPARED = ("torch", "torchvision", "timm", "ray")
_ROOT = Path(__file__).parents[2]
_ANSWER_S = 4.0
_LONGEST = 300
PATIENCE_S = 60.0
"""Seconds that a node has to answer, unless the caller gives it more."""

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


NO_HEAD = (
    "what answers there is no Ray head, or a busy one; its address is what ray start printed, "
    "HOST:6379 as a rule"
)
_NO_RAY = "no Ray runs on this machine; ray start starts one, or joins one"
_GONE = "no Ray answers at RAY_ADDRESS, else at the address of the last ray start"
_TOKEN = (
    "have here, in ~/.ray/auth_token or in RAY_AUTH_TOKEN, what the head has in its "
    "~/.ray/auth_token"
)
_HEALTH_CHECK = ("-P", "-m", "ray.scripts.scripts", "health-check", "--skip-version-check")
_TIMEOUTS = {"RAY_gcs_rpc_server_connect_timeout_s": "1", "RAY_py_gcs_connect_timeout_s": "4"}
"""Seconds that Ray waits: for each of two connections, and then for an answer."""
_HEALTH_CHECK_S = 30.0


def join(address: str) -> None:
    """Join a running cluster as a driver; this project's code goes to its workers.

    Raises `InputError` within seconds if there is none, it wants another token, or it has another
    Ray or Python.
    """
    try:
        if why := head_fault(address):
            raise ConnectionError(why)
        with keep_sigterm():
            ray.init(
                address=address,
                runtime_env={
                    "py_modules": [str(_ROOT / name) for name in ("tl_core", "study")],
                    "env_vars": worker_environment(),
                },
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, RayError) as error:
        why = " ".join(str(error).split())[:_LONGEST]
        raise InputError([Fault("--address", f"{address}: {why}")]) from error


def head_fault(address: str) -> str | None:
    """Return why the head at HOST:PORT, or at `auto`, can't be joined; None if it can.

    `ray.init` would try for minutes. Ray's own command asks, in a process of its own, as Ray prints
    lines to the terminal meanwhile. A Ray without the command leaves it to `ray.init`.
    """
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), _ANSWER_S).close()
        except OSError as error:
            return f"no Ray answers there: {error.strerror or error}"
    if os.environ.get("RAY_AUTH_MODE") == "token" and (why := _token_fault()):
        return f"{why}: {_TOKEN}"
    where = () if address == "auto" else ("--address", address)
    try:
        done = subprocess.run(
            [sys.executable, *_HEALTH_CHECK, *where],
            env=_TIMEOUTS | os.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_HEALTH_CHECK_S,
        )
    except subprocess.TimeoutExpired:
        return NO_HEAD
    return _head_fault(address, done.returncode, done.stderr)


def _token_fault() -> str | None:
    """Return why there is no token to send; Ray would end the process."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return None
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    try:
        (Path(named) if named else Path.home() / ".ray" / "auth_token").read_bytes()
    except OSError as error:
        if named:
            return f"RAY_AUTH_TOKEN_PATH={named} can't be read: {error.strerror}"
        return "RAY_AUTH_MODE=token, and there is no token"
    return None


def _head_fault(address: str, code: int, errors: str) -> str | None:
    """What the end of `ray health-check` means."""
    if code == 0 or "No such command" in errors:
        return None
    if "AuthenticationError" in errors:
        if os.environ.get("RAY_AUTH_MODE") == "token":
            return f"RAY_AUTH_MODE=token, and the token is not the head's: {_TOKEN}"
        return f"the head wants a token: set RAY_AUTH_MODE=token, and {_TOKEN}"
    if "RpcError" in errors:
        return _GONE if address == "auto" else NO_HEAD
    if "Could not find any running Ray instance" in errors:
        return _NO_RAY
    [*_, line] = errors.strip().splitlines() or [f"exit code {code}"]
    return f"Ray ends while it asks the head: {line}"


def nodes() -> list[Node]:
    """The nodes that are up, the driver's first."""
    here = ray.get_runtime_context().get_node_id()
    up = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    up.sort(key=lambda node: (node["NodeID"] != here, node["NodeManagerAddress"]))
    found = []
    for node in up:
        cpus, gpus = (int(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU"))
        found.append(Node(node["NodeID"], node["NodeManagerAddress"], cpus, gpus))
    return found


def versions() -> Versions:
    """Versions of Python, of Ray and of all that decides a trial's numbers, in this process."""
    return (("python", platform.python_version()), *((n, _version(n)) for n in _COMPARED))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def version_fault(node: str, wanted: Versions, found: Versions) -> str | None:
    """Describe which versions a node lacks; None if it has all of them."""
    has = dict(found)
    apart = [f"{n} {has.get(n)} where the driver has {v}" for n, v in wanted if has.get(n) != v]
    return f"node {node} has {', '.join(apart)}: install constraints.txt there" if apart else None


def check_versions(wanted: Versions) -> None:
    """Raise `NodeError` if this node has others; without a cluster, none are wanted."""
    if wanted and (why := version_fault(own_address(), wanted, versions())):
        raise NodeError(why)


def settle_worker(wanted: Versions) -> torch.device:
    """Set this worker process up and return its device; a second call does no harm.

    Raises `NodeError` if its node, which may have joined late, has other libraries.
    """
    check_versions(wanted)
    keep_freed_memory()
    # A place is one core at most. Job scripts set OMP_NUM_THREADS to all cores of the job: workers
    # would wait for each other, and round sums in other ways than a replay.
    torch.set_num_threads(1)
    return find_device() if ray.get_gpu_ids() and gpus_are_real() else CPU


def own_gpu() -> str | None:
    """The GPU that Ray has given this worker, as the machine's driver calls it."""
    ids = ray.get_gpu_ids()
    return str(ids[0]) if ids else None


def own_address() -> str:
    """The address by which the cluster knows this node."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def gpus_are_real() -> bool:
    """Whether what Ray calls a GPU is one."""
    return not os.environ.get(LOGICAL)


def on_each(
    task: Callable[..., Value], among: list[Node], *given: Any, timeout_s: float = PATIENCE_S
) -> dict[Node, Value | NodeFault]:
    """Run a function on each node at the same time; return its value, or why there is none."""
    # Each runs in a process of its own, which ends with it and keeps no GPU memory.
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
    except Exception as error:  # Any error of the function or of its node.
        return NodeFault(why_failed(error))
    return value
