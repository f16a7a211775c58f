"""Everything that can be found wrong before any training is found here, and told together."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from study.cluster.capacity import Capacity
from study.cluster.devices import check_compiler, gpu_faults, gpu_notes, gpus_of, precision_notes
from study.cluster.ray_environment import set_ray_environment
from study.cluster.resources import Resources, this_machine
from study.cluster.stores import check_storage
from study.config.settings import Settings
from study.config.uris import is_server
from study.config.validate import resolve
from study.preflight.backbone import check_backbone
from study.preflight.checks import attempt, look_at_data, look_at_places, told
from study.preflight.disk import check_room
from study.records.ledger import StudyState
from study.records.trial_record import ENDED, TrialRecord
from study.search.confirmation import max_confirm_trials
from study.tracking.client import check_server
from tl_core.config import Precision
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import Source, find_source
from tl_core.data.splits import split_faults
from tl_core.errors import Fault, InputError
from tl_core.files import user_path
from tl_core.models.backbones import batch_faults
from tl_core.text import pluralize


@dataclass(frozen=True)
class Prepared:
    """A study that can start."""

    settings: Settings
    """With its name filled in."""
    images: ImageSet
    folder: Path
    """`OUT/NAME`; made when the study starts, unless it goes on."""
    gpus: int
    resources: Resources
    notes: tuple[str, ...] = ()
    """What was decided on the user's behalf."""
    state: StudyState | None = None
    """What happened to it so far, if it goes on with what is in the folder."""

    @property
    def capacity(self) -> Capacity:
        """Its places for trials."""
        return Capacity.of(self.settings, self.gpus, self.resources.cpus_for(self.gpus))

    @property
    def before(self) -> list[TrialRecord]:
        """Its trials so far, by number."""
        return self.state.trials if self.state else []

    @property
    def more(self) -> int:
        """Trials that the search is to run."""
        ended = sum(r.kind == "search" and r.status in ENDED for r in self.before)
        return self.settings.trials - ended

    def introduce(self) -> str:
        """One line on what is about to run."""
        s, images = self.settings, self.images
        where = self.resources.told(min(self.gpus, 1) if s.debug else self.gpus)
        return (
            f"{s.name}: {self._trials()} of {s.backbone} on {images.name}, "
            f"{len(images.labels)} images of {len(images.classes)} classes "
            f"at {s.image_size} px, in {s.precision} on {where}{self._then()}"
        )

    def _then(self) -> str:
        if self.settings.debug or not self.settings.confirm:
            return ""
        most = pluralize(max_confirm_trials(self.settings), "trial")
        return f"; then up to {most} on fresh seeds, to confirm the best of each cell"

    def _trials(self) -> str:
        if self.settings.debug:
            return "one trial"
        if self.state is None:
            return pluralize(self.more, "trial")
        return pluralize(self.more, "more trial") if self.more else "what is left to confirm"


def prepare(given: Mapping[str, Any]) -> Prepared:
    """Check settings, folder, GPUs, backbone, weights, data and splits; decode the images.

    Raises `InputError` with every fault.
    """
    settings, faults, fit_ratios = settings_of(given)
    return check(settings, faults, new=True, fit_ratios=fit_ratios)


def settings_of(given: Mapping[str, Any]) -> tuple[Settings, list[Fault], bool]:
    """Return a new study's settings, what is wrong with them, and whether ratios may be left out.

    That is so if they are the default ones.
    """
    settings, faults = resolve(given)
    # A ratio at fault was replaced by the default ones, of which nothing is to be told.
    chosen = "train_ratio" in given and not any(f.flag == "--train-ratio" for f in faults)
    return _decide(settings), faults, not chosen


def check(
    settings: Settings, faults: list[Fault], new: bool = False, fit_ratios: bool = False
) -> Prepared:
    """Check what there is against complete settings, and decode the images if nothing is wrong.

    Args:
        settings: as they are to be used.
        faults: those found already.
        new: the study has no folder yet.
        fit_ratios: leave out ratios that the data are too few for; else they are faults.

    Raises:
        InputError: with every fault; where the server is missing, without those that take longer
            to find, and with those that only decoding finds if there are no others.
    """
    look_at_places(settings, faults, new)
    missing: list[Fault] = []
    resources = attempt(lambda: _machines(settings), missing)
    if settings.storage:
        attempt(lambda: check_storage(settings, new), missing)
    if is_server(settings.tracking_uri) and not settings.offline:
        attempt(lambda: check_server(settings.tracking_uri), missing)
    if missing or resources is None:  # What follows may take minutes.
        raise InputError(faults + missing)
    faults += gpu_faults(settings, resources)
    gpus = gpus_of(settings, resources)
    device = resources.device(gpus)
    best = resources.precisions[device.type]
    settings = settled(settings, best)
    source = look_at_data(settings, faults)
    network = attempt(lambda: check_backbone(settings), faults)
    if network and settings.mode != ("freeze",):
        faults += [
            Fault(None, f) for f in batch_faults(network, settings.image_size, settings.batch_size)
        ]
    if settings.compile and not resources.joined:
        attempt(lambda: check_compiler(device), faults)
    if source:
        at_once = Capacity.of(settings, gpus, resources.cpus_for(gpus)).full
        attempt(lambda: check_room(settings, source, network, at_once), faults)
        fit_to(settings, source, fit_ratios, faults, [])
    if faults or source is None:
        raise InputError(faults)
    images = _decoded(settings, source)
    notes = gpu_notes(gpus, resources) + precision_notes(settings, best)
    settings = fit_to(settings, images, fit_ratios, faults, notes)
    if faults:  # Too few images are left without those that can't be read.
        raise InputError(faults)
    folder = settings.out / str(settings.name)
    return Prepared(settings, images, folder, gpus, resources, (*notes, *_data_notes(images)))


def _machines(settings: Settings) -> Resources:
    """Return what there is to work with; of a cluster, once it was joined and looked at."""
    if settings.address == "local":
        return this_machine()
    set_ray_environment(own=False)
    from study.cluster.node_report import (
        join_and_look,  # Ray, for which a trial without it need not wait.
    )

    return join_and_look(settings)


def _decide(settings: Settings) -> Settings:
    """Fill in what was left to be found out."""
    found = {
        "name": settings.name or _default_name(settings),
        "weights": _absolute(settings.weights),
    }
    return settings.model_copy(update=found)


def settled(settings: Settings, best: Precision) -> Settings:
    """Choose the precision, if that was left to the hardware."""
    return settings.model_copy(update={"precision": best} if settings.precision == "auto" else {})


def _default_name(settings: Settings) -> str:
    data = (
        re.sub(r"[^\w.-]+", "-", Path(os.path.realpath(settings.data)).name).strip(".-") or "study"
    )
    what = settings.preset or ("debug" if settings.debug else "")
    return "-".join(filter(None, [data, what, time.strftime("%Y%m%d-%H%M%S")]))


def _absolute(weights: str) -> str:
    # Workers may run in another folder.
    return weights if weights in ("default", "none") else str(user_path(weights).resolve())


def load_data(settings: Settings) -> ImageSet:
    """Decode the images, or take them from the cache.

    Raises `InputError` with every fault of the data, or if the cache can't be written.
    """
    return _decoded(settings, find_source(settings.data, settings.cache))


def _decoded(settings: Settings, source: Source) -> ImageSet:
    s = settings
    try:
        return load_images(source, s.image_size, s.cache, s.skip_bad_images)
    except OSError as error:
        raise InputError([Fault("--cache", f"{s.cache}: {told(error)}")]) from error


def fit_to(
    settings: Settings, images: Source | ImageSet, fit: bool, faults: list[Fault], notes: list[str]
) -> Settings:
    """Leave out default ratios that the data are too few for; a given one is a fault instead."""
    labels = np.asarray(images.labels)
    wrong = {r: split_faults(labels, r, images.classes) for r in settings.train_ratio}
    fitting = tuple(ratio for ratio, why in wrong.items() if not why)
    if len(fitting) == len(wrong):
        return settings
    if not (fit and fitting):
        worst = max(wrong) if fit else min(wrong)
        faults += [Fault("--train-ratio", f"{worst:g}: {why}") for why in wrong[worst]]
        return settings
    left_out = " ".join(f"{ratio:g}" for ratio in wrong if ratio not in fitting)
    notes.append(f"train ratios left out, as a class would have no training image: {left_out}")
    return settings.model_copy(update={"train_ratio": fitting})


def _data_notes(images: ImageSet) -> list[str]:
    if not images.bad:
        return []
    return [f"{pluralize(len(images.bad), 'unreadable file')} left out; study.json lists them"]
