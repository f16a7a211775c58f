"""The checks that need torch, a cluster or the network; and the list of all checks."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from study.cluster.ray_environment import set_ray_environment
from study.cluster.resources import (
    DETERMINISTIC_UNREAD,
    SHARE_UNREAD,
    check_compiler,
    gpu_faults,
    gpus_of,
    this_machine,
)
from study.cluster.stores import check_storage
from study.config.settings import Settings
from study.config.uris import is_database, is_server
from study.preflight.checks import PET, QUICK, Check, set_source
from study.preflight.disk import disk_faults
from study.preflight.gpu_check import ask_gpus, leave_out_sick_gpus, visible_gpus
from study.preflight.gpu_share import check_share
from study.preflight.memory import check_memory
from study.preflight.setup import Bad, Setup, Undecoded
from study.preflight.system import check_limits
from study.tracking.client import check_server
from study.tracking.database import check_database
from tl_core.config import Resize
from tl_core.data.datasets import ImageSet
from tl_core.data.decode_source import unreadable
from tl_core.data.image_entries import image_entry, images_kept
from tl_core.data.reading.kinds import format_bad
from tl_core.data.sources import Source, has_oxford_pet
from tl_core.device import nvidia_gpus
from tl_core.errors import Fault, InputError
from tl_core.models.backbones import (
    Backbone,
    batch_faults,
    check_backbone_name,
    has_default_weights,
    load_backbone,
)
from tl_core.models.stages import check_cuttable, split
from tl_core.runtime import usable_cpus
from tl_core.training.setup import needs_pretrained, pretrained

_LONG_S = 1.5
"""Seconds after which no further images are tried: the speed of decoding is known."""


def check_tracking(setup: Setup) -> Iterable[Fault]:
    """An MLflow server, or a database's, answers, and can keep the runs."""
    s = setup.settings
    if is_server(s.tracking_uri) and not s.offline:
        check_server(s.tracking_uri, s.experiment)
    elif is_database(s.tracking_uri) and not s.offline:
        check_database(s.tracking_uri, s.experiment)
    return []


def check_bucket(setup: Setup) -> Iterable[Fault]:
    """The study's bucket can be written from here, and has no other study's files."""
    if setup.settings.storage:
        check_storage(setup.settings, new=not setup.state)
    return []


def check_machines(setup: Setup) -> Iterator[Fault]:
    """The cluster can be joined, its nodes can work, and there are enough GPUs that work."""
    if setup.settings.address == "local":
        wanted = setup.settings.gpus != 0
        setup.resources = this_machine(leave_out_sick_gpus() if wanted else ())
    else:
        set_ray_environment(own=False)
        # They import Ray, which takes seconds; a single trial does not need it.
        from study.cluster.join import PATIENCE_S, join
        from study.cluster.node_report import FETCHING_S, report_nodes, resources_of

        join(setup.settings.address)
        setup.nodes = report_nodes(setup.settings, PATIENCE_S if setup.doctor else FETCHING_S)
        setup.resources = resources_of(setup.settings, setup.nodes)
    yield from gpu_faults(setup.settings, setup.resources, new=not setup.state)
    setup.gpus = gpus_of(setup.settings, setup.resources)
    if setup.state and setup.settings.deterministic and not setup.gpus:
        setup.notes += (f"--deterministic {DETERMINISTIC_UNREAD}",)
    if setup.state and (shared := setup.settings.trials_per_gpu) != 1 and not setup.gpus:
        setup.notes += (f"--trials-per-gpu {shared} {SHARE_UNREAD}",)


def report_this_machine(setup: Setup) -> Iterable[Fault]:
    """Report this machine as if it were a node of a cluster."""
    if setup.settings.address == "local":
        from study.cluster.node_report import this_node  # Ray.

        # Not in this process: it would keep a context on each GPU, which takes its memory.
        gpus = ask_gpus(visible_gpus(nvidia_gpus()))
        asked = tuple((gpu.free, gpu.total) for gpu in gpus) or None
        setup.nodes = [this_node(setup.settings, asked)]
    return []


def check_backbone(setup: Setup) -> Iterator[Fault]:
    """There is such a network, with weights, and it takes these images and batches."""
    there = setup.resources or this_machine()
    if setup.settings.precision == "auto":
        setup.change(precision=there.precisions[there.device(setup.gpus).type])
        setup.auto_precision = True
    s = setup.settings
    network = load_network(s)
    if "partial" in s.mode or s.layer_decay < 1:
        check_cuttable(s.backbone)
    for n_stages in s.unfreeze if "partial" in s.mode else ():
        split(network.network, n_stages)
    setup.network = network
    if any(s.batchnorm_of(mode) == "train" for mode in s.mode):
        yield from batch_faults(network, s.image_size, s.batch_size)


def load_network(settings: Settings) -> Backbone:
    """The network that a study begins with.

    Raises `InputError` if it is unknown, or its weights are unavailable.
    """
    check_backbone_name(settings.backbone)
    needing = [mode for mode in settings.mode if needs_pretrained(mode)]
    if not needing:
        return load_backbone(settings.backbone, "none", settings.image_size)
    if settings.weights == "default" and not has_default_weights(settings.backbone):
        why = f"{settings.backbone} has no pretrained weights"
        ways_out = "use --mode scratch, --weights FILE, or --weights none for random ones"
        raise InputError([Fault("--mode", f"{' '.join(needing)}: {why}; {ways_out}")])
    return frozen_backbone(settings)


def frozen_backbone(settings: Settings) -> Backbone:
    """The pretrained network of a study whose precision is chosen."""
    assert settings.precision != "auto"
    return pretrained(settings.backbone, settings.weights, settings.image_size, settings.precision)


def check_compile(setup: Setup) -> Iterable[Fault]:
    """Networks can be compiled here; a cluster's nodes were asked by `check_machines`."""
    if setup.settings.compile and setup.resources and not setup.resources.joined:
        check_compiler(setup.resources.device(setup.gpus), setup.settings.cache)
    return []


def check_pet(setup: Setup) -> Iterator[Fault]:
    """Oxford-IIIT Pet is in the cache, or can be downloaded if there are no faults."""
    s = setup.settings
    waits = setup.faults or setup.doctor
    if setup.faults_by_name.get("data"):  # The source would tell them again.
        return
    if s.data == PET and not (waits and not has_oxford_pet(s.cache)):
        yield from set_source(setup)


def check_disk(setup: Setup) -> Iterable[Fault]:
    """The disks have room for what is to be written."""
    s, source = setup.settings, setup.source
    at_once = setup.capacity.full if setup.resources and s.networks else 0
    return disk_faults(s, source, setup.network, at_once) if source else []


def check_decoding(setup: Setup) -> Iterator[Fault]:
    """Some of the images can be decoded; a study decodes all when it starts."""
    s = setup.settings
    if setup.source:
        setup.undecoded, setup.unreadable = try_decoding(
            setup.source, s.image_size, s.cache, s.resize
        )
        if setup.unreadable and not s.skip_bad_images:
            for line in format_bad(setup.unreadable):
                yield Fault(None, line)


def try_decoding(
    source: Source, size: int, cache: Path, resize: Resize = "squash"
) -> tuple[Undecoded | None, Bad]:
    """Return what is still to be decoded, None if the cache has it, and which images can't be.

    It tries images from all over the set, as many as it can in a short time.
    """
    entry = image_entry(source, size, cache, resize)
    if entry.exists():
        left_out = {name for name, _ in ImageSet.open(entry).bad}
        again = [i for i, name in enumerate(source.ids) if name in left_out]
        return None, unreadable(source, size, again)
    n = len(source.ids)
    there = images_kept(source, size, cache, resize)
    order = np.random.default_rng(0).permutation(n).tolist()
    bad = [*unreadable(source, size, order[:1])]  # Pillow prepares its decoders for the first one.
    start, done, at_once = time.perf_counter(), 1, 4 * usable_cpus()
    while done < len(order) and time.perf_counter() - start < _LONG_S:
        bad += unreadable(source, size, order[done : done + at_once])
        done = min(len(order), done + at_once)
    return Undecoded(n - there, (done - 1) / (time.perf_counter() - start), done), bad


def check_bucket_of_nodes(setup: Setup) -> Iterator[Fault]:
    """The study's bucket can be written from every node."""
    s = setup.settings
    if not (s.storage and s.address != "local" and setup.nodes):
        return
    from study.cluster.join import NodeFault, on_each  # Ray.
    from study.cluster.node_report import fault_of

    found = on_each(fault_of, [seen.node for seen in setup.nodes], check_storage, s)
    whys = {node: why.why if isinstance(why, NodeFault) else why for node, why in found.items()}
    setup.unwritable = {node: why for node, why in whys.items() if why}
    for node, why in setup.unwritable.items():
        yield Fault("--address", f"{s.address}: node {node.address}: {why}")


CHECKS = (
    *QUICK,
    Check("tracking", check_tracking),
    Check("storage", check_bucket),
    Check("machines", check_machines),
    Check("machines", report_this_machine, doctor_only=True),
    Check("storage", check_bucket_of_nodes, doctor_only=True),
    Check("backbone", check_backbone),
    Check("backbone", check_compile),
    Check("machines", check_share),
    Check("machines", check_memory),
    Check("machines", check_limits),
    Check("data", check_pet),
    Check("data", check_decoding, doctor_only=True),
    Check("folder", check_disk),
)
"""In the order in which they run; a study stops at faults of `QUICK`, or at the end."""
