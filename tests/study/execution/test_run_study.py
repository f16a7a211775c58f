"""Whole studies on a real Ray."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
from mlflow import MlflowClient

from study.execution.run_study import _status
from study.records.journal import Journal
from study.records.ledger import Ledger, read_records
from study.records.study_files import Results
from study.records.trial_record import Status
from tests.conftest import SIDE, TINY
from tests.support.studies.builders import all_runs, make_config, make_record
from tests.support.studies.ray_runs import RayRun, ray_runs
from tl_core import load_model

pytestmark = pytest.mark.usefixtures("uri")
OWN_NET = (
    "--backbone", "mlp", "--mode", "scratch", "--image-size", SIDE, "--name", "mine",
    "--no-confirm",
)  # fmt: skip


@pytest.fixture
def ray_run() -> Iterator[RayRun]:
    with ray_runs() as runs:
        yield runs


def read(name: str) -> Any:
    return json.loads(Path("runs/mine", name).read_text())


def trials() -> Any:
    return pd.read_csv("runs/mine/trials.csv")


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


def test_study_from_the_command_line_to_its_files(
    ray_run: RayRun, photo_folder: Path, tiny_weights: Path, client: MlflowClient
) -> None:
    process = ray_run.start(
        "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE,
        "--mode", "freeze", "finetune", "--train-ratio", 0.2, 0.4, "--epochs", 2, "--trials", 5,
        "--confirm-seeds", 2, "--name", "mine",
    )  # fmt: skip
    code, printed, told = ray_run.finish(process)
    assert code == 0, printed + told
    assert "Traceback" not in told

    table = trials()
    assert table["trial"].tolist() == [0, 1, 2, 3, 4]
    assert set(table["status"]) <= {"done", "pruned"}
    first = table.sort_values("trial").head(4)
    cells = {(mode, ratio) for mode in ("freeze", "finetune") for ratio in (0.2, 0.4)}
    assert set(zip(first["mode"], first["train_ratio"], strict=True)) == cells
    assert set(table["train_ratio"]) <= {0.2, 0.4}
    assert (table[table["status"] == "done"]["epochs"] == 2).all()
    assert (table[table["mode"] == "freeze"]["status"] == "done").all()
    assert not any(name.startswith("test_") for name in table)

    best = read("best.json")
    done = table[table["status"] == "done"]
    assert best["trial"] == int(done.loc[done["val_log_loss"].idxmin(), "trial"])
    assert best["value"] == pytest.approx(done["val_log_loss"].min())
    study = read("study.json")
    assert study["status"] == "done"
    assert sum(study["trials"].values()) == 5
    figures = {file.name for file in Path("runs/mine/figures").iterdir()}
    assert {"label-efficiency.png", "trials.svg", "curves.svg", "confusion.png"} <= figures
    page = Path("runs/mine/report.html").read_text()
    assert "confirmed" in page
    assert page.count("<section") == 7

    # Four cells on two seeds, and the winner's control.
    assert sum(line.startswith("trial ") for line in printed.splitlines()) == 5 + 8 + 2
    assert "confirmed on fresh seeds: 10 done of 10 trials, 2 of them for the aux" in printed
    records = read_records(Path("runs/mine"))
    assert [r.trial for r in records] == list(range(15))
    assert [r.kind for r in records] == ["search"] * 5 + ["confirm"] * 8 + ["control"] * 2
    assert all(r.test["test_accuracy"] <= 1 for r in records[5:])
    assert {r.config.mode for r in records[13:]} == {"finetune"}
    (photo,) = photo_folder.glob("cat/00.*")
    (seen,) = load_model("runs/mine/winner").predict([photo])
    assert seen.class_name in ("cat", "dog")
    registered = client.get_model_version_by_alias("mine", "best")
    assert str(registered.version) == "1"
    assert f"best: trial {best['trial']}: " in printed
    assert printed.count(TINY) >= 2  # In the answer, besides the introduction.
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in printed

    parent, *children = all_runs(client)
    assert parent.data.params["splits.train_0.2"] == study["splits"]["train_0.2"]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "study.json", "trials.csv", "best.json", "confirm.csv", "differences.csv", "report.html",
        *figures,
    }  # fmt: skip
    assert parent.data.metrics["best_val_log_loss"] == pytest.approx(best["value"])
    assert [child.data.params["trial"] for child in children] == [str(i) for i in range(15)]
    kinds = [child.data.tags["tl_study.kind"] for child in children]
    assert kinds == ["trial"] * 5 + ["confirm"] * 8 + ["control"] * 2
    for run, row in zip(children[:5], table.itertuples(), strict=True):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["tl_study.status"] == row.status
        assert run.data.params["mode"] == row.mode
        assert run.data.metrics["val_log_loss"] == pytest.approx(row.val_log_loss)
        history = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [m.step for m in history] == list(range(1, row.epochs + 1))
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    assert ray_run.left_over(wait_s=20) == {}


def test_study_with_diverging_trials_exits_with_3(
    ray_run: RayRun, photo_folder: Path, client: MlflowClient
) -> None:
    process = ray_run.start(
        "--data", photo_folder, *OWN_NET, "--lr", 1e-4, 1e30, 1e-3, "--train-ratio", 0.4,
        "--batch-size", 4, "--epochs", 1, "--trials", 3,
    )  # fmt: skip
    code, printed, told = ray_run.finish(process)
    assert code == 3, printed + told
    table = trials()
    failed = table[table["status"] == "failed"]
    assert len(table) == 3
    assert 0 < len(failed) < 3
    assert (table["lr"] == 1e30).tolist() == (table["status"] == "failed").tolist()
    assert failed["error"].str.contains(r"DivergedError: \w+ is (?:nan|inf) in epoch 1$").all()
    assert read("study.json")["status"] == "some trials failed"
    assert read("best.json")["config"]["lr"] < 1
    assert f"some trials failed: {3 - len(failed)} done, {len(failed)} failed of 3" in printed
    for run, row in zip(all_runs(client)[1:4], table.itertuples(), strict=True):
        assert run.info.status == ("FAILED" if row.status == "failed" else "FINISHED")
        assert run.data.tags.get("tl_study.error", "") == (
            row.error if row.status == "failed" else ""
        )


@pytest.mark.integration
def test_study_of_real_photos(ray_run: RayRun, cat_dog: Path, client: MlflowClient) -> None:
    process = ray_run.start(
        "--data", cat_dog, "--backbone", "efficientnet_lite0", "--image-size", 96,
        "--mode", "freeze", "finetune", "--train-ratio", 0.02, 0.05, "--aux-weight", 0, 0.5,
        "--epochs", 3, "--trials", 12, "--confirm-seeds", 2, "--name", "mine",
    )  # fmt: skip
    code, printed, told = ray_run.finish(process)
    assert code == 0, printed + told
    assert read("study.json")["data"]["classes"].keys() == {"cat", "dog"}
    assert read("best.json")["metrics"]["val_accuracy"] > 0.8
    assert "warning: " not in printed
    table = trials()
    assert set(table["mode"]) == {"freeze", "finetune"}
    parent, *runs = all_runs(client)
    children = [run for run in runs if run.data.tags["tl_study.kind"] == "trial"]
    assert parent.info.status == "FINISHED"
    assert [int(run.data.params["trial"]) for run in children] == list(range(12))
    assert [run.data.params["mode"] for run in children] == table["mode"].tolist()
    assert all(run.info.status == "FINISHED" for run in children)
