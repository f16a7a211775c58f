"""Studies that were run before: resumed, extended, or one of their trials replayed."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.config.defaults import CACHE_VARIABLE, DEFAULTS, VARIABLES, from_environment, named_cache
from study.config.program import command
from study.config.settings import Settings, flag
from study.config.uris import store_name, with_credentials, without_credentials
from study.config.validate import PROBES_ARE_TUNED, change, mode_faults
from study.preflight.checks import PET, find_again
from study.preflight.setup import Setup
from study.records.data_changes import describe_changes, describe_renames
from study.records.ledger import ENDINGS, StudyState, lock_study, read_state
from study.records.stored_settings import found_in, settings_of
from study.records.study_folder import LEDGER, TRIALS, find_study, from_here, study_words
from study.records.trial_record import TrialRecord
from study.tracking.sync_state import copy_fault, move_notes, where_sent
from tl_core.data.datasets import ImageSet
from tl_core.data.sources import Source
from tl_core.errors import Fault, InputError
from tl_core.files import user_path
from tl_core.text import pluralize

_PLACES = ("out", "cache", "gpus")
_MACHINE = (
    "tracking_uri", "offline", "trials_per_gpu", "jobs", "max_time", "max_failures",
    "checkpoint_every", "address",
)  # fmt: skip
_READ = {
    "resume": ("resume", *_PLACES, *_MACHINE),
    "extend": ("extend", "trials", *_PLACES, *_MACHINE),
    "replay": ("replay", *_PLACES),
}


class FinishedError(Exception):
    """A study that is to be resumed has ended: there is nothing to do."""


def continued_setup(given: Mapping[str, Any]) -> Setup:
    """The set-up that `--resume NAME`, or `--extend NAME --trials N`, asks for.

    Raises:
        InputError: with every fault.
        FinishedError: `--resume` finds nothing to do.
    """
    what = "extend" if "extend" in given else "resume"
    _check_flags(given, what)
    if what == "extend" and "trials" not in given:
        raise InputError([Fault("--extend", "requires --trials N (additional trials)")])
    folder, state, before = _open(what, given[what], given)
    if before.debug:
        raise _at_fault(what, folder.name, f"a single trial takes no --{what}")
    settings = found_in(_update(before, given), folder)
    if what == "resume" and state.status in ENDINGS:
        raise FinishedError(_format_finished(folder, state))
    with suppress(OSError):  # A folder that can't be written is told with the other faults.
        lock_study(folder).release()  # Before it waits for anything; the study takes it for good.
    if what == "extend" and before.mode == ("probe",):
        raise _at_fault("extend", folder.name, f"{PROBES_ARE_TUNED}: there is nothing to add")
    if not settings.offline and (copied := copy_fault(folder, settings.tracking_uri)):
        raise _at_fault(what, given[what], copied)
    setup = Setup(settings, [*mode_faults(settings, given)], state=state, found=folder)
    moved = () if settings.offline else move_notes(folder, settings.tracking_uri)
    setup.notes = (*_variable_notes(setup.settings, before, given), *moved)
    if what == "extend":
        setup.change(trials=before.trials + setup.settings.trials)
    return setup


def _format_finished(folder: Path, state: StudyState) -> str:
    searched = pluralize(sum(r.kind == "search" for r in state.trials), "trial")
    more = shlex.join([*command("run"), "--extend", *study_words(folder), "--trials", "N"])
    return f"{folder.name} is finished, with {searched}: nothing to resume; {more} adds more"


@dataclass(frozen=True)
class Replay:
    """A trial that is to be run again."""

    settings: Settings
    state: StudyState
    record: TrialRecord
    source: Source | None
    """None if torch is needed to find the images."""

    @property
    def threads(self) -> int:
        """How many the trial had, which round sums differently: one, or a single trial all."""
        if not self.settings.debug:
            return 1
        return int(self.state.about["hardware"]["threads"])


def find_replay(given: Mapping[str, Any]) -> Replay:
    """Find the trial that `--replay NAME/TRIAL` names, and its data.

    Raises `InputError` with every fault.
    """
    _check_flags(given, "replay")
    asked = given["replay"]
    name, _, number = asked.rpartition("/")
    if not name or not number.isdecimal():
        raise _at_fault("replay", asked, "NAME/TRIAL is expected, as in demo/7")
    folder, state, settings = _open("replay", name, given)
    record = state.records.get(int(number))
    if record is None:
        there = f"it has 0 to {max(state.records)}" if state.records else "it has none"
        raise _at_fault("replay", asked, f"no such trial; {there}")
    if not record.history:
        raise _at_fault("replay", asked, f"{record.status} before its first epoch")
    settings = _update(settings, given)
    if "gpus" in given and (settings.gpus or 0) > 1:
        why = "a replay is one trial, on one GPU; use 1, or 0 for the CPU"
        raise InputError([Fault("--gpus", f"{settings.gpus}: {why}")])
    source = find_again(settings, state, folder) if settings.data != PET else None
    return Replay(settings, state, record, source)


def check_same_data(state: StudyState, images: ImageSet) -> None:
    """Raise `InputError` unless the images are those that the study began with.

    A copy of the files is the same.
    """
    data = state.about["data"]
    if data["content"] != images.content:
        raise InputError([f"{_changed_data(state)}: {describe_changes(data, images)}"])
    if data["aux"] != images.aux.about():
        what = f"the column of the auxiliary task, {images.aux.task.shown}"
        raise InputError(
            [f"{what}, has changed since this study began, or is read otherwise now; start it anew"]
        )
    _check_same_split(state, images)


def _changed_data(state: StudyState) -> str:
    return f"the data of this study, {state.about['data']['name']}, have changed"


def _check_same_split(state: StudyState, images: ImageSet) -> None:
    """Raise `InputError` if parts, groups, copies or names have changed the split since.

    The hash of a part is that of its images' names.
    """
    if not (was := state.about.get("splits")):
        return
    s = settings_of(state.about)
    now: dict[str, str] = {}
    for ratio in s.train_ratio:
        parts = images.split(ratio, s.split_seed, s.seed).hashes(images.ids)
        now |= {"val": parts["val"], "test": parts["test"], f"train_{ratio}": parts["train"]}
    if changed := [name for name in was if was[name] != now.get(name)]:
        data = state.about["data"]
        if renamed := describe_renames(data, images):
            raise InputError([f"{_changed_data(state)}: {renamed}"])
        is_known = (images.path.parent / data["key"]).is_dir()
        maybe = "" if is_known else ", or images with other names,"
        why = f"other images{maybe} are now in {', '.join(changed)}"
        what = f"the split of this study has changed: {why}"
        raise InputError([f"{what}. Parts, groups and copies decide it; start it anew"])


def _at_fault(what: str, asked: str, why: object) -> InputError:
    return InputError([Fault(flag(what), f"{asked}: {why}")])


def _check_flags(given: Mapping[str, Any], what: str) -> None:
    """A study keeps its settings: others than those of the place and the machine are faults."""
    why = f"is not read with --{what}, which keeps the study's"
    if faults := [Fault(flag(name), why) for name in given if name not in _READ[what]]:
        raise InputError(faults)


def _open(what: str, name: str, given: Mapping[str, Any]) -> tuple[Path, StudyState, Settings]:
    """Folder, state and settings of a study."""
    try:
        out = user_path(str(given.get("out", DEFAULTS["out"])))
        folder = from_here(find_study(name, out))
        state = read_state(folder) if (folder / LEDGER).exists() else StudyState()
        if not (state.size or (folder / TRIALS).exists()):
            why = "it was killed before its first trial, so there is nothing to go on with"
            raise InputError([f"{why}; remove {folder} and start it again"])
        settings = settings_of(state.about)
        return folder, state, settings if what == "replay" else where_sent(settings, folder)
    except (InputError, FileNotFoundError) as error:
        raise _at_fault(what, given[what], error) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = "its files can't be read by this version of tl-study"
        raise _at_fault(what, given[what], why) from error


def _update(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The study's settings, with those of place and machine that are given.

    A study that sends nothing to MLflow continues so, unless `--tracking-uri` is given. Its runs
    stay in their store, whatever the environment and the working folder are. But the cache is where
    the environment says, as that decides no number. A limit of time is one command's.
    """
    own = {name: value for name, value in given.items() if name in Settings.model_fields}
    sends = {"offline": False} if "tracking_uri" in own else {}
    uri = with_credentials(settings.tracking_uri)
    places = {"tracking_uri": uri, "cache": named_cache() or settings.cache}
    return change(settings, places | sends | {"max_time": None} | own)


def _variable_notes(
    settings: Settings, before: Settings, given: Mapping[str, Any]
) -> Iterator[str]:
    """Notes about variables that name another cache, store or experiment than the study's."""
    if "cache" not in given and settings.cache != before.cache:
        yield f"the cache is {settings.cache}, as {CACHE_VARIABLE} says; it was {before.cache}"
    named = from_environment()
    other, uri = named.get("tracking_uri"), settings.tracking_uri
    if settings.offline:
        return
    if other and "tracking_uri" not in given and store_name(other) != store_name(uri):
        why = f"this study's runs are in {without_credentials(uri)}"
        yield f"{VARIABLES['tracking_uri']} is not read, as {why}; --tracking-uri moves them"
    if named.get("experiment", settings.experiment) != settings.experiment:
        why = f"this study's runs are in {settings.experiment}"
        yield f"{VARIABLES['experiment']} is not read, as {why}"
