from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from mlflow import MlflowClient

from study.records import Status
from study.tracking import Tracker, where_to_look
from study.view import shared_view
from tests.study.builders import all_runs, make_epoch, make_record
from tl_core.errors import InputError
from tl_core.fit import EpochMetrics

ABOUT: dict[str, Any] = {
    "settings": {"backbone": "mlp", "lr": [1e-3], "name": None},
    "data": {"images": 40, "classes": {"a=b: ?": 20, "c": 20}},
    "splits": {"val": "abc", "train_0.1": "def"},
}
METRICS = len(EpochMetrics.__dataclass_fields__) - 3
"""Metrics an epoch: all its fields but its number and the two spreads, which one seed lacks."""
SPLIT = {"split": {"train": "def", "val": "abc", "test": "ghi"}}


@pytest.fixture
def tracker(uri: str) -> Tracker:
    return Tracker(uri)


@pytest.fixture
def batches(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Counts the batches that go out; they still do."""
    counted = MagicMock(wraps=tracker._client.log_batch)
    monkeypatch.setattr(tracker._client, "log_batch", counted)
    return counted


def test_study_is_a_parent_with_flat_params(tracker: Tracker, client: MlflowClient) -> None:
    tracker.start_study("mine", ABOUT)
    (parent,) = all_runs(client)
    assert parent.info.run_name == "mine"
    assert parent.info.status == "RUNNING"
    assert parent.data.tags["tl_study.kind"] == "study"
    assert parent.data.params == {
        "settings.backbone": "mlp",
        "settings.lr": "[0.001]",
        "settings.name": "None",
        "data.images": "40",
        "data.classes": '{"a=b: ?": 20, "c": 20}',
        "splits.val": "abc",
        "splits.train_0.1": "def",
    }


def test_trial_is_a_child_with_params_and_metrics_by_epoch(
    tracker: Tracker, client: MlflowClient
) -> None:
    tracker.start_study("mine", ABOUT)
    record = make_record(4, "running", (0.5,), mode="finetune", aux_weight=0.25)
    tracker.start_trial("mine", record, SPLIT)
    tracker.epoch(record.trial, record.history[-1], 1.5)
    record.history.append(make_epoch(2, val_log_loss=0.125))
    tracker.epoch(record.trial, record.history[-1], 1.5)
    record.status, record.wall_s, record.test = "done", 2.5, {"test_accuracy": 0.75}
    tracker.end_trial(record)
    parent, child = all_runs(client)
    assert child.info.run_name == "4 finetune 0.1"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id == tracker.parent_id
    assert child.data.tags["tl_study.kind"] == "trial"
    assert child.data.tags["tl_study.study"] == "mine"
    expected = {"trial": "4", "mode": "finetune", "aux_weight": "0.25", "split.train": "def"}
    assert child.data.params.items() >= expected.items()
    history = client.get_metric_history(child.info.run_id, "val_log_loss")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.125)]
    assert child.data.metrics["test_accuracy"] == 0.75
    assert child.data.metrics["wall_s"] == 2.5
    assert "epoch" not in child.data.metrics


def test_trial_without_a_study_has_no_parent(tracker: Tracker, client: MlflowClient) -> None:
    record = make_record()
    tracker.start_trial("mine", record, {})
    tracker.end_trial(record)
    tracker.end_study("done", [])
    (child,) = all_runs(client)
    assert "mlflow.parentRunId" not in child.data.tags
    assert child.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("status", "error", "ended"),
    [
        ("done", None, "FINISHED"),
        ("pruned", None, "FINISHED"),
        ("failed", "DivergedError: train_loss is nan in epoch 1", "FAILED"),
        ("interrupted", None, "KILLED"),
    ],
)
def test_end_of_a_trial(
    tracker: Tracker, client: MlflowClient, status: Status, error: str | None, ended: str
) -> None:
    record = make_record(status=status, error=error)
    tracker.start_trial("mine", record, {})
    tracker.end_trial(record)
    (run,) = all_runs(client)
    assert run.info.status == ended
    assert run.data.tags["tl_study.status"] == status
    assert run.data.tags.get("tl_study.error") == error


def test_long_reasons_and_values_do_not_break_the_store(
    tracker: Tracker, client: MlflowClient
) -> None:
    record = make_record(status="failed", error="x" * 20_000, weights="w" * 9_000)
    tracker.start_trial("mine", record, {})
    tracker.end_trial(record)
    (run,) = all_runs(client)
    assert run.info.status == "FAILED"
    assert run.data.tags["tl_study.error"].startswith("xxx")
    assert run.data.params["weights"] == "w" * 6_000


def test_epochs_go_out_in_batches(tracker: Tracker, batches: MagicMock) -> None:
    record = make_record(log_losses=())
    tracker.start_trial("mine", record, {})
    tracker._runs[0].sent_at += 3600  # No second passes.
    for epoch in range(1, 31):
        record.history.append(make_epoch(epoch))
        tracker.epoch(record.trial, record.history[-1], 1.5)
    assert batches.call_count == 0
    tracker.end_trial(record)
    assert batches.call_count == 1
    # 30 epochs of 9 values, and the wall time.
    assert len(batches.call_args.args[1]) == 30 * METRICS + 1


def test_batch_goes_out_when_a_second_has_passed(tracker: Tracker, batches: MagicMock) -> None:
    record = make_record(log_losses=(0.5,))
    tracker.start_trial("mine", record, {})
    tracker._runs[0].sent_at -= 3600
    tracker.epoch(record.trial, record.history[-1], 1.5)
    assert batches.call_count == 1
    assert len(batches.call_args.args[1]) == METRICS


def test_batches_keep_to_what_a_server_takes(tracker: Tracker, batches: MagicMock) -> None:
    record = make_record(log_losses=())
    tracker.start_trial("mine", record, {f"p{i}": i for i in range(150)})
    tracker._runs[0].sent_at += 3600
    for epoch in range(1, 201):
        record.history.append(make_epoch(epoch))
        tracker.epoch(record.trial, record.history[-1], 1.5)
    tracker.end_trial(record)
    metrics, params, tags = zip(*(call.args[1:] for call in batches.call_args_list), strict=True)
    n_params = 150 + 2 + len(record.config.model_dump())
    assert [len(some) for some in params] == [100, n_params - 100]
    assert [len(some) for some in tags] == [1, 0]
    assert sum(len(some) for some in metrics) == 200 * METRICS + 1
    everything = [sum(map(len, call.args[1:])) for call in batches.call_args_list]
    assert max(everything) == 1000


def test_best_so_far_is_a_metric_of_the_parent(tracker: Tracker, client: MlflowClient) -> None:
    tracker.best("val_log_loss", make_record(), 1)  # A single trial has no parent to tell.
    tracker.start_study("mine", ABOUT)
    tracker.best("val_log_loss", make_record(log_losses=(0.5,)), 1)
    tracker.best("val_log_loss", make_record(log_losses=(0.25,)), 4)
    history = client.get_metric_history(str(tracker.parent_id), "best_val_log_loss")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (4, 0.25)]


@pytest.mark.parametrize(
    ("status", "ended"),
    [("done", "FINISHED"), ("some trials failed", "FINISHED"), ("interrupted", "KILLED")],
)
def test_end_of_a_study(
    tracker: Tracker, client: MlflowClient, tmp_path: Path, status: str, ended: str
) -> None:
    tracker.start_study("mine", ABOUT)
    (tmp_path / "trials.csv").write_text("trial\n")
    tracker.end_study(status, [tmp_path / "trials.csv"])
    (parent,) = all_runs(client)
    assert (parent.info.status, parent.data.tags["tl_study.status"]) == (ended, status)
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["trials.csv"]


def test_second_study_joins_the_experiment(uri: str, client: MlflowClient) -> None:
    assert Tracker(uri).experiment_id == Tracker(uri).experiment_id
    client.delete_experiment(Tracker(uri).experiment_id)
    with pytest.raises(InputError, match="experiment 'tl-study' is deleted; restore or purge it"):
        Tracker(uri)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("./mlruns", "filesystem tracking backend"),
        ("ftp://127.0.0.1/x", "got unsupported URI"),
        ("sqlite:////dev/null/x.db", ""),
    ],
)
def test_store_that_cannot_be_used(bad: str, why: str) -> None:
    with pytest.raises(InputError, match=f"^--tracking-uri {bad}: .*{why}") as caught:
        Tracker(bad)
    assert len(caught.value.faults) == 1


def test_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match=r"^--tracking-uri http://127.0.0.1:9: .*refused"):
        Tracker("http://127.0.0.1:9")


@pytest.mark.parametrize("uri", ["ftp://me:secret@127.0.0.1/x", "http://me:secret@127.0.0.1:9"])
def test_no_credentials_in_what_is_told(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError) as caught:
        Tracker(uri)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "lines"),
    [
        (
            "http://me:secret@host:5000/",
            ["compare trials: http://host:5000/#/experiments/7/runs?workflowType="],
        ),
        (
            "sqlite:///mlflow.db",
            [
                "compare trials: mlflow ui --backend-store-uri sqlite:///mlflow.db",
                "          then: http://127.0.0.1:5000/#/experiments/7/runs?workflowType=",
            ],
        ),
    ],
)
def test_where_to_look(uri: str, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.tracking.shutil.which", lambda name: f"/bin/{name}")
    told = where_to_look(uri, "7").splitlines()
    assert told[-1].endswith("workflowType=machine_learning&compareRunsMode=CHART")
    assert [line[: len(start)] for line, start in zip(told, lines, strict=True)] == lines


def test_where_to_look_without_an_activated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.tracking.shutil.which", lambda name: None)
    monkeypatch.setattr("study.tracking.sys.executable", "/x/.venv/bin/python")
    told = where_to_look("sqlite:///mlflow.db", "7").splitlines()[0]
    assert told == "compare trials: /x/.venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db"


@pytest.mark.parametrize("key", [None, "abc"])
def test_where_to_look_names_the_view_if_there_is_one(key: str | None) -> None:
    told = where_to_look("http://host:5000", "7", key)
    assert told.endswith("CHART&viewStateShareKey=abc" if key else "CHART")


def test_view_is_a_tag_of_the_experiment_that_the_parent_leads_to(
    tracker: Tracker, client: MlflowClient
) -> None:
    tracker.share_view("val_log_loss")  # A single trial has no view.
    assert tracker.view_key is None
    tracker.start_study("mine", ABOUT)
    tracker.share_view("val_log_loss")
    tags = client.get_experiment(tracker.experiment_id).tags
    key, value = shared_view(str(tracker.parent_id), "val_log_loss")
    assert tags[key] == value
    (parent,) = all_runs(client)
    assert f"&viewStateShareKey={tracker.view_key})" in parent.data.tags["mlflow.note.content"]
