"""How much of a study's ledger MLflow has, in `runs/NAME/mlflow.json`; read without MLflow."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from study.records.study_folder import LEDGER
from tl_core.files import replace_file

_STATE = "mlflow.json"


@dataclass(frozen=True)
class SyncState:
    """What was sent, and where."""

    store: str
    """Its URI, from `study.config.uris.store_name`: valid in any folder, without credentials."""
    sent: int = 0
    """Bytes of the ledger."""
    runs: dict[str, str] = field(default_factory=dict)
    """MLflow's id of the run of the study, by the key "study", and of each trial, by its number."""

    def save(self, folder: Path) -> None:
        """Write it into the study's folder."""
        replace_file(folder / _STATE, json.dumps(asdict(self)) + "\n")


def read_sync_state(folder: Path) -> SyncState | None:
    """Return the state that was saved last; None if nothing was ever sent."""
    path = folder / _STATE
    return SyncState(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


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
