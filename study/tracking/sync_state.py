"""How much of a study's ledger MLflow has, in `runs/NAME/mlflow.json`; read without MLflow."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from study.config.defaults import DEFAULTS
from study.config.settings import Settings
from study.config.uris import SQLITE, lost_place, store_name
from study.records.study_folder import LEDGER, STUDY
from tl_core.files import replace_file

_STATE = "mlflow.json"
KEY = "tl_study.key"
"""The tag by which a run is found: the study's id, and `study` or a trial's number."""


@dataclass(frozen=True)
class SyncState:
    """What was sent, and where."""

    store: str
    """Its URI, from `study.config.uris.store_name`: valid in any folder, without credentials."""
    sent: int = 0
    """Bytes of the ledger."""
    runs: dict[str, str] = field(default_factory=dict)
    """MLflow's id of the run of the study, by the key "study", and of each trial, by its number."""

    folder: str = field(default="", compare=False)
    """That of the study when it was saved."""

    def save(self, folder: Path) -> None:
        """Write it into the study's folder."""
        values = vars(self) | {"folder": str(folder.resolve())}
        replace_file(folder / _STATE, json.dumps(values) + "\n")


def read_sync_state(folder: Path) -> SyncState | None:
    """Return the state that was saved last; None if nothing was ever sent."""
    path = folder / _STATE
    if not path.exists():
        return None
    return SyncState(**json.loads(path.read_text(encoding="utf-8")))


def copy_fault(folder: Path, uri: str) -> str | None:
    """Why a study can't be sent to the store at `uri`, if it is a copy of one that was sent there.

    Both have one id, by which their runs are found, so each would change the runs of the other.
    """
    state = read_sync_state(folder)
    if not (state and state.folder):
        return None
    original = Path(state.folder)
    try:
        there = read_sync_state(original)
        ids = {json.loads((each / STUDY).read_bytes())["id"] for each in (folder, original)}
        apart = len(ids) == 2 or original.samefile(folder)
    except (OSError, ValueError, KeyError, TypeError):  # It was moved, and is no copy.
        return None
    if apart or not (there and there.runs and there.store == store_name(uri)):
        return None
    why = f"it is a copy of {original}, whose runs in MLflow it would change"
    return f"{why}; another store keeps them apart, as --tracking-uri {SQLITE}copy.db"


def move_notes(folder: Path, uri: str) -> Iterator[str]:
    """Yield a note if a study is sent to another store than the one that has its runs."""
    state = read_sync_state(folder)
    if state and state.runs and state.store != (store := store_name(uri)):
        stay = f"those in {state.store} stay as they are"
        yield f"from now on this study's runs go to {store}; {stay}"


def events_left(folder: Path) -> int:
    """Number of events of the ledger that are not sent yet."""
    state = read_sync_state(folder)
    with (folder / LEDGER).open("rb") as ledger:
        ledger.seek(state.sent if state else 0)
        return sum(line.endswith(b"\n") for line in ledger)


def last_saved(folder: Path) -> int:
    """When the state was saved last, in ns; 0 if never."""
    path = folder / _STATE
    return path.stat().st_mtime_ns if path.exists() else 0


def study_run(folder: Path) -> str | None:
    """MLflow's id of the run of the study in this folder; a single trial has none."""
    state = read_sync_state(folder)
    return state.runs.get("study") if state else None


def where_sent(settings: Settings, folder: Path) -> Settings:
    """The settings with the store that has the study's runs: what was typed may be relative.

    The default, or what was typed, stays if it names that store from here, too, as commands that
    are shown leave defaults out.
    """
    sent = read_sync_state(folder)
    if sent is None or lost_place(sent.store):
        return settings
    typed = (str(DEFAULTS["tracking_uri"]), settings.tracking_uri)
    uri = next((uri for uri in typed if store_name(uri) == sent.store), sent.store)
    return settings.model_copy(update={"tracking_uri": uri})
