"""Everything that can be wrong with a set-up, looked at in turn, whatever was found before."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.filesize import decimal

from study.cluster.capacity import Capacity
from study.cluster.devices import check_compiler, gpu_faults, gpu_notes, gpus_of
from study.cluster.folders import store_faults
from study.cluster.join import Node, NodeFault, join, on_each
from study.cluster.node_report import Seen, machines_of, survey, this_node
from study.cluster.resources import Resources, this_machine
from study.cluster.stores import bucket_of, check_storage, check_unused
from study.config.settings import Settings
from study.config.uris import is_server, without_credentials
from study.preflight.backbone import check_backbone
from study.preflight.checks import attempt, look_at_data, look_at_folder
from study.preflight.decode_speed import Pictures, try_pictures
from study.preflight.disk import cache_needs, check_room, lacking_views, out_needs
from study.preflight.prepare import fit_to, settings_of, settled
from study.tracking.client import check_server
from tl_core.data.datasets import format_bad, image_entry
from tl_core.data.sources import Source, has_oxford_pet
from tl_core.errors import Fault, InputError
from tl_core.models.backbones import Backbone, batch_faults
from tl_core.text import pluralize
from tl_core.training.train import needs_features

_PET = "oxford-pet"


@dataclass(frozen=True)
class Check:
    """Something that was looked at."""

    what: str
    told: str
    """What was found."""
    faults: tuple[Fault, ...] = ()


@dataclass
class Checkup:
    """What is known of a set-up so far."""

    settings: Settings
    fit_ratios: bool
    """Whether ratios may be left out."""
    checks: list[Check] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    """The nodes, or this machine."""
    stored: dict[Node, str] = field(default_factory=dict)
    """By node, why the study's bucket can't be written from there."""
    resources: Resources | None = None
    """None if no study can run on them."""
    gpus: int = 0
    source: Source | None = None
    network: Backbone | None = None
    pictures: Pictures | None = None
    """None if the cache has all of them."""

    @property
    def faults(self) -> list[Fault]:
        """Why the study can't start."""
        return [fault for check in self.checks for fault in check.faults]

    @property
    def capacity(self) -> Capacity:
        """The study's places for trials."""
        there = self.resources or this_machine()
        return Capacity.of(self.settings, self.gpus, there.cpus_for(self.gpus))

    @property
    def views(self) -> int:
        """Images and mirror images whose features the cache lacks."""
        s = self.settings
        if not (self.source and self.network and any(map(needs_features, s.mode))):
            return 0
        images = image_entry(self.source, s.image_size, s.cache).name
        return len(self.source.ids) * lacking_views(s, images, self.network)

    def tell(self, what: str, told: str, faults: Iterable[Fault] = ()) -> None:
        """Add what was found."""
        self.checks.append(Check(what, told, tuple(faults)))


def examine(given: Mapping[str, Any], doing: Callable[[str], None]) -> Checkup:
    """Look at all that a study takes; what it does is told to `doing`."""
    settings, faults, fit_ratios = settings_of(given)
    c = Checkup(settings, fit_ratios)
    modes, ratios = " ".join(settings.mode), len(settings.train_ratio)
    asked = (
        f"{pluralize(settings.trials, 'trial')} of {modes} at {pluralize(ratios, 'train ratio')}"
    )
    c.tell("settings", "one trial, without Ray" if settings.debug else asked, faults)
    for what, look in _LOOKS.items():
        doing(f"looking at the {what}")
        look(c)
    return c


def _look_at_machines(c: Checkup) -> None:
    faults: list[Fault] = []
    if c.settings.address == "local":
        c.seen, c.resources = [this_node(c.settings)], this_machine()
    else:
        attempt(lambda: _join(c), faults)
    there = c.resources or this_machine()
    if c.resources:
        faults += gpu_faults(c.settings, c.resources)
        c.gpus = gpus_of(c.settings, c.resources)
    c.settings = settled(c.settings, there.precisions[there.device(c.gpus).type])
    notes = gpu_notes(c.gpus, c.resources) if c.resources else []
    c.tell("machines", "; ".join([f"{there.told(c.gpus)}, {c.settings.precision}", *notes]), faults)


def _join(c: Checkup) -> None:
    join(c.settings.address)
    c.seen = survey(c.settings)
    c.resources = machines_of(c.settings, c.seen)


def _look_at_data(c: Checkup) -> None:
    s, faults = c.settings, list[Fault]()
    if s.data == _PET and not has_oxford_pet(s.cache):
        c.tell("data", f"{_PET} is to be downloaded into {s.cache} when the study starts")
        return
    c.source = look_at_data(s, faults)
    if c.source is None:
        c.tell("data", s.data, faults)
        return
    told = [_counted_images(c.source)]
    c.settings = fit_to(s, c.source, c.fit_ratios, faults, told)
    c.pictures, bad = try_pictures(c.source, s.image_size, s.cache)
    told += [] if c.pictures else ["decoded already"]
    told += [f"{pluralize(len(bad), 'unreadable file')} among those tried"] if bad else []
    c.tell("data", "; ".join(told), [*faults, *([] if s.skip_bad_images else _unread(bad))])


def _counted_images(source: Source) -> str:
    n, k = len(source.ids), len(source.classes)
    return f"{source.name}: {pluralize(n, 'image')} of {pluralize(k, 'class', 'classes')}"


def _unread(bad: list[tuple[str, str]]) -> list[Fault]:
    return [Fault(None, line) for line in format_bad(bad)] if bad else []


def _look_at_backbone(c: Checkup) -> None:
    s, faults = c.settings, list[Fault]()
    c.network = attempt(lambda: check_backbone(s), faults)
    told = s.backbone
    if c.network:
        told += f": {c.network.n_features:,} features, weights {c.network.weights_id}"
        if s.mode != ("freeze",):
            faults += [Fault(None, f) for f in batch_faults(c.network, s.image_size, s.batch_size)]
    if s.compile and c.resources and not c.resources.joined:
        device = c.resources.device(c.gpus)
        attempt(lambda: check_compiler(device), faults)
    c.tell("backbone", told, faults)


def _look_at_folder(c: Checkup) -> None:
    s, faults, source = c.settings, list[Fault](), c.source
    look_at_folder(s, faults)
    told = f"{s.out}/{s.name}"
    if source:
        attempt(lambda: check_room(s, source, c.network, c.capacity.full), faults)
        cache = sum(need.size for need in cache_needs(s, source, c.network))
        out = sum(need.size for need in out_needs(s, c.network, c.capacity.full))
        told += f": {decimal(out)} to be written, and {decimal(cache)} into {s.cache}"
    c.tell("folder", told, faults)


def _look_at_tracking(c: Checkup) -> None:
    s, faults = c.settings, list[Fault]()
    told = without_credentials(s.tracking_uri)
    if s.offline:
        told = "off: nothing is sent to MLflow"
    elif is_server(s.tracking_uri):
        attempt(lambda: check_server(s.tracking_uri), faults)
    elif s.tracking_uri.startswith("sqlite:///"):
        faults += store_faults(s.tracking_uri)
    else:
        told += ": asked when the study starts"
    c.tell("tracking", told, faults)


def _look_at_storage(c: Checkup) -> None:
    s, faults = c.settings, list[Fault]()
    if not s.storage:
        over_ray = "checkpoints go over Ray into the study's folder on the driver's machine"
        joined = s.address != "local"
        c.tell("storage", over_ray if joined else "checkpoints go into the study's folder")
        return
    attempt(lambda: check_storage(s), faults)
    reached = not faults
    if s.address == "local":
        c.stored = {seen.node: str(why) for seen in c.seen for why in faults}
    elif c.seen:
        c.stored = _unstored(c)
        faults += [
            Fault("--address", f"{s.address}: node {n.address}: {why}")
            for n, why in c.stored.items()
        ]
    if reached:
        attempt(lambda: check_unused(s), faults)
    c.tell("storage", f"{bucket_of(s)}: a file written and removed", faults)


def _unstored(c: Checkup) -> dict[Node, str]:
    """By node, why it can't write the bucket."""
    found = on_each(storage_fault, [seen.node for seen in c.seen], c.settings)
    told = {n: why.why if isinstance(why, NodeFault) else why for n, why in found.items()}
    return {n: why for n, why in told.items() if why}


def storage_fault(settings: Settings) -> str | None:
    """Why this node can't write the study's bucket."""
    try:
        check_storage(settings)
    except InputError as error:
        return str(error.faults[0])
    return None


_LOOKS: dict[str, Callable[[Checkup], None]] = {
    "machines": _look_at_machines,
    "data": _look_at_data,
    "backbone": _look_at_backbone,
    "folder": _look_at_folder,
    "tracking": _look_at_tracking,
    "storage": _look_at_storage,
}
