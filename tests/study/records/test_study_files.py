import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.config.settings import Settings
from study.records.study_files import Results
from study.records.study_folder import find_model, find_study, sync_command
from study.records.trial_record import Status
from tests.support.studies.builders import make_epoch, make_record, make_settings
from tl_core.config import Metric
from tl_core.data.datasets import ImageSet
from tl_core.data.splits import make_split
from tl_core.data.splitting.rules import SplitRules
from tl_core.errors import InputError

FOLDER = Path("runs/mine")
COLUMNS = (
    "trial status mode train_ratio lr aux_weight aux aux_on aux_target class_weights unfreeze "
    "resize augment batchnorm min_steps schedule weight_decay head_lr_ratio layer_decay seed "
    "seeds epochs train_loss train_accuracy val_loss val_log_loss val_accuracy val_auroc "
    "val_brightness_mae val_brightness_r2 images_per_s val_balanced_accuracy val_macro_f1 "
    "val_log_loss_std val_accuracy_std aux_weight_learned step l2 wall_s error"
)


@pytest.fixture
def settings(images: ImageSet) -> Settings:
    return make_settings(data="photos", train_ratio=["0.1", "0.8"], name="mine", image_size="32")


@pytest.fixture
def results(settings: Settings, images: ImageSet) -> Results:
    return Results(FOLDER, settings, images)


def read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def test_study_json_is_written_at_the_start(settings: Settings, images: ImageSet) -> None:
    skipped = replace(images, bad=(("cat/x.jpg", "OSError: broken"),))
    uri = {"tracking_uri": "https://me:secret@host:5000"}
    results = Results(FOLDER, settings.model_copy(update=uri), skipped)
    study = read("study.json")
    assert study == results.study
    assert study["status"] == "running"
    assert study["settings"]["train_ratio"] == [0.1, 0.8]
    assert study["settings"]["tracking_uri"] == "https://host:5000"
    assert study["data"] == {
        "name": images.name, "key": images.key, "content": images.content,
        "images": 40, "image_size": 32,
        "classes": {"cat": 20, "dog": 20}, "skipped": ["cat/x.jpg: OSError: broken"],
        "copies": 2, "ratio_base": 40, "largest_ratio": 0.8, "groups_by": None, "notes": [],
        "aux": {"name": "brightness", "kind": "regression", "classes": [], "images": 40},
        "scales": {},
    }  # fmt: skip
    assert set(study["versions"]) >= {"python", "torch", "ray", "optuna", "mlflow", "tl-study"}
    assert study["hardware"]["cpus"] >= 1
    assert "ended" not in study
    small, large = (make_split(images.labels, r, 0, 0).hashes(images.ids) for r in (0.1, 0.8))
    assert small["train"] != large["train"]
    trains = {"train_0.1": small["train"], "train_0.8": large["train"]}
    assert study["splits"] == {"val": small["val"], "test": small["test"]} | trains
    assert study["val_classes"] == [2, 2]
    assert study["split_sizes"] == {"val": 4, "test": 4, "train_0.1": 4, "train_0.8": 32}
    other = Results(Path("other"), settings.model_copy(update={"split_seed": 1}), images)
    assert other.study["splits"]["test"] != small["test"]
    with pytest.raises(InputError, match=r"^--name mine: another study has just created runs/m"):
        Results(FOLDER, settings, images)
    with pytest.raises(InputError, match=r"study.json/mine can't be made: Not a directory"):
        Results(FOLDER / "study.json" / "mine", settings, images)


def test_groups_give_each_ratio_the_mean_size_of_the_seeds_that_confirm(
    settings: Settings, images: ImageSet
) -> None:
    groups = np.repeat([*range(12)], [1, 2, 3, 4, 6, 4] * 2)
    grouped = replace(images, rules=SplitRules(groups=groups, by="patient"))
    seeds = [10_000, 10_001, 10_002]
    found = Results(FOLDER, settings, grouped, confirm_seeds=seeds).study["mean_train_sizes"]
    sizes = [len(grouped.split(0.1, 0, seed).train) for seed in seeds]
    assert len({*sizes}) > 1
    assert found["train_0.1"] == pytest.approx(sum(sizes) / 3)
    assert found == read("study.json")["mean_train_sizes"]
    assert [*found] == ["train_0.1", "train_0.8"]
    plain = Results(Path("other"), settings, images, confirm_seeds=seeds)
    assert "mean_train_sizes" not in plain.study, "each seed has as many"


def test_a_resumed_study_keeps_its_id_and_start(settings: Settings, images: ImageSet) -> None:
    was = {"id": "0123", "started": "2026-01-02", "status": "interrupted"}
    FOLDER.mkdir(parents=True)
    nodes = [{"address": "10.0.0.1"}]
    study = Results(FOLDER, settings, images, was, nodes).study
    assert (study["id"], study["started"], study["status"]) == ("0123", "2026-01-02", "running")
    assert study["hardware"]["nodes"] == nodes


def test_files_follow_the_trials(results: Results) -> None:
    results.save([], "interrupted")
    assert pd.read_csv(FOLDER / "trials.csv").empty
    why = "no trial finished"
    assert read("best.json") == {"trial": None, "metric": "val_log_loss", "why": why}
    assert (read("study.json")["status"], read("study.json")["trials"]) == ("interrupted", {})
    statuses: tuple[Status, ...] = ("done", "failed", "running", "done")
    records = [make_record(i, status) for i, status in enumerate(statuses)]
    records[1].history, records[1].error = [], "DivergedError: val_loss is nan, in epoch 1"
    results.save(records)
    table = pd.read_csv(FOLDER / "trials.csv")
    assert " ".join(table) == COLUMNS
    assert table["status"].tolist() == list(statuses)
    assert table["epochs"].tolist() == [2, 0, 2, 2]
    assert table.loc[1, "error"] == "DivergedError: val_loss is nan, in epoch 1"
    results.save(records, "some trials failed")
    study = read("study.json")
    assert study["trials"] == {"done": 2, "failed": 1, "running": 1}
    assert study["status"] == "some trials failed"
    assert study["started"] <= study["ended"]
    names = {"study.json", "trials.csv", "best.json", "outputs"}
    assert {path.name for path in FOLDER.iterdir()} == names


@pytest.mark.parametrize(("metric", "best"), [("val_log_loss", 1), ("val_accuracy", 0)])
def test_best_json(settings: Settings, images: ImageSet, metric: Metric, best: int) -> None:
    losses = [(0.5, 0.9), (0.1, 0.7)]
    epochs = [make_epoch(val_log_loss=loss, val_accuracy=accuracy) for loss, accuracy in losses]
    records = [replace(make_record(i), history=[e]) for i, e in enumerate(epochs)]
    records[best].test = {"test_accuracy": 0.75}
    Results(FOLDER, settings.model_copy(update={"metric": metric}), images).save(records)
    found = read("best.json")
    assert (found["trial"], found["metric"]) == (best, metric)
    assert found["value"] == getattr(epochs[best], metric)
    assert found["config"] == records[best].config.model_dump()
    assert (found["metrics"]["val_loss"], found["metrics"]["test_accuracy"]) == (0.625, 0.75)


def test_best_json_has_the_winner_once_there_is_one(results: Results) -> None:
    records = [make_record(i, log_losses=(0.1 * (i + 1),)) for i in range(3)]
    records[2].kind, records[2].source = "winner", 1
    results.save(records)
    assert (read("best.json")["trial"], read("best.json")["source"]) == (0, 0)
    results.save(records, "done", records[2])
    assert (read("best.json")["trial"], read("best.json")["source"]) == (2, 1)
    assert read("best.json")["value"] == pytest.approx(0.3)


def test_study_and_model_are_found_by_name_or_folder() -> None:
    Path("runs/mine/winner").mkdir(parents=True)
    for file in ("study.json", "winner/model.json"):
        (Path("runs/mine") / file).touch()
    for study in ("mine", "runs/mine", "./runs/mine/"):
        assert find_study(study, Path("runs")) == Path("runs/mine")
    for model in ("mine", "runs/mine", "runs/mine/winner"):
        assert find_model(model) == Path("runs/mine/winner")
    Path("mine").mkdir()  # Photos of the same name.
    assert find_model("mine") == Path("runs/mine/winner")
    assert find_model("runs/mine/winner/model.json") == Path("runs/mine/winner/model.json")
    assert find_model("runs") == Path("runs")
    for none in ("elsewhere/model.safetensors", "cats"):
        with pytest.raises(InputError, match=f"^there is no model {none}, and no study {none} in "):
            find_model(none)


def test_a_study_that_has_no_winner_yet() -> None:
    Path("runs/mine/winner").mkdir(parents=True)
    Path("runs/mine/study.json").touch()
    why = (
        "runs/mine has no winner yet; if the study has not ended, "
        "python study/run.py --resume mine goes on with it"
    )
    for model in ("mine", "runs/mine"):
        with pytest.raises(InputError, match=f"^{why}$"):
            find_model(model)
    Path("runs/mine/study.json").write_text('{"settings": {"debug": true}}')
    with pytest.raises(
        InputError, match=r"^runs/mine has no winner: a single trial \(--debug\) sav"
    ):
        find_model("mine")


@pytest.mark.parametrize(("folder", "words"), [
    ("runs/mine", "mine"), ("runs/a b", "'a b'"),
    ("/elsewhere/mine", "mine --out /elsewhere"), ("~/mine", "mine --out './~'"),
    ("runs/-mine", "runs/-mine"),
])  # fmt: skip
def test_command_that_sends_a_study(folder: str, words: str) -> None:
    assert sync_command(Path(folder)) == f"python study/sync.py {words}"
