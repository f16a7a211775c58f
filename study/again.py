"""Studies that were run before: one of their trials once more, or more trials."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.defaults import DEFAULTS
from study.ledger import read_records
from study.prepare import Prepared, check, load_data
from study.records import TrialRecord
from study.report import find_study
from study.reproduce import settings_of
from study.resolve import resolve
from study.settings import Settings, flag
from study.suggest import Suggestions, storage_in
from tl_core.datasets import ImageSet
from tl_core.errors import InputError

_EXTEND = ("extend", "trials", "out", "cache", "tracking_uri", "gpus", "trials_per_gpu")
_REPLAY = ("replay", "out", "cache", "gpus")


def prepare_more(given: Mapping[str, Any]) -> Prepared:
    """Check what `--extend NAME --trials N` needs: a study, its search, and the same data.

    Raises `InputError` with every fault.
    """
    _only(given, "extend", _EXTEND)
    if "trials" not in given:
        raise InputError(["--extend: how many trials more? --trials N"])
    folder, study, settings, before = _open("extend", given["extend"], given)
    if settings.debug:
        raise InputError([f"--extend {folder.name}: a single trial can't be extended"])
    settings = _updated(settings, given)
    searched = sum(r.kind == "search" for r in before)
    drawn = Suggestions(settings, storage_in(folder)).drawn
    if drawn < searched:
        why = f"its optuna.log knows {drawn} trials of the search, its ledger more"
        raise InputError([f"--extend {folder.name}: {why}"])
    settings = settings.model_copy(update={"trials": drawn + settings.trials})
    prepared = check(settings, [])
    _same_data("extend", study, prepared.images)
    return replace(prepared, again=True, before=tuple(before), folder=folder)


def prepare_replay(given: Mapping[str, Any]) -> tuple[Settings, ImageSet, TrialRecord]:
    """Check what `--replay NAME/TRIAL` needs: the trial, and the same data.

    Raises `InputError` with every fault.
    """
    _only(given, "replay", _REPLAY)
    name, _, number = given["replay"].rpartition("/")
    if not name or not number.isdecimal():
        raise InputError([f"--replay {given['replay']}: NAME/TRIAL is expected, as in demo/7"])
    _, study, settings, before = _open("replay", name, given)
    records = {r.trial: r for r in before}
    record = records.get(int(number))
    if record is None:
        there = f"it has 0 to {max(records)}" if records else "it has none"
        raise InputError([f"--replay {given['replay']}: no such trial; {there}"])
    if not record.history:
        raise InputError([f"--replay {given['replay']}: {record.status} before its first epoch"])
    settings = _updated(settings, given)
    images = load_data(settings)
    _same_data("replay", study, images)
    return settings, images, record


def _only(given: Mapping[str, Any], what: str, read: tuple[str, ...]) -> None:
    """A study keeps its settings: others than those of the place and the machine are faults."""
    faults = [f"{flag(n)} is not read with --{what}, which keeps the study's" for n in given
              if n not in read]  # fmt: skip
    if faults:
        raise InputError(faults)


def _open(
    what: str, name: str, given: Mapping[str, Any]
) -> tuple[Path, dict[str, Any], Settings, list[TrialRecord]]:
    try:
        folder = find_study(name, Path(given.get("out", DEFAULTS["out"]))).resolve()
        study = json.loads((folder / "study.json").read_text())
        return folder, study, settings_of(study), read_records(folder)
    except FileNotFoundError as error:
        raise InputError([f"--{what} {given[what]}: {error}"]) from error
    except (ValueError, KeyError, TypeError) as error:
        why = "its files can't be read by this version of tl-study"
        raise InputError([f"--{what} {given[what]}: {why}"]) from error


def _updated(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """The study's settings, with what was given of place and machine."""
    own = {name: value for name, value in given.items() if name in Settings.model_fields}
    changes, faults = resolve(own)
    if faults := [f for f in faults if f.split()[0] in map(flag, own)]:
        raise InputError(faults)
    return settings.model_copy(update={name: getattr(changes, name) for name in own})


def _same_data(what: str, study: Mapping[str, Any], images: ImageSet) -> None:
    if images.key != study["data"]["key"]:
        was = f"{study['data']['key']}, now {images.key}"
        raise InputError(
            [f"--{what}: {study['data']['name']} is not what it was (content hash {was})"]
        )
