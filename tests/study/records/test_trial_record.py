import pytest

from study.records.trial_record import Status, TrialRecord, best_of
from tests.support.studies.builders import make_config, make_epoch, make_record
from tl_core.config import Metric


def test_value_is_that_of_the_last_epoch() -> None:
    assert make_record(log_losses=(0.5, 0.75)).value("val_log_loss") == 0.75
    assert make_record(log_losses=()).value("val_log_loss") is None


def test_row_holds_factors_last_epoch_and_test_scores() -> None:
    record = make_record(
        3, log_losses=(0.5, 0.25), mode="finetune", lr=1e-4, aux_weight=0.5, seed=7
    )
    record.test = {"test_accuracy": 0.9}
    record.wall_s = 1.23456
    assert record.row() == {
        "trial": 3,
        "status": "done",
        "mode": "finetune",
        "train_ratio": 0.1,
        "lr": 1e-4,
        "aux_weight": 0.5,
        "seed": 7,
        "seeds": 1,
        "epochs": 2,
        "train_loss": 0.5,
        "train_accuracy": 0.75,
        "val_loss": 0.625,
        "val_log_loss": 0.25,
        "val_accuracy": 0.875,
        "val_auroc": 0.9375,
        "val_brightness_mae": 0.125,
        "val_brightness_r2": -0.5,
        "images_per_s": 1000.0,
        "val_log_loss_std": None,
        "val_accuracy_std": None,
        "aux_weight_learned": None,
        "test_accuracy": 0.9,
        "wall_s": 1.235,
        "error": None,
    }


def test_row_before_the_first_epoch() -> None:
    row = make_record(status="failed", log_losses=(), error="no luck").row()
    assert row["epochs"] == 0
    assert row["error"] == "no luck"
    assert "val_log_loss" not in row


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("val_log_loss", (0.5, 0.25, 0.75), 1),
        ("val_loss", (0.5, 0.25, 0.75), 1),
        ("val_brightness_mae", (0.5, 0.25, 0.75), 1),
        ("val_accuracy", (0.5, 0.25, 0.75), 2),
        ("val_auroc", (0.5, 0.25, 0.75), 2),
        ("val_brightness_r2", (-3.0, -1.0, -2.0), 1),
        ("val_log_loss", (0.5, 0.25, 0.25), 1),
        ("val_accuracy", (0.5, 1.0, 1.0), 1),
        ("val_log_loss", (0.5, 0.0, 0.1), 1),
    ],
)
def test_best_follows_the_metric_and_the_earlier_wins_a_tie(
    metric: Metric, values: tuple[float, ...], best: int
) -> None:
    records = [
        TrialRecord(i, make_config(), "done", [make_epoch(1, **{str(metric): value})])
        for i, value in enumerate(values)
    ]
    found = best_of(records[::-1], metric)
    assert found is records[best]


@pytest.mark.parametrize("status", ["running", "pruned", "failed", "interrupted"])
def test_only_finished_trials_can_be_best(status: Status) -> None:
    better = make_record(0, status, (0.1,))
    worse = make_record(1, "done", (0.9,))
    assert best_of([better, worse], "val_log_loss") is worse
    assert best_of([better], "val_log_loss") is None


def test_finished_trial_without_an_epoch_is_never_best() -> None:
    assert best_of([make_record(log_losses=())], "val_log_loss") is None
    assert best_of([], "val_log_loss") is None
