"""Complete settings from what was given, and every fault in them."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from study.config.defaults import DEFAULTS, from_environment, layers_of
from study.config.program import spelled
from study.config.settings import FACTORS, Settings, flag
from study.config.uris import without_credentials
from study.errors import NOT_TEXT
from tl_core.aux_task import NAME, NO_NAME
from tl_core.config import BUILT_IN, CACHED, FROZEN, MODES, SOLVED, VIEWS_NOT_CACHED, Mode
from tl_core.errors import Fault, InputError
from tl_core.text import pluralize

STUDY_ONLY = (
    "trials", "metric", "trials_per_gpu", "design", "objective", "sampler", "confirm",
    "confirm_seeds", "max_failures", "address", "storage", "checkpoint_every", "jobs", "max_time",
)  # fmt: skip
"""Settings that a single trial does not read."""
_STEPPING: set[Mode] = {*MODES} - {"probe"}
_NETWORKS: set[Mode] = {*MODES} - {*FROZEN}
_READ_BY: dict[str, set[Mode]] = {
    **dict.fromkeys(("lr", "aux_weight", "epochs", "min_steps", "schedule"), _STEPPING),
    **dict.fromkeys(("aux_target", "weight_decay", "batch_size"), _STEPPING),
    **dict.fromkeys(("batchnorm", "head_lr_ratio", "layer_decay", "compile"), _NETWORKS),
    **dict.fromkeys(("trials_per_gpu", "jobs", "checkpoint_every"), _NETWORKS),
    "seeds": {*FROZEN},
    "unfreeze": {"partial"},
    "weights": {*MODES} - {"scratch"},
}
"""Settings that some modes don't read."""


def resolve(given: Mapping[str, Any]) -> tuple[Settings, list[Fault]]:
    """Lay what was given over the defaults.

    Returns:
        The settings, and every fault. A value at fault is replaced by its default, so that the
        checks that follow can look at the rest.
    """
    layers, wrong = layers_of(given), set[str]()
    try:
        settings, faults = Settings.model_validate(layers | dict(given)), []
    except ValidationError as error:
        wrong = {str(e["loc"][0]) for e in error.errors()}
        kept = {name: value for name, value in given.items() if name not in wrong}
        named = {name: DEFAULTS[name] for name in wrong & from_environment().keys()}
        settings = Settings.model_validate(layers_of(kept) | named | kept)
        # A tuple that lacks the items at fault is too short as well.
        own = (e for e in error.errors() if e["type"] != "too_short" or not e["input"])
        faults = [_fault(e) for e in own]
    return settings, [*faults, *_unread(settings, given, wrong)]


def unread_by(modes: Collection[Mode]) -> list[str]:
    """Return the settings that none of these modes reads."""
    return [name for name, readers in _READ_BY.items() if readers.isdisjoint(modes)]


class _AtFaultError(Exception):
    """A rule has met a setting that is at fault."""


class _Chosen:
    """Settings for rules: those at fault have values that the user has not chosen."""

    def __init__(self, settings: Settings, wrong: Collection[str]) -> None:
        self._settings, self._wrong = settings, wrong

    def __getattr__(self, name: str) -> Any:
        if name in self._wrong:
            raise _AtFaultError
        return getattr(self._settings, name)


def _unread(
    settings: Settings, given: Mapping[str, Any], wrong: Collection[str]
) -> Iterator[Fault]:
    """A setting that nothing reads is an error: its user believes that it does something.

    A rule ends at a setting that is `wrong`, which has been replaced by its default.
    """
    chosen = cast(Settings, _Chosen(settings, wrong))
    for rule in _RULES:
        with suppress(_AtFaultError):
            yield from rule(chosen, given)


def _debug_faults(settings: Settings, given: Mapping[str, Any]) -> Iterator[Fault]:
    if settings.debug:
        for name in STUDY_ONLY:
            if name in given:
                yield Fault(spelled(name, given[name]), "is read by a study only, not by --debug")
        for name in FACTORS:
            if (n := len(getattr(settings, name))) != 1:
                yield Fault(flag(name), f"takes one value in debug mode, not {n}")


def _trial_faults(settings: Settings, _: Mapping[str, Any]) -> Iterator[Fault]:
    if settings.debug:
        return
    if settings.trials > 1 and _one_configuration(settings):
        why = "every factor has one value, so all trials would be the same"
        yield Fault("--trials", f"{settings.trials}: {why}; use --trials 1 or --debug")
    cells = len(settings.mode) * len(settings.train_ratio)
    if settings.mode == ("probe",) and settings.trials > cells > 1:
        yield Fault("--trials", f"{settings.trials}: {PROBES_ARE_TUNED}, one a ratio: {cells}")


def _view_faults(settings: Settings, _: Mapping[str, Any]) -> Iterator[Fault]:
    if settings.augment in VIEWS_NOT_CACHED and (cached := {*CACHED} & {*settings.mode}):
        why = f"has too many views to cache, and --mode {' '.join(sorted(cached))} learns from "
        yield Fault("--augment", f"{settings.augment}: {why}cached activations; use none or flip")


def _confirm_faults(settings: Settings, given: Mapping[str, Any]) -> Iterator[Fault]:
    if not settings.confirm and "confirm_seeds" in given:
        yield Fault("--confirm-seeds", "is not read with --no-confirm")


def _pareto_faults(settings: Settings, _: Mapping[str, Any]) -> Iterator[Fault]:
    if settings.objective == "pareto" and settings.design == "cells":
        alone = "which --design cells searches each alone; use --design joint"
        yield Fault("--objective", f"pareto compares ratios, {alone}")
    if settings.objective == "pareto" and len(settings.train_ratio) == 1:
        yield Fault("--objective", "pareto needs several ratios: --train-ratio 0.1 0.8")


def mode_faults(settings: Settings, given: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield a fault for each setting that was given and that no mode of the study reads."""
    for name in unread_by(settings.mode):
        if name in given:
            modes = _READ_BY[name]
            *first, last = (mode for mode in MODES if mode in modes)
            those = f"{', '.join(first)} or {last}" if first else last
            why = f"is read by --mode {those} only; leave it out"
            yield Fault(spelled(name, given[name]), why)


def cell_faults(settings: Settings) -> Iterator[Fault]:
    """Yield a fault if a cell would get no trial; the ratios must be those of the study."""
    modes, ratios = len(settings.mode), len(settings.train_ratio)
    cells = modes * ratios
    if settings.design == "cells" and not settings.debug and settings.trials < cells:
        product = f"{pluralize(modes, 'mode')} x {pluralize(ratios, 'train ratio')}"
        why = f"--design cells needs one a cell, {cells} ({product})"
        fewer = "name fewer with --train-ratio or --mode, or use --design joint"
        yield Fault("--trials", f"{settings.trials}: {why}; {fewer}")


def _data_faults(settings: Settings, given: Mapping[str, Any]) -> Iterator[Fault]:
    if settings.train and "data" in given:
        yield Fault("--data", "is not read with --train, which names the images to train on")
    for name in ("val", "test"):
        if getattr(settings, name) and not settings.train:
            yield Fault(flag(name), "needs --train DIR, the images to train on")
    for name in ("include", "exclude"):
        if getattr(settings, name) and settings.data in BUILT_IN:
            yield Fault(flag(name), f"is read by --data FOLDER only, not by {settings.data}")
    if settings.group and settings.group_regex:
        yield Fault("--group-regex", "is not read with --group; use one of them")
    for name in ("group", "group_regex"):
        if getattr(settings, name) and settings.data == "demo":
            yield Fault(flag(name), "is not read by --data demo, which is drawn")
    if settings.skip_bad_images and settings.data == "demo":
        yield Fault("--skip-bad-images", "is not read by --data demo, which is drawn")


def _task_faults(settings: Settings, given: Mapping[str, Any]) -> Iterator[Fault]:
    aux = settings.aux
    if aux == NO_NAME and settings.aux_weight != (0.0,):
        shown = " ".join(map(str, settings.aux_weight))
        yield Fault("--aux-weight", f"{shown}: --aux none has nothing to weight; leave it out")
    unread = {"aux_type": aux in (NAME, NO_NAME), "aux_on": aux == NO_NAME}
    unread["aux_target"] = aux == NO_NAME or settings.aux_type == "classification"
    for name, is_unread in unread.items():
        if is_unread and given.get(name) is not None:
            yield _unread_aux(name, given[name])


def _idle_task_faults(settings: Settings, given: Mapping[str, Any]) -> Iterator[Fault]:
    if settings.aux != NO_NAME and is_idle(settings):
        why = "is not read at --aux-weight 0; name a weight above 0, or leave it out"
        named = (name for name in ("aux_on", "aux_target") if given.get(name) is not None)
        yield from (Fault(flag(name), f"{given[name]}: {why}") for name in named)


def is_idle(settings: Settings) -> bool:
    """Whether nothing teaches the auxiliary task: no step at weight 0, and no mode solves heads."""
    return settings.aux_weight == (0.0,) and {*SOLVED}.isdisjoint(settings.mode)


def _metric_faults(settings: Settings, _: Mapping[str, Any]) -> Iterator[Fault]:
    if settings.metric.startswith("val_brightness") and settings.aux != NAME:
        why = f"needs --aux brightness, not {settings.aux}"
        yield Fault("--metric", f"{settings.metric}: {why}; {_NO_OWN_SCORE}")


def aux_column_faults(settings: Settings, given: Collection[str]) -> Iterator[Fault]:
    """Yield a fault if what was asked of the auxiliary task does not fit its column's kind."""
    if settings.aux_type == "classification" and "aux_target" in given:  # A preset has its own.
        yield _unread_aux("aux_target", settings.aux_target)


def _unread_aux(name: str, value: object) -> Fault:
    needed = {"aux_type": "COLUMN", "aux_on": "COLUMN or brightness", "aux_target": "a number"}
    return Fault(flag(name), f"{value}: is read only if --aux names {needed[name]}")


_RULES: tuple[Callable[[Settings, Mapping[str, Any]], Iterator[Fault]], ...] = (
    _debug_faults, _trial_faults, mode_faults, _view_faults, _confirm_faults, _pareto_faults,
    _data_faults, _task_faults, _idle_task_faults, _metric_faults,
)  # fmt: skip
"""Rules on several settings."""
_NO_OWN_SCORE = "trials can't be chosen by the score of a column"
PROBES_ARE_TUNED = "a probe tunes itself and takes one trial"


def _one_configuration(settings: Settings) -> bool:
    if settings.mode == ("probe",):
        return len(settings.train_ratio) == 1
    names = FACTORS if "partial" in settings.mode else FACTORS[:-1]
    return all(len(getattr(settings, name)) == 1 for name in names)


def _fault(error: ErrorDetails) -> Fault:
    name, value = str(error["loc"][0]), error["input"]
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "must")
    shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    if error["type"] == "string_unicode":  # Python has kept its bytes as lone surrogates.
        message = f"{NOT_TEXT}, or use ASCII alone"
    if name == "metric":
        message += f"; {_NO_OWN_SCORE}"
    if name in ("storage", "tracking_uri"):
        shown = without_credentials(str(value))
    return Fault(flag(name), f"{shown}: {message}")


def change(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """Return the settings with some values replaced; raises `InputError` for those at fault."""
    try:
        return Settings.model_validate(settings.model_dump() | dict(given))
    except ValidationError as error:
        raise InputError(map(_fault, error.errors())) from error
