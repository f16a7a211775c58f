"""How many networks that learn fit into the memory of this machine, or of its container."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from rich.filesize import decimal
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from study.cluster.resources import Resources
from study.config.settings import Settings
from study.preflight.setup import Setup
from tl_core.cgroups import OWN, Cgroups
from tl_core.config import CACHED
from tl_core.device import is_gpu
from tl_core.errors import Fault
from tl_core.models.backbones import Backbone
from tl_core.models.stages import split

_WORKER = 650 * 10**6
"""Bytes of a worker that has no network yet: Python, torch and Ray (`docs/reliability.md`)."""
_OTHERS = 900 * 10**6
"""Bytes that the study's other processes take: those of Ray, and MLflow's."""
_MLFLOW = 300 * 10**6
"""MLflow's part of them."""
_STATES = 4
"""Numbers a parameter: its value, its gradient and Adam's two moments."""
_CHECKPOINT = 2 * 3
"""Numbers a parameter of a checkpoint, its value and Adam's two moments: the copy in the memory of
the host, and what is written of it."""
_PASS = 300 * 10**6
"""Bytes of a pass through a frozen network, whose batches are small."""
_SLACK = 1.15
"""What glibc takes beyond that: 10 to 16 % with ResNet18 and EfficientNet-Lite0, 64 to 128 px."""
WAYS_OUT = "a smaller --batch-size, --image-size or --backbone, or --mode freeze probe"


def free_memory(groups: Cgroups = OWN, about: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that this process and its children can still take; None if the system does not say."""
    found = [] if (left := groups.memory_left()) is None else [left]
    if about.is_file():
        lines = (line.split() for line in about.read_text(encoding="utf-8").splitlines())
        found += [int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:"]
    return min(found, default=None)


def check_memory(setup: Setup) -> Iterator[Fault]:
    """Networks that learn fit into the memory; sets how many do at once if it bounds them."""
    s, resources, free = setup.settings, setup.resources, free_memory()
    if setup.network is None or resources is None or resources.joined or free is None:
        return
    if s.debug or not s.networks:
        return
    try:
        each = network_bytes(setup.network, s, on_gpu=is_gpu(resources.device(setup.gpus)))
    except (RuntimeError, NotImplementedError) as error:  # Some networks compute with numbers.
        why = f"{type(error).__name__} on tensors without numbers"
        setup.notes += (f"memory a network: not known ({why}); --jobs N bounds how many learn",)
        return
    places = setup.capacity.full
    if free < each and s.jobs is None:
        why = f"takes about {decimal(each)} in mode {' '.join(s.networks)}"
        limit = f"{decimal(free)} of memory are free{_of_limit()}"
        yield Fault(
            "--backbone", f"{s.backbone} {why}, {limit}; use {WAYS_OUT}, or --jobs 1 to try"
        )
        return
    held = _held(free, each)
    if held < places or free < each:
        room = f"{decimal(free)} of memory{_of_limit()}, about {decimal(each)} a network"
        if s.jobs is None:
            setup.held = held
            setup.notes += (
                f"networks at once: {held} of {places}, by {room}; --jobs N asks others",
            )
        else:
            setup.notes += (f"--jobs {s.jobs} may be too many: {room}",)


def extractors(network: nn.Module, cores: int) -> int:
    """How many of so many workers, each with a frozen network, the memory of this machine holds."""
    free = free_memory()
    size = _WORKER + _PASS + 4 * sum(p.numel() for p in network.parameters())
    return cores if free is None else min(cores, _held(free, size))


def feature_makers(settings: Settings, resources: Resources, network: nn.Module) -> int:
    """How many cores run a frozen network at once: as threads of the driver, or as workers."""
    cpus = resources.cpus
    return cpus if resources.joined else extractors(network, min(cpus, settings.jobs or cpus))


def _held(free: int, each: int) -> int:
    """How many workers of so many bytes fit beside the study's other processes; one in any case."""
    # MLflow's process is there already: what it has is missing from `free`. A program that calls
    # the study's may have other ones.
    return max(1, (free - (_OTHERS - min(_MLFLOW, taken()))) // each)


def taken(own: Path = Path("/proc/self")) -> int:
    """Bytes that the processes which this one has started have allocated; 0 if nobody says."""
    children = " ".join(map(_content, own.glob("task/*/children")))  # Each thread has its own.
    abouts = (_content(own.parent / child / "status") for child in children.split())
    lines = (line.split() for about in abouts for line in about.splitlines())
    return sum(1024 * int(words[1]) for words in lines if words[0] == "RssAnon:")


def _content(file: Path) -> str:
    """What the kernel says of a thread or process; nothing if it has just ended."""
    with suppress(OSError):
        return file.read_text(encoding="utf-8")
    return ""


def _of_limit() -> str:
    limit = OWN.memory_limit()
    return "" if limit is None else f" (this container or job may take {decimal(limit)})"


class MemoryKills:
    """Tells workers that were killed for want of memory from others that died."""

    def __init__(self, groups: Cgroups = OWN) -> None:
        self._groups, self._killed = groups, groups.killed()

    def explain(self, details: str) -> str | None:
        """Say that a worker was out of memory, and the way out; None if it died of something else.

        `details` are Ray's words. Ray ends workers itself when a machine is nearly full; else the
        kernel does, and counts it.
        """
        before, self._killed = self._killed, self._groups.killed()
        if self._killed == before and "low on memory" not in details:
            return None
        limit = self._groups.memory_limit()
        where = "" if limit is None else f" (limit {decimal(limit)})"
        return f"worker killed: out of memory{where}; use --jobs with fewer at once, or {WAYS_OUT}"


def network_bytes(backbone: Backbone, settings: Settings, on_gpu: bool = False) -> int:
    """Bytes of a worker whose network learns; on a GPU, those of the machine's own memory.

    What a step keeps for the way back is counted, not computed: torch's `meta` tensors have sizes
    and no numbers.
    """
    size, s = settings.image_size, settings
    network = copy.deepcopy(backbone.network).to("meta")
    others = s.aux_images == "all" and s.aux_weight != (0.0,)
    images = torch.empty(s.batch_size * (2 if others else 1), 3, size, size, device="meta")
    if {*s.mode} <= {*CACHED}:
        lower, network = split(network, max(s.unfreeze))
        with torch.no_grad():
            images = lower(images)
    n_bytes = 4 * sum(p.numel() for p in network.parameters())
    if on_gpu:
        return 3 * _WORKER + _CHECKPOINT * n_bytes  # CUDA's libraries take most of it.
    kept = int(_SLACK * _kept_bytes(network, images))
    return _WORKER + (_STATES + _CHECKPOINT) * n_bytes + kept


def _kept_bytes(network: nn.Module, inputs: Tensor) -> int:
    """Bytes that a step keeps between its way there and back, apart from the parameters."""
    own = {_storage(parameter) for parameter in network.parameters()}
    kept: dict[StorageWeakRef, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if (storage := _storage(tensor)) not in own:
            kept[storage] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = network.eval()(inputs)
    del result  # Until here it has kept all of them.
    return sum(kept.values())


def _storage(tensor: Tensor) -> StorageWeakRef:
    """What views of the same memory share."""
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
