import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.config.settings import Settings
from study.records.study_files import Results
from study.records.trial_record import TrialRecord
from tests.support.studies.builders import make_epoch, make_record, make_settings
from tl_core.config import Metric
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import make_split
from tl_core.errors import InputError

COLUMNS = [
    "trial", "status", "mode", "train_ratio", "lr", "aux_weight", "seed", "seeds",
    "epochs",
    "train_loss", "train_accuracy", "val_loss", "val_log_loss", "val_accuracy", "val_auroc",
    "val_brightness_mae", "val_brightness_r2", "images_per_s",
    "val_log_loss_std", "val_accuracy_std", "aux_weight_learned", "wall_s", "error",
]  # fmt: skip


@pytest.fixture
def settings(images: ImageSet) -> Settings:
    return make_settings(data="photos", train_ratio=["0.1", "0.8"], name="mine", image_size="32")


@pytest.fixture
def results(settings: Settings, images: ImageSet) -> Results:
    return Results(Path("runs/mine"), settings, images)


def read(name: str) -> Any:
    return json.loads(Path("runs/mine", name).read_text())


def test_study_json_is_written_at_the_start(
    results: Results, settings: Settings, images: ImageSet
) -> None:
    study = read("study.json")
    assert study == results.study
    assert study["status"] == "running"
    assert study["settings"]["train_ratio"] == [0.1, 0.8]
    assert study["data"] == {
        "name": images.name,
        "key": images.key,
        "images": 40,
        "image_size": 32,
        "classes": {"cat": 20, "dog": 20},
        "skipped": [],
    }
    assert set(study["versions"]) >= {"python", "torch", "ray", "optuna", "mlflow", "tl-study"}
    assert study["hardware"]["cpus"] >= 1
    assert "ended" not in study


def test_study_json_has_the_split_hashes(
    results: Results, settings: Settings, images: ImageSet
) -> None:
    small, large = (make_split(images.labels, r, 0, 0).hashes(images.ids) for r in (0.1, 0.8))
    assert small["train"] != large["train"]
    trains = {"train_0.1": small["train"], "train_0.8": large["train"]}
    assert results.study["splits"] == {"val": small["val"], "test": small["test"]} | trains
    other = Results(Path("runs/other"), settings.model_copy(update={"split_seed": 1}), images)
    assert other.study["splits"]["test"] != small["test"]


def test_a_resumed_study_keeps_its_id_and_start(settings: Settings, images: ImageSet) -> None:
    was = {"id": "0123", "started": "2026-01-02", "status": "interrupted"}
    Path("runs/mine").mkdir(parents=True)
    nodes = [{"address": "10.0.0.1"}]
    study = Results(Path("runs/mine"), settings, images, was, nodes).study
    assert (study["id"], study["started"], study["status"]) == ("0123", "2026-01-02", "running")
    assert study["hardware"]["nodes"] == nodes


def test_trials_csv_has_a_row_a_trial(results: Results) -> None:
    records = [
        make_record(0, "done", (0.5, 0.25), lr=1e-2, aux_weight=0.5),
        make_record(1, "failed", (), error="DivergedError: val_loss is nan, in epoch 1"),
        make_record(2, "running", (0.75,), mode="finetune"),
    ]
    results.save(records)
    table = pd.read_csv("runs/mine/trials.csv")
    assert list(table) == COLUMNS
    assert table["status"].tolist() == ["done", "failed", "running"]
    assert table["mode"].tolist() == ["freeze", "freeze", "finetune"]
    assert table["epochs"].tolist() == [2, 0, 1]
    assert table["val_log_loss"].tolist()[::2] == [0.25, 0.75]
    assert table.loc[1].isna()["val_log_loss"]
    assert table.loc[1, "error"] == "DivergedError: val_loss is nan, in epoch 1"
    assert table.loc[0, ["lr", "aux_weight", "train_ratio"]].tolist() == [0.01, 0.5, 0.1]


def test_files_of_a_study_without_trials(results: Results) -> None:
    results.save([], "interrupted")
    assert pd.read_csv("runs/mine/trials.csv").empty
    assert read("best.json") == {
        "trial": None, "metric": "val_log_loss", "why": "no trial finished",
    }  # fmt: skip
    assert (read("study.json")["status"], read("study.json")["trials"]) == ("interrupted", {})


def test_study_json_counts_trials_and_says_when_it_ended(results: Results) -> None:
    statuses = ("done", "pruned", "failed", "done")
    records = [make_record(i, status) for i, status in enumerate(statuses)]  # type: ignore[arg-type]
    results.save(records)
    assert "ended" not in read("study.json")
    results.save(records, "some trials failed")
    study = read("study.json")
    assert study["trials"] == {"done": 2, "pruned": 1, "failed": 1}
    assert study["status"] == "some trials failed"
    assert study["started"] <= study["ended"]


@pytest.mark.parametrize(
    ("metric", "best"), [("val_log_loss", 1), ("val_accuracy", 0), ("val_brightness_r2", 2)]
)
def test_best_json_picks_by_direction(images: ImageSet, metric: Metric, best: int) -> None:
    settings = make_settings(data="photos", train_ratio=["0.8"], metric=metric)
    epochs = [
        make_epoch(val_log_loss=0.5, val_accuracy=0.9, val_brightness_r2=0.1),
        make_epoch(val_log_loss=0.1, val_accuracy=0.7, val_brightness_r2=0.1),
        make_epoch(val_log_loss=0.5, val_accuracy=0.9, val_brightness_r2=0.6),
        make_epoch(val_log_loss=0.0, val_accuracy=1.0, val_brightness_r2=1.0),
    ]
    records = [TrialRecord(i, make_record().config, "done", [e]) for i, e in enumerate(epochs)]
    records[3].status = "failed"
    records[best].test = {"test_accuracy": 0.75}
    Results(Path("runs/mine"), settings, images).save(records)
    found = read("best.json")
    assert (found["trial"], found["metric"]) == (best, metric)
    assert found["value"] == getattr(epochs[best], metric)
    assert found["config"] == records[best].config.model_dump()
    assert (found["metrics"]["val_loss"], found["metrics"]["test_accuracy"]) == (0.625, 0.75)


def test_files_are_replaced_whole(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    results.save([make_record()])
    before = Path("runs/mine/trials.csv").read_text()

    def break_off(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", break_off)
        with pytest.raises(OSError, match="No space left"):
            results.save([make_record(), make_record(1)])
    assert Path("runs/mine/trials.csv").read_text() == before
    results.save([make_record(), make_record(1)])
    assert {path.name for path in Path("runs/mine").iterdir()} == {
        "study.json", "trials.csv", "best.json",
    }  # fmt: skip


def test_folder_that_cannot_be_made(settings: Settings, images: ImageSet) -> None:
    Path("file").write_text("")
    with pytest.raises(InputError, match="file/mine can't be made: Not a directory"):
        Results(Path("file/mine"), settings, images)


def test_folder_that_another_study_has_taken(
    results: Results, settings: Settings, images: ImageSet
) -> None:
    with pytest.raises(InputError, match=r"^--name mine: another study has taken runs/mine mean"):
        Results(results.folder, settings, images)


def test_skipped_files_are_recorded_and_credentials_are_not(images: ImageSet) -> None:
    settings = make_settings(
        data="photos", train_ratio=["0.8"], tracking_uri="https://me:secret@host:5000"
    )
    skipped = replace(images, bad=(("cat/x.jpg", "OSError: broken"),))
    Results(Path("runs/mine"), settings, skipped)
    assert read("study.json")["data"]["skipped"] == ["cat/x.jpg: OSError: broken"]
    assert read("study.json")["settings"]["tracking_uri"] == "https://host:5000"
    assert "secret" not in Path("runs/mine/study.json").read_text()
