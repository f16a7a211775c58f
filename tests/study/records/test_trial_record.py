from dataclasses import asdict
from typing import Any

import pytest

from study.records.trial_record import Status, best_of
from tests.support.studies.builders import make_epoch, make_record
from tl_core.config import Metric


def test_row_has_factors_last_epoch_and_test_scores() -> None:
    factors: dict[str, Any] = {"mode": "finetune", "train_ratio": 0.1, "lr": 1e-4}
    factors |= {"aux_weight": 0.5, "seed": 7}
    record = make_record(3, log_losses=(0.25, 0.5), **factors)
    assert record.value("val_log_loss") == 0.5
    record.test, record.wall_s = {"test_accuracy": 0.9}, 1.23456
    last = asdict(make_epoch(val_log_loss=0.5))
    del last["epoch"]
    expected = {"trial": 3, "status": "done", **factors, "seeds": 1, "epochs": 2, **last}
    expected |= {"test_accuracy": 0.9, "wall_s": 1.235, "error": None}
    assert record.row() == expected
    record.node = "10.0.0.1"
    assert record.row()["node"] == "10.0.0.1"
    record = make_record(status="failed", log_losses=(), error="no luck")
    assert record.value("val_log_loss") is None
    assert (record.row()["epochs"], record.row()["error"]) == (0, "no luck")
    assert "val_log_loss" not in record.row()


@pytest.mark.parametrize(("metric", "values", "best"), [
    ("val_log_loss", (0.5, 0.25, 0.75), 1), ("val_loss", (0.5, 0.25, 0.75), 1),
    ("val_brightness_mae", (0.5, 0.25, 0.75), 1), ("val_accuracy", (0.5, 0.25, 0.75), 2),
    ("val_auroc", (0.5, 0.25, 0.75), 2), ("val_brightness_r2", (-3.0, -1.0, -2.0), 1),
    ("val_log_loss", (0.5, 0.25, 0.25), 1), ("val_accuracy", (0.5, 1.0, 1.0), 1),
    ("val_log_loss", (0.5, 0.0, 0.1), 1),
])  # fmt: skip
def test_the_best_is_the_earlier_of_two(metric: Metric, values: list[float], best: int) -> None:
    records = [make_record(i) for i in range(3)]
    for record, value in zip(records, values, strict=True):
        record.history = [make_epoch(1, **{str(metric): value})]
    assert best_of(records[::-1], metric) is records[best]


@pytest.mark.parametrize("status", ["running", "pruned", "failed", "interrupted"])
def test_only_finished_trials_can_be_best(status: Status) -> None:
    better, worse = make_record(0, status, (0.1,)), make_record(1, "done", (0.9,))
    assert best_of([better, worse], "val_log_loss") is worse
    assert best_of([better, make_record(log_losses=())], "val_log_loss") is None
