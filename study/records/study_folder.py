"""The folder of a study, `runs/NAME/`: how it is found, and the names of its files."""

import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from study.config.defaults import DEFAULTS
from study.config.program import command, out_words
from study.config.values import show_folder
from tl_core.errors import InputError
from tl_core.files import is_there, user_path
from tl_core.inference.model_card import CARD

STUDY, LEDGER, TRIALS, BEST = "study.json", "ledger.jsonl", "trials.csv", "best.json"
PAGE, FIGURES = "report.html", "figures"
CONFIRM, DIFFERENCES, RECALL = "confirm.csv", "differences.csv", "recall.csv"
WINNER = "winner"
"""Folder of the winner's weights."""


def find_study(study: str, out: Path) -> Path:
    """Return the folder of a study, given its name or its path.

    Raises `InputError`, listing the known studies.
    """
    for folder in (out / study, user_path(study)):
        try:
            if (folder / STUDY).is_file():
                return folder
        except OSError as error:  # Of another user, or a name that is too long.
            raise InputError([f"{folder}: {error.strerror}"]) from error
    names = sorted(path.parent.name for path in out.glob(f"*/{STUDY}"))
    known = f"there are: {', '.join(names)}" if names else "there is none"
    raise InputError([f"no study {study} in {out}/; {known}; --out names its folder"])


def find_model(model: str) -> Path:
    """Return the path of a model, given a study's name or folder, or its winner's folder or file.

    What has no model is passed over, such as a folder of photos that has the name of a study. What
    is there may be no model.

    Raises `InputError` if there is nothing, and for a study that has no winner.
    """
    folders = (user_path(model), Path(DEFAULTS["out"]) / model)
    for place in (place for folder in folders for place in (folder, folder / WINNER)):
        if is_there(place / CARD) or (is_there(place) and place.is_file()):
            return place
    for folder in folders:
        if is_there(folder / STUDY):
            raise InputError([f"{folder} has no winner{_why_no_winner(folder)}"])
    try:
        folders[0].stat()
    except FileNotFoundError as error:
        why = f"there is no model {model}, and no study {model} in {DEFAULTS['out']}/"
        raise InputError([why]) from error
    except OSError:  # Whoever reads it says why.
        pass
    return folders[0]


def _why_no_winner(folder: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):  # A damaged one may be of any kind.
        if json.loads((folder / STUDY).read_text(encoding="utf-8"))["settings"]["debug"]:
            return ": a single trial (--debug) saves no model"
    more = resume_command(folder, command("run"))
    return f" yet; if the study has not ended, {more} goes on with it"


def from_here(folder: Path) -> Path:
    """The folder relative to the working folder if it is below, as it was for the new study."""
    here, folder = Path.cwd(), folder.resolve()
    return folder.relative_to(here) if here in folder.parents else folder


def study_words(folder: Path) -> list[str]:
    """What names a study in a command: its name and its `--out`, or its path if it looks a flag."""
    if folder.name.startswith("-"):
        return [f"{show_folder(folder.parent)}/{folder.name}"]
    return [folder.name, *out_words(folder.parent)]


def resume_command(folder: Path, program: Sequence[str] = ("python", "study/run.py")) -> str:
    """Return the command that goes on with a study; `program` by `study.config.program`."""
    return shlex.join([*program, "--resume", *study_words(folder)])


def how_to_resume(folder: Path, why: str = "interrupted", how: str = "") -> str:
    """Return what is said of a study that was stopped: why, and the command that goes on."""
    return f"{why}; go on with{how}: {resume_command(folder, command('run'))}"


def sync_command(folder: Path) -> str:
    """Return the command that sends a study's ledger to MLflow."""
    return shlex.join([*command("sync"), *study_words(folder)])
