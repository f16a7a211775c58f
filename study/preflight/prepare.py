"""A study that can start: checked, with its images decoded."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from study.cluster.capacity import Capacity
from study.cluster.resources import Resources, gpu_notes, precision_notes
from study.config.defaults import VARIABLES
from study.config.settings import Settings
from study.config.uris import without_credentials
from study.preflight.checks import QUICK, find_source, fit_to_data, format_os_error, run_checks
from study.preflight.resume import Replay, check_same_data
from study.preflight.setup import Setup, new_setup, work_s
from study.preflight.torch_checks import CHECKS
from study.records.ledger import StudyState
from study.records.trial_record import ENDED, TrialRecord
from study.search.confirmation import max_confirm_trials, max_left
from tl_core.data.datasets import ImageSet, load_images, with_labels
from tl_core.data.image_entries import image_entry
from tl_core.data.sources import Source
from tl_core.data.splitting.balance import balance_note
from tl_core.data.splitting.copies import copies_entry
from tl_core.device import is_gpu
from tl_core.errors import Fault, InputError
from tl_core.text import pluralize


@dataclass(frozen=True)
class Prepared:
    """A study that can start."""

    settings: Settings
    """With its name filled in."""
    images: ImageSet
    folder: Path
    """`OUT/NAME`; made when the study starts, unless it is resumed or extended."""
    gpus: int
    resources: Resources
    capacity: Capacity
    """Its places for trials."""
    variables: tuple[str, ...] = ()
    """Variables of the environment that gave settings."""
    notes: tuple[str, ...] = ()
    """What was decided on the user's behalf."""
    state: StudyState | None = None
    """What happened so far, if it is resumed or extended."""
    started: float = field(default_factory=time.monotonic)
    """When this command began, by `time.monotonic`."""
    decoded: bool = False
    """Whether this command has decoded images, which took a part of its time."""

    @property
    def end(self) -> float | None:
        """When its work has to have ended, by `time.monotonic`; None without `--max-time`."""
        return _end(self.settings, self.started)

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
        where = self.resources.describe(min(self.gpus, 1) if s.debug else self.gpus)
        then = ""
        if s.confirm and not s.debug:
            n = pluralize(max_confirm_trials(s) if self.more else max_left(s, self.before), "trial")
            after = "; then" if self.more else ":"
            then = f"{after} up to {n} on other seeds, to choose and confirm the best of each cell"
        return (
            f"{s.name}: {self._trials()} of {s.backbone} on {images.name}, "
            f"{len(images.labels)} images of {len(images.classes)} classes "
            f"at {s.image_size} px, in {s.precision} on {where}{then}{self._runs()}"
        )

    def _runs(self) -> str:
        """Where MLflow has the runs, if the environment says so."""
        s, named = self.settings, self.variables
        if s.offline or not named:
            return ""
        store = [without_credentials(s.tracking_uri)] if VARIABLES["tracking_uri"] in named else []
        if VARIABLES["experiment"] in named:
            store.append(f"experiment {s.experiment}")
        say = "says" if len(named) == 1 else "say"
        return f"; MLflow's runs go to {', '.join(store)}, as {' and '.join(named)} {say}"

    def _trials(self) -> str:
        if self.settings.debug:
            return "one trial"
        if self.state is None:
            return pluralize(self.more, "trial")
        return pluralize(self.more, "more trial") if self.more else "what is left to confirm"


def prepare_new(given: Mapping[str, Any]) -> Prepared:
    """Run all checks of a new study, and decode its images.

    Raises `InputError` with every fault.
    """
    setup = new_setup(given)
    run_checks(setup, QUICK)
    setup.raise_faults()
    return prepare(setup)


def prepare(setup: Setup) -> Prepared:
    """Run the checks that are not quick, and decode the images if nothing is wrong.

    Raises `InputError` with every fault; those that only decoding finds if there are no others.
    Raises `OutOfTimeError` if there is no time to decode them all.
    """
    run_checks(setup, CHECKS[len(QUICK) :])
    setup.raise_faults()
    assert setup.source
    assert setup.resources
    s = setup.settings
    there = image_entry(setup.source, s.image_size, s.cache, s.resize).exists()
    images = _decode(s, setup.source, _end(s, setup.started))
    _fit_to_decoded(setup, images)
    if setup.state:
        check_same_data(setup.state, images)
    return Prepared(
        setup.settings,
        images,
        setup.folder,
        setup.gpus,
        setup.resources,
        setup.capacity,
        setup.variables,
        tuple(_notes(setup, images)),
        setup.state,
        setup.started,
        decoded=not there,
    )


def _fit_to_decoded(setup: Setup, images: ImageSet) -> None:
    """There may be too few images without those that can't be read, or with copies on one side."""
    if (images.bad or not images.rules.is_plain()) and (
        faults := [*fit_to_data(setup, images, images.own_aux)]
    ):
        raise InputError(faults)


def _notes(setup: Setup, images: ImageSet) -> list[str]:
    notes = [*_plan_notes(setup), *_data_notes(setup.settings, images)]
    if images.bad:
        n = pluralize(len(images.bad), "unreadable file")
        notes.append(f"{n} left out; study.json lists them")
    return notes


def _plan_notes(setup: Setup) -> Iterator[str]:
    """Yield notes on all but the images: what was decided, the hardware and the network."""
    yield from setup.notes
    if resources := setup.resources:
        device = resources.device(setup.gpus)
        yield from gpu_notes(setup.gpus, resources, setup.auto_precision)
        best = resources.precisions[device.type]
        yield from precision_notes(setup.settings, best, is_gpu(device))
    yield from ratio_notes(setup)
    if setup.network and setup.network.note:
        yield setup.network.note


def _data_notes(s: Settings, images: ImageSet) -> list[str]:
    return [*images.notes, *deep_notes(images), *_balance(s, images)]


def _balance(s: Settings, images: Source | ImageSet) -> list[str]:
    return balance_note(
        np.asarray(images.labels), images.rules, s.train_ratio, s.split_seed, s.seed
    )


def doctor_notes(setup: Setup) -> list[str]:
    """What a study that was checked will note; of pixels only if the cache has them.

    Raises `InputError` with what only they show to be wrong.
    """
    of_data = _notes_of_data(setup)  # Ratios may be left out once copies are known.
    return [*_plan_notes(setup), *of_data]


def _notes_of_data(setup: Setup) -> Sequence[str]:
    if setup.source is None:
        return ()
    s, source = setup.settings, setup.source
    if setup.faults:
        return source.notes
    if setup.undecoded:  # Copies that are found later may join groups, and so change the split.
        return [*source.notes, *_balance(s, source)]
    images = ImageSet.open(image_entry(source, s.image_size, s.cache, s.resize))
    known = copies_entry(s.cache, images.key)
    with TemporaryDirectory(prefix="tl-doctor-") as own:  # The doctor leaves nothing in the cache.
        if known.exists():  # Else all pixels are compared once more.
            shutil.copytree(known, copies_entry(Path(own), images.key))
        images = with_labels(images, source, Path(own))
        _fit_to_decoded(setup, images)
        return _data_notes(setup.settings, images)


def ratio_notes(setup: Setup) -> list[str]:
    """Which train ratios are left out, if any."""
    ratios = " ".join(f"{ratio:g}" for ratio in setup.left_out)
    grouped = setup.source is not None and setup.source.rules.groups is not None
    few = "no training image"
    if grouped:
        few += " or less than half a group, or as whole groups come nowhere near"
    return [f"train ratios left out, as a class would have {few}: {ratios}"] if ratios else []


def deep_notes(images: ImageSet) -> Iterator[str]:
    """Yield how each kind of picture with more than 8 bits is scaled."""
    for depth, (black, white) in images.scales.items():
        n = images.deep[depth]
        what = f"{pluralize(n, 'picture')} of {depth}"
        yield f"{what}: {black:,.6g} becomes black and {white:,.6g} white, by the range of all"


def prepare_replay(replay: Replay) -> ImageSet:
    """Decode the images of a trial that is to run again.

    Raises `InputError` if they are not those of the study.
    """
    settings = replay.settings
    source = replay.source or find_source(settings)
    images = _decode(settings, source)
    check_same_data(replay.state, images)
    return images


def _end(s: Settings, started: float) -> float | None:
    if not s.max_time:
        return None
    return started + work_s(s.max_time)


def _decode(s: Settings, source: Source, end: float | None = None) -> ImageSet:
    """Decode the images, or take them from the cache."""
    try:
        return load_images(source, s.image_size, s.cache, s.skip_bad_images, s.resize, end)
    except OSError as error:
        why = f"{s.cache}: {format_os_error(error)}"
        raise InputError([Fault("--cache", why)]) from error
