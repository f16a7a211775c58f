"""A study that is asked for, and what the checks find out about it. Imports no torch."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.cluster.capacity import Capacity
from study.config.defaults import VARIABLES, from_environment
from study.config.settings import Settings, flag
from study.config.validate import cell_faults, is_idle, resolve
from tl_core.aux_task import NO_NAME
from tl_core.config import BUILT_IN
from tl_core.data.given.manifest import is_manifest
from tl_core.data.given.request import DataRequest
from tl_core.data.sources import Source
from tl_core.errors import Fault, InputError
from tl_core.files import user_path

if TYPE_CHECKING:
    from study.cluster.join import Node
    from study.cluster.node_report import ReportedNode
    from study.cluster.resources import Resources
    from study.records.ledger import StudyState
    from tl_core.models.backbones import Backbone

_REPORT_S = 60.0
"""Most of the time of a command that is kept for its files and its report, seconds."""
Bad = list[tuple[str, str]]
"""Name and reason of each image that can't be decoded."""


@dataclass(frozen=True)
class Undecoded:
    """Images that are still to be decoded."""

    number: int
    per_s: float
    """Decoded a second, on all cores."""
    tried: int
    """Of all images, those that were decoded to see whether they can be."""


@dataclass
class Setup:
    """Settings of a study; each check adds what it finds."""

    settings: Settings
    setting_faults: list[Fault] = field(default_factory=list)
    fit_ratios: bool = False
    """Whether train ratios that the data are too few for may be left out."""
    fit_trials: bool = False
    """Whether the trials are so many for each cell, and fewer if ratios are left out."""
    given: frozenset[str] = frozenset()
    """Settings that the user named."""
    variables: tuple[str, ...] = ()
    """Variables of the environment that gave settings."""
    notes: tuple[str, ...] = ()
    """What was decided on the user's behalf before the checks."""
    state: "StudyState | None" = None
    """What happened so far to a study that is resumed or extended."""
    found: Path | None = None
    """The folder of such a study."""
    doctor: bool = False
    """Whether the doctor checks, which downloads no data."""
    faults_by_name: dict[str, list[Fault]] = field(default_factory=dict)
    """What the checks of each name have found."""
    source: Source | None = None
    left_out: tuple[float, ...] = ()
    """Train ratios that the data are too few for."""
    resources: "Resources | None" = None
    """None before they are known, and if no study can run on them."""
    gpus: int = 0
    auto_precision: bool = False
    """Whether `--precision auto` has been decided by the hardware."""
    network: "Backbone | None" = None
    held: int | None = None
    """Networks that the memory holds at once while they learn, if it bounds them."""
    per_gpu: int | None = None
    """Trials that share a GPU, if `--trials-per-gpu auto` has found it."""
    nodes: "list[ReportedNode]" = field(default_factory=list)
    """The nodes of a cluster; for the doctor, also this machine."""
    unwritable: "dict[Node, str]" = field(default_factory=dict)
    """By node, why the study's bucket can't be written from there."""
    started: float = field(default_factory=time.monotonic)
    """When this command began, by `time.monotonic`."""
    undecoded: Undecoded | None = None
    """None if the cache has all images."""
    unreadable: Bad = field(default_factory=list)
    """Of those that were tried."""

    @property
    def faults(self) -> list[Fault]:
        """All that was found."""
        return [fault for faults in self.faults_by_name.values() for fault in faults]

    @property
    def folder(self) -> Path:
        """The study's own folder."""
        return self.found or self.settings.out / str(self.settings.name)

    @property
    def capacity(self) -> Capacity:
        """The study's places for trials."""
        assert self.resources
        cpus = self.resources.cpus_for(self.gpus)
        return Capacity.of(self.settings, self.gpus, cpus, self.held, self.per_gpu)

    def raise_faults(self) -> None:
        """Raise `InputError` if there are any."""
        if self.faults:
            raise InputError(self.faults)

    def name_source(self, fault: Fault) -> Fault:
        """Return a fault of a flag that was not given as one of the variable in its place."""
        names = {flag(name): variable for name, variable in VARIABLES.items()}
        variable = names.get(fault.flag or "")
        return replace(fault, flag=variable) if variable in self.variables else fault

    def change(self, **settings: Any) -> None:
        """Replace some of the settings."""
        self.settings = self.settings.model_copy(update=settings)


def new_setup(given: Mapping[str, Any]) -> Setup:
    """The set-up of a new study."""
    settings, faults = resolve(given)
    # A value at fault is replaced by the default, whose faults the user did not make.
    wrong = {fault.flag for fault in faults}
    chosen = "train_ratio" in given and "--train-ratio" not in wrong
    read = from_environment().keys() - given.keys()
    variables = tuple(variable for name, variable in VARIABLES.items() if name in read)
    fitted = not (chosen or settings.data in BUILT_IN)  # Then the ratios depend on the data.
    if not fitted and wrong.isdisjoint(map(flag, ("mode", "train_ratio", "trials", "design"))):
        faults += cell_faults(settings)
    fit_trials = not (chosen or "trials" in given)
    setup = Setup(settings, faults, not chosen, fit_trials, frozenset(given), variables)
    if "aux" in given and settings.aux != NO_NAME and is_idle(settings):
        teach = "a weight above 0 teaches it, as --aux-weight 0.3"
        setup.notes = (f"--aux {settings.aux} is not learned at --aux-weight 0; {teach}",)
    setup.change(name=settings.name or _default_name(settings))
    if settings.weights not in ("default", "none"):  # Workers may run in another folder.
        setup.change(weights=str(user_path(settings.weights).resolve()))
    return setup


def data_request(s: Settings) -> DataRequest:
    """What settings ask for by `--data` and the flags that belong to it."""
    # Both are a fault that is told, and the expression's own faults would hide it.
    groups, aux = (s.group, None if s.group else s.group_regex), (s.aux, s.aux_type)
    return DataRequest(s.data, s.root, s.train, s.val, s.test, *groups, s.selection, *aux)


def work_s(limit_s: float) -> float:
    """Seconds of a command's time that are left for its work."""
    return limit_s - min(_REPORT_S, limit_s / 10)


def _default_name(settings: Settings) -> str:
    place = Path(os.path.realpath(settings.data))
    place = place.parent if settings.train else place
    name = place.stem if is_manifest(settings.data) else place.name
    data = re.sub(r"[^\w.-]+", "-", name).strip(".-")
    what = settings.preset or ("debug" if settings.debug else "")
    return "-".join(filter(None, [data or "study", what, time.strftime("%Y%m%d-%H%M%S")]))
