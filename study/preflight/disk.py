"""Whether the disks have room for what a study will write."""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from study.cluster.folders import folder_faults, nearest
from study.config.settings import Settings
from study.config.uris import sqlite_file
from study.search.choosing import REPEATS
from tl_core.data.caching.tables import bytes_kept
from tl_core.data.image_entries import image_entry
from tl_core.data.sources import Source
from tl_core.errors import Fault
from tl_core.inputs.features import feature_entry
from tl_core.inputs.prefix import activation_entry, cut_backbone
from tl_core.models.backbones import Backbone
from tl_core.text import pluralize
from tl_core.training.setup import needs_features

_OWN_FILES = 16 * 10**6
"""Bytes of ledger, tables and report; 64 trials take 4 MB."""
_STORE = 4 * 10**6
"""Bytes of a new store: 1 MB of empty tables, SQLite's journal, and 12 kB for each trial."""
_STATES = 3
"""Numbers in a checkpoint per parameter: its value and Adam's two moments."""


@dataclass(frozen=True)
class Need:
    """Data that a study will write."""

    flag: str
    """The setting that names the folder."""
    folder: Path
    what: str
    size: int
    """Bytes."""
    or_else: str = ""
    """How to need less, if there is a way."""


def disk_faults(
    settings: Settings, source: Source, network: Backbone | None, at_once: int
) -> list[Fault]:
    """Why cache, output folder or store can't take what is still to be written.

    Args:
        settings: of the study.
        source: its images, which need not be decoded yet.
        network: its backbone; what that decides is left out if it is None.
        at_once: networks that learn at the same time.
    """
    cache = list(cache_needs(settings, source, network))
    # A complete cache may be read-only.
    faults = folder_faults("--cache", settings.cache) if cache else []
    needs = [*cache, *out_needs(settings, network, at_once), *store_needs(settings)]
    return faults + room_faults(needs)


def cache_needs(settings: Settings, source: Source, network: Backbone | None) -> Iterator[Need]:
    """Yield the needs of the cache: decoded images, and features if `network` is known."""
    s, n = settings, len(source.ids)
    images = image_entry(source, s.image_size, s.cache, s.resize)
    if not images.exists():
        size = n * 3 * s.image_size**2 - bytes_kept(images)
        yield Need("--cache", s.cache, "decoded images", max(0, size), "a smaller --image-size")
    if network is not None and any(needs_features(mode) for mode in s.mode):
        size = sum(lacking_features(settings, images.name, network, n))
        if size:
            yield Need("--cache", s.cache, "features", size)
    if network is not None and "partial" in s.mode:
        size = sum(lacking_activations(settings, images.name, network, n))
        if size:
            yield Need("--cache", s.cache, "activations", size, "a smaller --unfreeze")


def lacking_features(settings: Settings, images: str, network: Backbone, n: int) -> Iterator[int]:
    """Yield the bytes of each table of `n` images' features that the cache lacks."""
    s, size = settings, n * network.n_features * 4  # float32
    if s.weights == "none":  # Each seed has its own random network.
        yield size * networks(s) * (3 if s.hflip else 1)
        return
    plain, both = (feature_entry(images, network, s.cache, hflip) for hflip in (False, True))
    if s.hflip and both.exists():
        return
    if not plain.exists():
        yield max(0, size - bytes_kept(plain))
    if s.hflip:  # It starts with a copy of the plain ones.
        yield max(0, 2 * size - bytes_kept(both))


def networks(s: Settings) -> int:
    """Random networks whose features are needed: a frozen trial of several seeds has one."""
    if s.debug or not s.confirm:
        return 1
    learning = any(map(needs_features, s.networks))
    repeats = REPEATS if learning else int("freeze" in s.mode)
    return 1 + repeats + s.confirm_seeds


def lacking_activations(
    settings: Settings, images: str, network: Backbone, n: int
) -> Iterator[int]:
    """Yield the bytes of `n` images' activations that the cache lacks, for each cut and view."""
    s = settings
    for unfreeze in s.unfreeze:
        prefix, _ = cut_backbone(network, unfreeze, s.image_size)
        size = n * prefix.nbytes
        for mirrored in (False, True) if s.hflip else (False,):
            if s.weights == "none":  # Each seed has its own random network.
                yield size * networks(s)
                continue
            entry = activation_entry(images, prefix, s.cache, mirrored)
            if not entry.exists():
                yield max(0, size - bytes_kept(entry))


def out_needs(settings: Settings, network: Backbone | None, at_once: int) -> Iterator[Need]:
    """Yield the needs of the study's own folder."""
    s = settings
    yield Need("--out", s.out, "the study's own files", _OWN_FILES)
    if network is None or s.debug:
        return
    size = sum(value.nbytes for value in network.network.state_dict().values())
    yield Need("--out", s.out, "the winner", size)
    trials = min(s.trials, at_once)
    if trials and not s.storage:
        # Twice: a checkpoint is written before it replaces the last one.
        what = f"checkpoints of {pluralize(trials, 'trial')}"
        # A resumed study has some already.
        held = sum(file.stat().st_size for file in (s.out / str(s.name)).glob("checkpoints/*"))
        yield Need("--out", s.out, what, max(0, 2 * _STATES * size * trials - held))


def store_needs(settings: Settings) -> Iterator[Need]:
    """Yield the need of MLflow's SQLite file, which tries a full disk again for minutes."""
    path = None if settings.offline else sqlite_file(settings.tracking_uri)
    if path is not None:
        yield Need("--tracking-uri", path.absolute().parent, "MLflow's runs", _STORE)


def room_faults(needs: Iterable[Need]) -> list[Fault]:
    """Return a fault for each file system with too little room."""
    disks = defaultdict(list)
    for need in needs:
        disks[nearest(need.folder).stat().st_dev].append(need)
    return [fault for disk in disks.values() if (fault := _shortage(disk))]


def _shortage(needs: Sequence[Need]) -> Fault | None:
    free = shutil.disk_usage(nearest(needs[0].folder)).free
    total = sum(need.size for need in needs)
    if total <= free:
        return None
    first, *others = dict.fromkeys((need.flag, need.folder) for need in needs)
    also = "".join(f" and {flag} {folder}" for flag, folder in others)
    parts = ", ".join(f"{decimal(need.size)} for {need.what}" for need in needs)
    ways_out = dict.fromkeys(f"another {need.flag}" for need in needs)
    ways_out |= dict.fromkeys(need.or_else for need in needs if need.or_else)
    why = f"the disk has {decimal(free)} free, {decimal(total)} are needed ({parts})"
    return Fault(first[0], f"{first[1]}{also}: {why}; use {' or '.join(ways_out)}")
