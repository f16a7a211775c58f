"""How much of a study's ledger MLflow has: `runs/NAME/mlflow.json`. MLflow is not needed for it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from study.config.uris import store_name
from study.records.ledger import FILE
from tl_core.files import replace_file

STATE = "mlflow.json"


@dataclass(frozen=True)
class SyncState:
    """What was sent, and where."""

    store: str
    """Its URI as `study.config.uris.store_name` tells it: from any folder, without credentials."""
    sent: int = 0
    """Bytes of the ledger."""
    runs: dict[str, str] = field(default_factory=dict)
    """MLflow's ids of the runs of the study and, by number, of its trials."""

    def save(self, folder: Path) -> None:
        """Write it into the study's folder."""
        replace_file(folder / STATE, json.dumps(asdict(self)) + "\n")


def read_sync_state(folder: Path) -> SyncState | None:
    """Return what is known to have been sent; None if it was never tried."""
    path = folder / STATE
    return SyncState(**json.loads(path.read_text())) if path.exists() else None


def mark_unsent(folder: Path, uri: str) -> None:
    """Note where a study is to be sent to, unless something was sent or noted before."""
    if read_sync_state(folder) is None:
        SyncState(store_name(uri)).save(folder)


def events_left(folder: Path) -> int:
    """Events of the ledger that wait to be sent."""
    sent = read_sync_state(folder)
    with (folder / FILE).open("rb") as ledger:
        ledger.seek(sent.sent if sent else 0)
        return sum(line.endswith(b"\n") for line in ledger)
