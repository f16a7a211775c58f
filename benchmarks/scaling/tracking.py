"""What a trial costs the MLflow store, by the runs in it, on SQLite and on a local server."""

import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.scaling.base import Row, Tables, figures, median_ms, scratch, seconds
from study.records.ledger import StudyState
from study.tracking.writer import MlflowWriter
from tests.support.mlflow_server import MlflowServer
from tl_core.config import EpochMetrics, TrialConfig

SIZES = (0, 1_000, 10_000)
EPOCHS = 10
REPEATS = 20
_ABOUT = {"data": "folder", "split": {"train": "0" * 16, "val": "1" * 16, "test": "2" * 16}}
_TABLES = ("runs", "params", "tags", "latest_metrics", "metrics")


def measure(sizes: tuple[int, ...] = SIZES, repeats: int = REPEATS) -> Tables:
    """Trials through the study's own tracker, into stores of growing size."""
    # The client prints the address of every run that it ends on a server.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    with scratch() as folder:
        rows = [row for n in sizes for row in _rows(folder / "mlflow.db", n, repeats)]
    return {"ms a trial of 10 epochs": rows}


def _rows(database: Path, n: int, repeats: int) -> Iterator[Row]:
    uri = f"sqlite:///{database}"
    fill(database, n)
    before = database.stat().st_size
    row = _time_trials("sqlite", uri, n, repeats)
    grown = (database.stat().st_size - before) / repeats
    yield row | {"kb_a_trial": figures(grown / 1000), "store_mb": figures(before / 1e6)}
    with MlflowServer(uri, database.parent) as server:
        row = _time_trials("server over sqlite", server.url, n, repeats)
    yield row | {"kb_a_trial": figures(grown / 1000), "store_mb": figures(before / 1e6)}


def _time_trials(store: str, uri: str, n: int, repeats: int) -> Row:
    told = Told(MlflowWriter(uri))
    told.trial()  # The first fills the caches of the store's client.
    total = median_ms([seconds(told.trial) for _ in range(repeats)])
    row: Row = {"store": store, "runs": n, "trial_ms": figures(total)}
    return row | {"trials_per_s_at_most": figures(1000 / total)}


class Told:
    """A study that tells a tracker of its trials, as the delivery does of short ones."""

    def __init__(self, tracker: MlflowWriter) -> None:
        self._tracker, self._state, self._trials = tracker, StudyState(), 0
        data = {"classes": {"cat": 1, "dog": 1}}
        settings = {"debug": False, "metric": "val_log_loss", "aux_weight": [0.0, 0.9]}
        about = {"id": uuid.uuid4().hex, "data": data, "settings": settings}
        self._tell(event="study", name="scaling", about=about, again=False)
        tracker.flush()

    def trial(self) -> None:
        """Tell a trial from its start to its end, and have it sent."""
        number, self._trials = self._trials, self._trials + 1
        config = TrialConfig(mode="finetune", train_ratio=0.1, lr=1e-3, epochs=EPOCHS)
        fixed = {"config": config.model_dump(), "kind": "search", "source": None, "draw": number}
        self._tell(event="start", trial=number, about=_ABOUT, **fixed)
        for epoch in range(1, EPOCHS + 1):
            metrics = asdict(EpochMetrics(epoch, *([0.5] * 9)))
            self._tell(event="epoch", trial=number, metrics=metrics)
        ending: dict[str, Any] = {
            "status": "done",
            "error": None,
            "test": {},
            "wall_s": 1.0,
            "model": None,
            "files": [],
        }
        self._tell(event="end", trial=number, **ending)
        self._tracker.flush()

    def _tell(self, **event: Any) -> None:
        event["at"] = time.time()
        self._state.add(event)
        self._tracker.write(event, self._state)


def fill(database: Path, n: int) -> None:
    """Have at least `n` runs in the store: one that the tracker writes, copied row by row."""
    tracker = MlflowWriter(f"sqlite:///{database}")
    have = _count(database)
    if have >= n:
        return
    Told(tracker).trial()
    with sqlite3.connect(database) as store:
        (template,) = store.execute(
            "SELECT run_uuid FROM tags WHERE key = 'tl_study.kind' AND value = 'trial' LIMIT 1"
        ).fetchone()
        ids = [uuid.uuid4().hex for _ in range(n - have)]
        for table in _TABLES:
            _copy(store, table, template, ids)
    store.close()


def _copy(store: sqlite3.Connection, table: str, template: str, ids: list[str]) -> None:
    columns = [name for _, name, *_ in store.execute(f"PRAGMA table_info({table})")]
    at = columns.index("run_uuid")
    rows = store.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (template,)).fetchall()
    marks = ", ".join("?" * len(columns))
    copies = ((*row[:at], new, *row[at + 1 :]) for new in ids for row in rows)
    store.executemany(f"INSERT INTO {table} VALUES ({marks})", copies)


def _count(database: Path) -> int:
    store = sqlite3.connect(database)
    (n,) = store.execute("SELECT COUNT(*) FROM runs").fetchone()
    store.close()
    return int(n)
