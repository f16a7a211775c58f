"""Studies that were run before: to their end, with more trials, or one of their trials again."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.config.defaults import DEFAULTS
from study.config.reproduce import settings_of
from study.config.settings import Settings, flag
from study.config.validate import resolve
from study.preflight.prepare import Prepared, check, load_data
from study.records.ledger import ENDINGS, StudyState, read_state
from study.records.study_folder import find_study
from study.records.trial_record import TrialRecord
from tl_core.data.datasets import ImageSet
from tl_core.errors import Fault, InputError
from tl_core.text import pluralize

_PLACES = ("out", "cache", "gpus")
_MACHINE = ("tracking_uri", "offline", "trials_per_gpu", "max_failures", "address")
_READ = {
    "resume": ("resume", *_PLACES, *_MACHINE),
    "extend": ("extend", "trials", *_PLACES, *_MACHINE),
    "replay": ("replay", *_PLACES),
}


class FinishedError(Exception):
    """A study that is to be resumed has ended: there is nothing to do."""


def prepare_more(given: Mapping[str, Any]) -> Prepared:
    """Check what `--resume NAME`, or `--extend NAME --trials N`, needs: a study and its data.

    Raises:
        InputError: with every fault.
        FinishedError: `--resume` finds nothing to do.
    """
    what = "extend" if "extend" in given else "resume"
    _only(given, what)
    if what == "extend" and "trials" not in given:
        raise InputError([Fault("--extend", "requires --trials N (additional trials)")])
    folder, state, was = _open(what, given[what], given)
    if was.debug:
        raise InputError([Fault(f"--{what}", f"{folder.name}: a single trial can't be {what}d")])
    if what == "resume" and state.status in ENDINGS:
        raise FinishedError(_finished(folder, state))
    settings = _updated(was, given)
    if what == "extend":
        settings = settings.model_copy(update={"trials": was.trials + settings.trials})
    prepared = check(settings, [])
    _same_data(what, state.about, prepared.images)
    return replace(prepared, state=state, folder=folder)


def _finished(folder: Path, state: StudyState) -> str:
    searched = pluralize(sum(r.kind == "search" for r in state.trials), "trial")
    more = f"python study/run.py --extend {folder.name} --trials N"
    return f"{folder.name} is finished, with {searched}: nothing to resume; {more} adds more"


def prepare_replay(given: Mapping[str, Any]) -> tuple[Settings, ImageSet, TrialRecord]:
    """Check what `--replay NAME/TRIAL` needs: the trial, and the same data.

    Raises `InputError` with every fault.
    """
    _only(given, "replay")
    name, _, number = given["replay"].rpartition("/")
    if not name or not number.isdecimal():
        raise InputError([f"--replay {given['replay']}: NAME/TRIAL is expected, as in demo/7"])
    _, state, settings = _open("replay", name, given)
    record = state.records.get(int(number))
    if record is None:
        there = f"it has 0 to {max(state.records)}" if state.records else "it has none"
        raise InputError([f"--replay {given['replay']}: no such trial; {there}"])
    if not record.history:
        raise InputError([f"--replay {given['replay']}: {record.status} before its first epoch"])
    settings = _updated(settings, given)
    images = load_data(settings)
    _same_data("replay", state.about, images)
    return settings, images, record


def _only(given: Mapping[str, Any], what: str) -> None:
    """A study keeps its settings: others than those of the place and the machine are faults."""
    wrong = [name for name in given if name not in _READ[what]]
    faults = [
        Fault(flag(name), f"is not read with --{what}, which keeps the study's") for name in wrong
    ]
    if faults:
        raise InputError(faults)


def _open(what: str, name: str, given: Mapping[str, Any]) -> tuple[Path, StudyState, Settings]:
    """Folder, story and settings of a study."""
    try:
        folder = _from_here(find_study(name, Path(given.get("out", DEFAULTS["out"]))).resolve())
        state = read_state(folder)
        return folder, state, settings_of(state.about)
    except FileNotFoundError as error:
        raise InputError([f"--{what} {given[what]}: {error}"]) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = "its files can't be read by this version of tl-study"
        raise InputError([f"--{what} {given[what]}: {why}"]) from error


def _from_here(folder: Path) -> Path:
    """A folder as it was when the study was new: by its way from here, if it is below."""
    here = Path.cwd()
    return folder.relative_to(here) if here in folder.parents else folder


def _updated(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The study's settings, with what was given of place and machine.

    One that sends nothing to MLflow goes on so, unless it is told where to send.
    """
    own = {name: value for name, value in given.items() if name in Settings.model_fields}
    changes, faults = resolve(own)
    if faults := [f for f in faults if f.flag in [*map(flag, own)]]:
        raise InputError(faults)
    given_now = {name: getattr(changes, name) for name in own}
    sends = {"offline": False} if "tracking_uri" in own else {}
    return settings.model_copy(update=sends | given_now)


def _same_data(what: str, study: Mapping[str, Any], images: ImageSet) -> None:
    if images.key != study["data"]["key"]:
        was = f"{study['data']['key']}, now {images.key}"
        raise InputError(
            [f"--{what}: {study['data']['name']} is not what it was (content hash {was})"]
        )
