from pathlib import Path
from unittest.mock import MagicMock

import pytest
from mlflow import MlflowClient

from study.records.trial_record import Status
from study.tracking.links import shared_view
from study.tracking.writer import MlflowWriter
from tests.support.models import make_model
from tests.support.studies.builders import Teller, all_runs, make_config, make_epoch
from tl_core.config import EpochMetrics
from tl_core.errors import InputError
from tl_core.inference.serialization import save_model

METRICS = len(EpochMetrics.__dataclass_fields__) - 4
"""Metrics an epoch: all its fields but its number, the two spreads, which one seed lacks, and what
`auto` alone learns."""
SPLIT = {"split": {"train": "def", "val": "abc", "test": "ghi"}}


@pytest.fixture
def tracker(uri: str) -> MlflowWriter:
    return MlflowWriter(uri)


@pytest.fixture
def teller(tracker: MlflowWriter) -> Teller:
    return Teller(tracker)


@pytest.fixture
def batches(tracker: MlflowWriter, monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Counts the batches that go out; they still do."""
    counted = MagicMock(wraps=tracker._client.log_batch)
    monkeypatch.setattr(tracker._client, "log_batch", counted)
    return counted


def test_study_is_a_parent_with_flat_params(teller: Teller, client: MlflowClient) -> None:
    teller.study()
    teller.flush()
    (parent,) = all_runs(client)
    assert parent.info.run_name == "mine"
    assert parent.info.status == "RUNNING"
    assert parent.data.tags["tl_study.kind"] == "study"
    assert parent.data.params == {
        "id": "0123",
        "settings.backbone": "mlp",
        "settings.debug": "False",
        "settings.metric": "val_log_loss",
        "settings.lr": "[0.001]",
        "settings.aux_weight": "[0.0]",
        "settings.name": "None",
        "data.images": "40",
        "data.classes": '{"a=b: ?": 20, "c": 20}',
        "splits.val": "abc",
        "splits.train_0.1": "def",
    }


def test_trial_is_a_child_with_params_and_metrics_by_epoch(
    teller: Teller, client: MlflowClient
) -> None:
    teller.study()
    teller.start(4, make_config(mode="finetune", aux_weight=0.25), about=SPLIT)
    teller.epoch(4, make_epoch(1, val_log_loss=0.5))
    teller.flush()
    teller.epoch(4, make_epoch(2, val_log_loss=0.125))
    teller.end(4, "done", test={"test_accuracy": 0.75}, wall_s=2.5)
    teller.flush()
    parent, child = all_runs(client)
    assert child.info.run_name == "4 finetune 0.1"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["tl_study.kind"] == "trial"
    assert child.data.tags["tl_study.study"] == "mine"
    expected = {"trial": "4", "mode": "finetune", "aux_weight": "0.25", "split.train": "def"}
    assert child.data.params.items() >= expected.items()
    assert "source" not in child.data.params
    history = client.get_metric_history(child.info.run_id, "val_log_loss")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (2, 0.125)]
    assert child.data.metrics["test_accuracy"] == 0.75
    assert child.data.metrics["wall_s"] == 2.5
    assert "epoch" not in child.data.metrics


def test_trial_that_confirms_says_so(teller: Teller, client: MlflowClient) -> None:
    teller.study()
    teller.start(9, make_config(), kind="confirm", source=4)
    teller.flush()
    _, child = all_runs(client)
    assert child.data.tags["tl_study.kind"] == "confirm"
    assert child.data.params["source"] == "4"


def test_single_trial_has_no_parent(teller: Teller, client: MlflowClient) -> None:
    teller.study(debug=True)
    teller.start(0, make_config())
    teller.end(0, "done")
    teller.close("done", [])
    teller.flush()
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
    teller: Teller, client: MlflowClient, status: Status, error: str | None, ended: str
) -> None:
    teller.study(debug=True)
    teller.start(0, make_config())
    teller.end(0, status, error=error)
    teller.flush()
    (run,) = all_runs(client)
    assert run.info.status == ended
    assert run.data.tags["tl_study.status"] == status
    assert run.data.tags.get("tl_study.error") == error


def test_long_reasons_and_values_do_not_break_the_store(
    teller: Teller, client: MlflowClient
) -> None:
    teller.study(debug=True)
    teller.start(0, make_config(weights="w" * 9_000))
    teller.end(0, "failed", error="x" * 20_000)
    teller.flush()
    (run,) = all_runs(client)
    assert run.info.status == "FAILED"
    assert run.data.tags["tl_study.error"].startswith("xxx")
    assert run.data.params["weights"] == "w" * 6_000


def test_a_short_trial_goes_out_in_one_batch(teller: Teller, batches: MagicMock) -> None:
    teller.study(debug=True)
    teller.start(0, make_config())
    for epoch in range(1, 31):
        teller.epoch(0, make_epoch(epoch))
    teller.end(0, "done")
    teller.flush()
    assert batches.call_count == 1
    # 30 epochs of 9 values, and the wall time.
    assert len(batches.call_args.args[1]) == 30 * METRICS + 1
    teller.flush()
    assert batches.call_count == 1


def test_batches_keep_to_what_a_server_takes(teller: Teller, batches: MagicMock) -> None:
    teller.study(debug=True)
    teller.start(0, make_config(), about={f"p{i}": i for i in range(150)})
    for epoch in range(1, 201):
        teller.epoch(0, make_epoch(epoch))
    teller.end(0, "done")
    teller.flush()
    metrics, params, tags = zip(*(call.args[1:] for call in batches.call_args_list), strict=True)
    n_params = 150 + 3 + len(make_config().model_dump())
    assert [len(some) for some in params] == [100, n_params - 100]
    assert [len(some) for some in tags] == [1, 0]
    assert sum(len(some) for some in metrics) == 200 * METRICS + 1
    everything = [sum(map(len, call.args[1:])) for call in batches.call_args_list]
    assert max(everything) == 1000


def test_best_so_far_is_a_metric_of_the_parent(teller: Teller, client: MlflowClient) -> None:
    teller.study()
    for trial, loss in enumerate((0.5, 0.75, 0.25)):
        teller.start(trial, make_config())
        teller.epoch(trial, make_epoch(val_log_loss=loss))
        teller.end(trial, "done")
    teller.flush()
    parent = all_runs(client)[0]
    history = client.get_metric_history(parent.info.run_id, "best_val_log_loss")
    assert [(m.step, m.value) for m in history] == [(1, 0.5), (3, 0.25)]


@pytest.mark.parametrize(
    ("status", "ended"),
    [("done", "FINISHED"), ("some trials failed", "FINISHED"), ("interrupted", "KILLED")],
)
def test_end_of_a_study(
    teller: Teller, client: MlflowClient, tmp_path: Path, status: str, ended: str
) -> None:
    teller.study()
    (tmp_path / "trials.csv").write_text("trial\n")
    teller.close(status, [tmp_path / "trials.csv", tmp_path / "gone.png"])
    teller.flush()
    (parent,) = all_runs(client)
    assert (parent.info.status, parent.data.tags["tl_study.status"]) == (ended, status)
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["trials.csv"]


def test_what_is_told_twice_is_there_once(
    teller: Teller, tracker: MlflowWriter, uri: str, client: MlflowClient
) -> None:
    def tell(to: Teller) -> None:
        to.at = 1000.0
        to.study()
        to.start(0, make_config())
        to.epoch(0, make_epoch(1, val_log_loss=0.5))
        to.end(0, "done")
        to.close("done", [])
        to.flush()

    tell(teller)
    once = [run.to_dictionary() for run in all_runs(client)]
    tracker.forget()
    tell(teller)
    another = MlflowWriter(uri)  # A new process, which finds the runs by their key.
    another.forget()
    tell(Teller(another))
    assert [run.to_dictionary() for run in all_runs(client)] == once
    child = all_runs(client)[1]
    assert len(client.get_metric_history(child.info.run_id, "val_log_loss")) == 1


def test_second_study_joins_the_experiment(uri: str, client: MlflowClient) -> None:
    assert MlflowWriter(uri).experiment_id == MlflowWriter(uri).experiment_id
    client.delete_experiment(MlflowWriter(uri).experiment_id)
    with pytest.raises(InputError, match="experiment 'tl-study' is deleted; restore or purge it"):
        MlflowWriter(uri)


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
        MlflowWriter(bad)
    assert len(caught.value.faults) == 1


def test_server_that_does_not_answer() -> None:
    with pytest.raises(InputError, match=r"^--tracking-uri http://127.0.0.1:9: .*refused"):
        MlflowWriter("http://127.0.0.1:9")


@pytest.mark.parametrize("uri", ["ftp://me:secret@127.0.0.1/x", "http://me:secret@127.0.0.1:9"])
def test_no_credentials_in_what_is_told(uri: str) -> None:
    with pytest.raises(InputError) as caught:
        MlflowWriter(uri)
    assert "secret" not in str(caught.value)


def test_view_is_a_tag_of_the_experiment_that_the_parent_leads_to(
    tracker: MlflowWriter, teller: Teller, client: MlflowClient
) -> None:
    teller.study()
    teller.flush()
    (parent,) = all_runs(client)
    key, value = shared_view(parent.info.run_id, "val_log_loss")
    assert client.get_experiment(tracker.experiment_id).tags[key] == value
    note = parent.data.tags["mlflow.note.content"]
    assert f"&viewStateShareKey={parent.info.run_id})" in note


def test_winner_is_registered_once(teller: Teller, client: MlflowClient, tmp_path: Path) -> None:
    save_model(tmp_path / "winner", make_model())
    teller.study()
    teller.start(0, make_config())
    teller.end(0, "done", model=tmp_path / "winner")
    teller.flush()
    teller.end(0, "done", model=tmp_path / "winner")  # Told again.
    teller.flush()
    assert [str(v.version) for v in client.search_model_versions("name='mine'")] == ["1"]
    save_model(tmp_path / "winner", make_model("mlp"))  # Of a study that went on.
    teller.end(0, "done", model=tmp_path / "winner")
    teller.flush()
    assert str(client.get_model_version_by_alias("mine", "best").version) == "2"
