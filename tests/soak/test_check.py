"""What the soak's check finds in a study's ledger, table and MLflow runs."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from study.records.ledger import Ledger, read_records
from study.records.study_folder import LEDGER
from study.records.trial_record import TrialRecord
from study.tracking.sync_process import LedgerSync
from study.tracking.writer import MlflowWriter
from tests.soak.check import RunState, check, read_runs
from tests.support.studies.builders import make_about, make_config, make_epoch

Runs = dict[str, RunState]


@pytest.fixture(scope="module")
def sent(
    tmp_path_factory: pytest.TempPathFactory, blank_store: Path
) -> tuple[Path, list[tuple[str, RunState]]]:
    """A study of three trials in a real store; its first trial was interrupted once."""
    folder = tmp_path_factory.mktemp("sent") / "mine"
    folder.mkdir()
    ledger = Ledger(folder)
    about = make_about()
    ledger.study("mine", about)
    for trial in range(3):
        record = TrialRecord(trial, make_config(lr=0.1 / (trial + 1)))
        ledger.start(record, {})
        ledger.epoch(trial, make_epoch(1, val_log_loss=0.7))
        if trial == 0:
            record.status, record.wall_s = "interrupted", 0.25
            ledger.end(record, [])
            ledger.start(record, {})
        ledger.epoch(trial, make_epoch(2, val_log_loss=0.5 + trial))
        record.status, record.wall_s = "done", 1.0 + trial / 3
        ledger.end(record, [])
    ledger.close("done", [])
    rows = [record.row() for record in read_records(folder)]
    pd.DataFrame(rows).to_csv(folder / "trials.csv", index=False)
    uri = f"sqlite:///{shutil.copy(blank_store, folder.parent)}"
    process = LedgerSync(folder, MlflowWriter(uri, "tl-study"))
    assert process.push() is None
    process.close()
    return folder, read_runs(MlflowClient(uri), about["id"])


@pytest.fixture
def folder(sent: tuple[Path, object], tmp_path: Path) -> Path:
    """The study's files, to be changed."""
    for name in (LEDGER, "trials.csv"):
        (tmp_path / name).write_bytes((sent[0] / name).read_bytes())
    return tmp_path


@pytest.fixture
def runs(sent: tuple[Path, list[tuple[str, RunState]]]) -> Runs:
    """The study's runs, to be changed."""
    return {
        key: replace(
            run,
            params=dict(run.params),
            metrics=dict(run.metrics),
            sent={name: list(values) for name, values in run.sent.items()},
        )
        for key, run in sent[1]
    }


def test_a_study_that_agrees_passes(folder: Path, runs: Runs) -> None:
    assert check(folder, 3, list(runs.items())) == []


@pytest.mark.parametrize(("key", "change", "found"), [
    ("1", {"status": "RUNNING"}, "status: MLflow 'RUNNING', ledger 'FINISHED'"),
    ("study", {"status": "RUNNING"}, "status: MLflow 'RUNNING', ledger 'FINISHED'"),
    ("1", {"parent": ""}, "parent: MLflow '', ledger 'study'"),
    ("study", {"metrics": {"search_best_val_log_loss": 0.7}},
     "metrics search_best_val_log_loss: MLflow 0.7, ledger 0.5"),
    ("1", {"params": {"lr": "0.5"}}, "params lr: MLflow '0.5', ledger '0.05'"),
    ("1", {"metrics": {"val_log_loss": 0.7}}, "metrics val_log_loss: MLflow 0.7, ledger 1.5"),
    ("1", {"sent": {"val_log_loss": [(2, 1.5)]}},
     "sent val_log_loss: MLflow [(2, 1.5)], ledger [(1, 0.7), (2, 1.5)]"),
    ("0", {"sent": {"wall_s": [(1, 0.25), (1, 0.25), (2, 1.0)]}},
     "sent wall_s: MLflow [(1, 0.25), (1, 0.25), (2, 1.0)], ledger [(1, 0.25), (2, 1.0)]"),
    ("1", {"sent": {"odd": [(1, 1.0)]}}, "sent odd: MLflow [(1, 1.0)], ledger None"),
])  # fmt: skip
def test_a_wrong_value_in_mlflow_is_found(
    folder: Path, runs: Runs, key: str, change: dict[str, object], found: str
) -> None:
    for name, value in change.items():
        now = getattr(runs[key], name)
        setattr(runs[key], name, now | value if isinstance(value, dict) else value)
    where = key if key == "study" else f"trial {key}"
    assert check(folder, 3, list(runs.items())) == [f"{where}, {found}"]


@pytest.mark.parametrize(("keys", "found"), [
    (("study", "0", "2"), "trial 1: not in MLflow"),
    (("study", "0", "1", "1", "2"), "trial 1: 2 times in MLflow"),
    (("study", "0", "1", "2", "stray run 7"), "stray run 7: in MLflow alone"),
    (("study", "0", "1", "2", "3"), "trial 3: in MLflow alone"),
])  # fmt: skip
def test_missing_and_extra_runs_are_found(
    folder: Path, runs: Runs, keys: tuple[str, ...], found: str
) -> None:
    assert check(folder, 3, [(key, runs.get(key, runs["1"])) for key in keys]) == [found]


@pytest.mark.parametrize(("change", "found"), [
    (lambda rows: rows[:2], ["trial 2: not in trials.csv"]),
    (lambda rows: [*rows, rows[1]], ["trial 1: 2 times in trials.csv"]),
    (lambda rows: [*rows, {**rows[1], "trial": 3}], ["trial 3: in trials.csv alone"]),
    (
        lambda rows: [*rows[:2], {**rows[2], "val_accuracy": 0.5, "status": "pruned"}],
        [
            "trial 2, status: trials.csv 'pruned', ledger 'done'",
            "trial 2, val_accuracy: trials.csv '0.5', ledger 0.875",
        ],
    ),
])  # fmt: skip
def test_a_wrong_table_is_found(
    folder: Path, runs: Runs, change: Callable[[list[dict[str, object]]], object], found: list[str]
) -> None:
    rows = pd.read_csv(folder / "trials.csv").to_dict("records")
    pd.DataFrame(change(rows)).to_csv(folder / "trials.csv", index=False)
    assert check(folder, 3, list(runs.items())) == found


def test_an_incomplete_ledger_is_found(folder: Path, runs: Runs) -> None:
    (found,) = check(folder, 4, list(runs.items()))
    assert found == "ledger: 3 trials of the search instead of 4, or other numbers"
    lines = [json.loads(line) for line in (folder / LEDGER).read_text().splitlines()]
    short = [e for e in lines if (e["event"], e.get("trial")) != ("end", 2)]
    (folder / LEDGER).write_text("".join(json.dumps(e) + "\n" for e in short))
    assert "trial 2: running after 2 epochs" in check(folder, 3, list(runs.items()))
    (folder / LEDGER).write_text("".join(json.dumps(e) + "\n" for e in lines[:-1]))
    (found,) = check(folder, 3, list(runs.items()))
    assert found == "ledger: the study is 'running', not 'done'"
