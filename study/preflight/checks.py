"""Everything that can be wrong before training, as one list of checks, the cheapest first.

Those here need neither torch, whose import takes seconds, nor the network. `torch_checks` has the
others, and the whole list.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np

from study.cluster.folders import folder_faults, store_faults
from study.config.defaults import DEFAULTS, default_trials
from study.config.program import command
from study.config.settings import Settings
from study.config.validate import aux_column_faults, cell_faults
from study.preflight.setup import Setup, data_request
from study.preflight.system import check_system
from study.records.data_changes import describe_absence
from study.records.ledger import StudyState
from study.records.study_folder import STUDY, resume_command
from study.search.choosing import later_seeds
from study.tracking.database import database_faults
from tl_core.config import BUILT_IN
from tl_core.data.datasets import ImageSet
from tl_core.data.given.aux_labels import AuxLabels, aux_faults
from tl_core.data.given.request import find_data, unread_faults
from tl_core.data.sources import Source
from tl_core.data.splits import absent_classes, far_from_ratio, split_faults, too_large
from tl_core.data.splitting.rules import NO_RULES
from tl_core.errors import Fault, InputError
from tl_core.files import is_there, user_path

DEFAULT_LARGEST = max(DEFAULTS["train_ratio"])
"""The largest default ratio: all images that are not held out, where no parts are given."""
PET = "oxford-pet"
"""The data set that is downloaded; torchvision reads it."""

_ENTRIES = ("images", "copies", "splits", "aux", "features", "activations", PET)
"""Folders of a cache."""


@dataclass(frozen=True)
class Check:
    """Something that can be wrong."""

    name: str
    """The doctor's row that shows it."""
    function: Callable[[Setup], Iterable[Fault]]
    """Adds to the set-up what it finds; returns faults, or raises `InputError`."""
    doctor_only: bool = False


def run_checks(
    setup: Setup, checks: Iterable[Check], report: Callable[[str], None] = lambda _: None
) -> None:
    """Run all checks, whatever those before have found; their faults go into `setup`."""
    for check in checks:
        if check.doctor_only and not setup.doctor:
            continue
        report(f"checking {check.name}")
        faults = setup.faults_by_name.setdefault(check.name, [])
        try:
            for fault in check.function(setup):
                faults.append(setup.name_source(fault))
        except InputError as error:
            faults += map(setup.name_source, error.faults)
        except OSError as error:  # A folder of data, or a cache, that can't be read.
            faults.append(_unreadable(error, setup.settings.cache))


def _unreadable(error: OSError, cache: Path) -> Fault:
    if _is_of_cache(error.filename, cache):
        why = f"{cache}: {format_os_error(error)}; use a folder that you can read and write"
        return Fault("--cache", why)
    return Fault(None, format_os_error(error))


def _is_of_cache(name: object, cache: Path) -> bool:
    """Whether the cache has made this file; other things may lie in its folder, such as photos."""
    if not _is_path(name):
        return False
    file = Path(os.fsdecode(name))
    if not file.is_relative_to(cache):
        return False
    entry = (*file.relative_to(cache).parts, "")[0]
    return entry in ("", *_ENTRIES) or entry.startswith("compiled-")


def _is_path(name: object) -> TypeGuard[str | bytes]:
    return isinstance(name, str | bytes)  # Of an open file it may be a number.


def format_os_error(error: OSError) -> str:
    """What a system call failed at, and why."""
    name = f"{os.fsdecode(error.filename)}: " if _is_path(error.filename) else ""
    return f"{name}{error.strerror or error}"


def check_settings(setup: Setup) -> Iterable[Fault]:
    """Settings that are wrong, or that nothing reads."""
    return setup.setting_faults


def check_folder(setup: Setup) -> Iterator[Fault]:
    """The study's own folder can be written; that of a new study is not there."""
    folder, out = setup.folder, setup.settings.out
    if not setup.state and os.path.lexists(folder):
        more = resume_command(folder, command("run"))
        goes_on = f"{more} goes on with it, or " if is_there(folder / STUDY) else ""
        why = f"{folder} exists; {goes_on}choose another name or remove it"
        yield Fault("--name", f"{folder.name}: {why}")
    yield from folder_faults("--out", folder, out)


def check_store(setup: Setup) -> Iterable[Fault]:
    """An SQLite file for MLflow can be written, and is a store of this MLflow."""
    s = setup.settings
    if s.offline:
        return []
    return store_faults(s.tracking_uri) or database_faults(s.tracking_uri, s.experiment)


def check_data(setup: Setup) -> Iterator[Fault]:
    """There is a folder of images; they are not decoded."""
    s = setup.settings
    if s.data != PET:
        yield from set_source(setup)
        return
    # What is wrong for sure is told before the download.
    yield from unread_faults(data_request(s))
    if large := [ratio for ratio in s.train_ratio if ratio > NO_RULES.largest_ratio]:
        yield Fault("--train-ratio", f"{min(large):g}: {too_large(min(large))}")


def set_source(setup: Setup) -> Iterator[Fault]:
    """Find the images, and fit the ratios to them."""
    s = setup.settings
    setup.source = find_again(s, setup.state, setup.folder) if setup.state else find_source(s)
    if setup.source.aux and setup.source.aux.task.kind != "none":
        known = setup.settings.aux_type
        setup.change(aux_type=setup.source.aux.task.kind)
        if not known:  # Else it was looked at before; a study that goes on has it.
            yield from aux_column_faults(setup.settings, setup.given)
    if "split_seed" in setup.given and not setup.source.rules.drawn():
        yield Fault("--split-seed", "is not read, as validation and test images are given")
    faults = [*fit_to_data(setup, setup.source, setup.source.aux)]
    yield from faults
    if setup.fit_ratios and not faults and setup.settings.data not in BUILT_IN:
        yield from cell_faults(setup.settings)  # `new_setup` has checked all others.


def find_source(settings: Settings) -> Source:
    """Find the images of a study; raises `InputError` also if a folder can't be read."""
    try:
        return find_data(data_request(settings), settings.cache)
    except OSError as error:
        raise InputError([_unreadable(error, settings.cache)]) from error


def find_again(settings: Settings, state: StudyState, folder: Path) -> Source:
    """Find the images of a study that was run before, in its folder; raises `InputError`."""
    try:
        return find_source(settings)
    except InputError as error:
        s = settings
        named = (s.root, s.train or s.data, s.val, s.test)
        gone = [path for name in named if name and not is_there(path := user_path(name))]
        if not gone:
            raise
        why = describe_absence(gone, state.about["data"]["name"], folder)
        raise InputError([*error.faults, why]) from error


def fit_to_data(setup: Setup, images: Source | ImageSet, aux: AuxLabels | None) -> Iterator[Fault]:
    """Fit the ratios; then each part must have auxiliary labels, if they are the user's."""
    faults = [*fit_ratios(setup, images)]
    yield from faults
    if faults or aux is None:
        return
    s, labels = setup.settings, np.asarray(images.labels)
    for why in aux_faults(
        labels, aux, images.rules, s.aux_images, min(s.train_ratio), s.split_seed, _seeds(s)
    ):
        yield Fault("--aux", why)


def _seeds(settings: Settings) -> list[int]:
    first = range(settings.seed, settings.seed + settings.seeds)
    return [*dict.fromkeys([*first, *later_seeds(settings)])]


def fit_ratios(setup: Setup, images: Source | ImageSet) -> Iterator[Fault]:
    """Leave out default ratios with too few images; a ratio that the user gave is a fault."""
    labels, rules = np.asarray(images.labels), images.rules
    if setup.fit_ratios and rules.largest_ratio > DEFAULT_LARGEST:
        changed = {DEFAULT_LARGEST: rules.largest_ratio}  # Nothing that is given stays unused.
        setup.change(train_ratio=tuple(changed.get(r, r) for r in setup.settings.train_ratio))
    ratios, split_seed = setup.settings.train_ratio, setup.settings.split_seed
    absent = [*absent_classes(labels, images.classes, rules)]
    yield from (Fault(None, why) for why in absent)  # No ratio is to blame.
    reasons = {
        r: [
            why
            for why in split_faults(labels, r, images.classes, rules, split_seed)
            if why not in absent
        ]
        for r in ratios
    }
    if setup.state is None:  # A study that began without this rule goes on.
        for r in ratios:
            far = far_from_ratio(labels, r, rules, _seeds(setup.settings), split_seed)
            reasons[r] = reasons[r] or [*far]
    wrong = [ratio for ratio in ratios if reasons[ratio]]
    if setup.fit_ratios and len(wrong) < len(ratios):
        setup.left_out += tuple(wrong)
        setup.change(train_ratio=tuple(ratio for ratio in ratios if ratio not in wrong))
        if setup.fit_trials:
            setup.change(trials=default_trials(setup.settings.model_dump()))
    elif wrong:
        worst = max(wrong) if setup.fit_ratios else min(wrong)
        for why in reasons[worst]:
            yield Fault("--train-ratio", f"{worst:g}: {why}")


QUICK = (
    Check("settings", check_settings),
    Check("folder", check_folder),
    Check("tracking", check_store),
    Check("machines", check_system),
    Check("data", check_data),
)
"""What needs nothing; `study/run.py` runs no other check before these have passed."""
