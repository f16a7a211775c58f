"""What a trial costs the MLflow store, by its number of runs, on SQLite and on a local server."""

import os
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import Row, Tables, figures, median_ms, scratch, seconds
from study.records.trial_record import TrialRecord
from study.tracking.writer import MlflowWriter
from tests.support.mlflow_server import MlflowServer
from tests.support.studies.builders import WrittenLedger, make_about, make_config, make_epoch

SIZES = (0, 1_000, 10_000)
EPOCHS = 10
REPEATS = 20
_ABOUT = {"data": "folder", "split": {"train": "0" * 16, "val": "1" * 16, "test": "2" * 16}}
_TABLES = ("runs", "params", "tags", "latest_metrics", "metrics")


def measure(quick: bool) -> Tables:
    """Trials through the study's own tracker, into stores of growing size."""
    sizes, repeats = ((0, 20), 2) if quick else (SIZES, REPEATS)
    # The client prints the address of every run that it ends on a server.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    with scratch() as folder:
        rows = [row for n in sizes for row in _rows(folder, n, repeats)]
    return {"ms a trial of 10 epochs": rows}


def _rows(folder: Path, n: int, repeats: int) -> Iterator[Row]:
    database = folder / "mlflow.db"
    uri = f"sqlite:///{database}"
    fill(database, n)
    before = database.stat().st_size
    local = _time_trials("sqlite", uri, n, repeats)
    grown = (database.stat().st_size - before) / repeats
    size: Row = {"kb_a_trial": figures(grown / 1000), "store_mb": figures(before / 1e6)}
    yield local | size
    with MlflowServer(uri, folder) as server:
        yield _time_trials("server over sqlite", server.url, n, repeats) | size


def _time_trials(store: str, uri: str, n: int, repeats: int) -> Row:
    with scratch() as folder:
        ledger = _open_ledger(folder, uri)
        times_s = [_send_trial(ledger, number) for number in range(repeats + 1)]
    total = median_ms(times_s[1:])  # The first fills the caches of the store's client.
    row: Row = {"store": store, "runs": n, "trial_ms": figures(total)}
    return row | {"trials_per_s_at_most": figures(1000 / total)}


def _open_ledger(folder: Path, uri: str) -> WrittenLedger:
    ledger = WrittenLedger(folder, MlflowWriter(uri, "tl-study"))
    ledger.study("scaling", make_about(aux_weight=[0.0, 0.9]) | {"id": uuid.uuid4().hex})
    ledger.flush()
    return ledger


def _send_trial(ledger: WrittenLedger, number: int) -> float:
    """Send one trial from its start to its end, as the sync process does; seconds."""
    record = TrialRecord(number, make_config(mode="finetune", epochs=EPOCHS))
    ledger.start(record, _ABOUT)
    for epoch in range(1, EPOCHS + 1):
        ledger.epoch(number, make_epoch(epoch))
    record.status = "done"
    ledger.end(record, [])
    return seconds(ledger.flush)


def fill(database: Path, n: int) -> None:
    """Have at least `n` runs in the store: one that the tracker writes, copied row by row."""
    with scratch() as folder:
        _send_trial(_open_ledger(folder, f"sqlite:///{database}"), 0)
    with sqlite3.connect(database) as store:
        ((have,),) = store.execute("SELECT COUNT(*) FROM runs")
        (template,) = store.execute(
            "SELECT run_uuid FROM tags WHERE key = 'tl_study.kind' AND value = 'trial' LIMIT 1"
        ).fetchone()
        ids = [uuid.uuid4().hex for _ in range(n - have)]
        for table in _TABLES:
            _copy(store, table, template, ids)
    store.close()


def _copy(store: sqlite3.Connection, table: str, template: str, ids: list[str]) -> None:
    columns = [name for _, name, *_ in store.execute(f"PRAGMA table_info({table})")]
    values = ", ".join("?" if name == "run_uuid" else name for name in columns)
    copy = f"INSERT INTO {table} SELECT {values} FROM {table} WHERE run_uuid = ?"
    store.executemany(copy, ((new, template) for new in ids))
