"""Whole studies on a real Ray."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
from mlflow import MlflowClient

from study.execution.run_study import EXIT_CODES, _status
from study.records.journal import Journal
from study.records.ledger import Ledger, read_records
from study.records.study_files import Results
from study.records.trial_record import Status
from tests.conftest import SIDE, TINY
from tests.support.studies.builders import all_runs, make_config, make_record
from tests.support.studies.ray_runs import FinishedStudy, RayRun
from tl_core import load_model

pytestmark = pytest.mark.usefixtures("uri")
MINE = Path("runs/mine")
OWN_NET = (
    "--backbone", "mlp", "--mode", "scratch", "--image-size", SIDE, "--name", "mine",
    "--no-confirm",
)  # fmt: skip


CELLS = {(mode, ratio) for mode in ("freeze", "finetune") for ratio in (0.2, 0.4)}


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def trials() -> Any:
    return pd.read_csv(MINE / "trials.csv")


@pytest.mark.parametrize(
    ("statuses", "confirming", "status"),
    [
        (["done", "done", "pruned"], ["done"], "done"),
        (["done", "failed", "pruned"], ["done"], "some trials failed"),
        (["done", "done", "done"], ["failed"], "some trials failed"),
        (["failed", "failed", "failed"], None, "interrupted"),
        (["done", "done", "done"], [], "interrupted"),
        (["done", "done", "done"], ["interrupted"], "interrupted"),
        (["done", "done"], None, "interrupted"),
        (["done", "failed", "interrupted"], None, "interrupted"),
        ([], None, "interrupted"),
    ],
)
def test_status_of_a_study_of_three_trials_more(
    statuses: list[Status], confirming: list[Status] | None, status: str
) -> None:
    before = [make_record(i, "done") for i in range(9)]
    journal = Journal(cast(Results, None), Ledger(Path()), before)
    journal.records += [make_record(9 + i, s) for i, s in enumerate(statuses)]
    rest = [make_record(20 + i, s) for i, s in enumerate(confirming or [])]
    for record in rest:
        record.kind = "confirm"
    journal.records += rest
    if confirming is not None:
        journal.confirm([make_config()])
    prepared = SimpleNamespace(settings=SimpleNamespace(trials=12))
    assert _status(journal, prepared) == status  # type: ignore[arg-type]
    assert EXIT_CODES[status] == {"done": 0, "some trials failed": 3, "interrupted": 130}[status]


def test_a_study_leaves_its_tables_and_pages(finished_study: FinishedStudy) -> None:
    table = pd.read_csv(finished_study.folder / "trials.csv")
    assert table["trial"].tolist() == [0, 1, 2, 3, 4]
    first = table.head(4)
    assert set(zip(first["mode"], first["train_ratio"], strict=True)) == CELLS
    done = table[table["status"] == "done"]
    assert set(table["status"]) <= {"done", "pruned"}
    assert (done["epochs"] == 2).all()
    assert (table[table["mode"] == "freeze"]["status"] == "done").all()
    assert not any(name.startswith("test_") for name in table)

    best = read(finished_study.folder / "best.json")
    assert best["trial"] == int(done.loc[done["val_log_loss"].idxmin(), "trial"])
    assert best["value"] == pytest.approx(done["val_log_loss"].min())
    study = read(finished_study.folder / "study.json")
    assert study["status"] == "done"
    assert sum(study["trials"].values()) == 5
    assert {"label-efficiency.png", "trials.svg", "curves.svg", "confusion.png"} <= {
        file.name for file in (finished_study.folder / "figures").iterdir()
    }
    page = (finished_study.folder / "report.html").read_text()
    assert "confirmed" in page
    assert page.count("<section") == 7


def test_a_study_confirms_its_winners_on_fresh_seeds(finished_study: FinishedStudy) -> None:
    records = read_records(finished_study.folder)
    assert [r.trial for r in records] == list(range(10))
    # Four cells, and the winner's control.
    assert [r.kind for r in records] == ["search"] * 5 + ["confirm"] * 4 + ["control"]
    assert {(r.config.mode, r.config.train_ratio) for r in records[5:9]} == CELLS
    assert all(r.test["test_accuracy"] <= 1 for r in records[5:])
    assert records[9].config.mode == "finetune"
    (photo,) = finished_study.photos.glob("cat/00.*")
    (seen,) = load_model(finished_study.folder / "winner").predict([photo])
    assert seen.class_name in ("cat", "dog")


def test_a_study_prints_each_trial_the_best_and_the_answer(finished_study: FinishedStudy) -> None:
    printed = finished_study.printed
    assert "Traceback" not in finished_study.errors
    assert sum(line.startswith("trial ") for line in printed.splitlines()) == 10
    assert "confirmed on fresh seeds: 5 done of 5 trials, 1 of them for the aux" in printed
    assert f"best: trial {read(finished_study.folder / 'best.json')['trial']}: " in printed
    assert printed.count(TINY) >= 2  # In the answer, besides the introduction.
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in printed


def test_a_study_is_tracked_whole(finished_study: FinishedStudy) -> None:
    client, folder = MlflowClient(finished_study.uri), finished_study.folder
    parent, *children = all_runs(client)
    splits = read(folder / "study.json")["splits"]
    assert parent.data.params["splits.train_0.2"] == splits["train_0.2"]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "study.json", "trials.csv", "best.json", "confirm.csv", "differences.csv", "report.html",
        *(file.name for file in (folder / "figures").iterdir()),
    }  # fmt: skip
    best = read(folder / "best.json")
    assert parent.data.metrics["best_val_log_loss"] == pytest.approx(best["value"])
    assert [child.data.params["trial"] for child in children] == [str(i) for i in range(10)]
    kinds = [child.data.tags["tl_study.kind"] for child in children]
    assert kinds == ["trial"] * 5 + ["confirm"] * 4 + ["control"]
    table = pd.read_csv(folder / "trials.csv")
    for run, row in zip(children[:5], table.itertuples(), strict=True):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["tl_study.status"] == row.status
        assert run.data.params["mode"] == row.mode
        assert run.data.metrics["val_log_loss"] == pytest.approx(row.val_log_loss)
        history = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [m.step for m in history] == list(range(1, row.epochs + 1))
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert str(client.get_model_version_by_alias("mine", "best").version) == "1"


def test_a_study_leaves_no_process(finished_study: FinishedStudy) -> None:
    assert finished_study.left_over == {}


@pytest.mark.integration
def test_study_with_diverging_trials_exits_with_3(
    ray_run: RayRun, photo_folder: Path, client: MlflowClient
) -> None:
    process = ray_run.start(
        "--data", photo_folder, *OWN_NET, "--lr", 1e-4, 1e30, 1e-3, "--train-ratio", 0.4,
        "--batch-size", 4, "--epochs", 1, "--trials", 3,
    )  # fmt: skip
    code, printed, errors = ray_run.finish(process)
    assert code == 3, printed + errors
    table = trials()
    failed = table[table["status"] == "failed"]
    assert len(table) == 3
    assert 0 < len(failed) < 3
    assert (table["lr"] == 1e30).tolist() == (table["status"] == "failed").tolist()
    assert failed["error"].str.contains(r"DivergedError: \w+ is (?:nan|inf) in epoch 1$").all()
    assert read(MINE / "study.json")["status"] == "some trials failed"
    assert read(MINE / "best.json")["config"]["lr"] < 1
    assert f"some trials failed: {3 - len(failed)} done, {len(failed)} failed of 3" in printed
    for run, row in zip(all_runs(client)[1:4], table.itertuples(), strict=True):
        assert run.info.status == ("FAILED" if row.status == "failed" else "FINISHED")
        assert run.data.tags.get("tl_study.error", "") == (
            row.error if row.status == "failed" else ""
        )
