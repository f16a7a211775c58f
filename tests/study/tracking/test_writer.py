import os
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from study.records.trial_record import Status
from study.tracking.batch import Batch
from study.tracking.links import shared_view
from study.tracking.writer import MlflowWriter
from tests.support.models import make_model
from tests.support.studies.builders import (
    WrittenLedger,
    all_runs,
    make_about,
    make_epoch,
    make_record,
    write_record,
)
from tl_core.errors import InputError
from tl_core.inference.serialization import save_model


@pytest.fixture
def writer(uri: str) -> MlflowWriter:
    return MlflowWriter(uri, "tl-study")


@pytest.fixture
def ledger(writer: MlflowWriter, tmp_path: Path) -> WrittenLedger:
    return WrittenLedger(tmp_path, writer)


def test_study_is_a_parent_with_flat_params(ledger: WrittenLedger, client: MlflowClient) -> None:
    about = make_about(backbone="mlp", lr=[1e-3], name=None) | {"splits": {"train_0.1": "def"}}
    about["data"] = {"images": 40, "classes": {"a=b: ?": 20, "c": 20}}
    ledger.study("mine", about)
    ledger.flush()
    (parent,) = all_runs(client)
    assert (parent.info.run_name, parent.info.status) == ("mine", "RUNNING")
    assert parent.data.tags["tl_study.kind"] == "study"
    assert parent.data.params == {
        "id": "0123", "settings.backbone": "mlp", "settings.debug": "False",
         "settings.metric": "val_log_loss", "settings.experiment": "tl-study",
         "settings.lr": "[0.001]", "settings.name": "None",
         "settings.mode": "['freeze']", "settings.aux_weight": "[0.0]", "data.images": "40",
         "splits.train_0.1": "def", "data.classes": '{"a=b: ?": 20, "c": 20}',
    }  # fmt: skip
    # The description leads to the view, which is a tag of the experiment.
    key, value = shared_view(parent.info.run_id, "val_log_loss", ["freeze"])
    assert client.get_experiment(ledger.writer.experiment_id).tags[key] == value
    note = parent.data.tags["mlflow.note.content"]
    assert f"&viewStateShareKey={parent.info.run_id})" in note


def test_trial_is_a_child_with_its_metrics(ledger: WrittenLedger, client: MlflowClient) -> None:
    ledger.study("mine", make_about())
    record = make_record(4, log_losses=(), mode="finetune", aux_weight=0.25)
    ledger.start(record, {"split": {"train": "def", "val": "abc"}})
    ledger.epoch(4, make_epoch(1, val_log_loss=0.5))
    ledger.flush()
    ledger.epoch(4, make_epoch(2, val_log_loss=0.125))
    record.test, record.wall_s = {"test_accuracy": 0.75}, 2.5
    ledger.end(record, [])
    confirming = make_record(9, log_losses=())
    confirming.kind, confirming.source = "confirm", 4
    ledger.start(confirming, {})
    ledger.flush()
    parent, child, confirm = all_runs(client)
    assert child.info.run_name == "4 finetune 0.1"
    tags = {"mlflow.parentRunId": parent.info.run_id, "tl_study.study": "mine"}
    assert child.data.tags.items() >= (tags | {"tl_study.kind": "trial"}).items()
    expected = {"trial": "4", "mode": "finetune", "aux_weight": "0.25", "split.train": "def"}
    assert child.data.params.items() >= expected.items()
    assert steps(client, child, "val_log_loss") == [(1, 0.5), (2, 0.125)]
    assert child.data.metrics.items() >= {"test_accuracy": 0.75, "wall_s": 2.5}.items()
    assert "epoch" not in child.data.metrics
    assert "source" not in child.data.params
    assert (confirm.data.tags["tl_study.kind"], confirm.data.params["source"]) == ("confirm", "4")


def steps(client: MlflowClient, run: Run, metric: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, metric)]


@pytest.mark.parametrize(("status", "error", "ended"), [
    ("done", None, "FINISHED"), ("pruned", None, "FINISHED"), ("failed", "x" * 9_000, "FAILED"),
    ("failed", "DivergedError: train_loss is nan in epoch 1", "FAILED"),
    ("interrupted", None, "KILLED"),
])  # fmt: skip
def test_single_trial(
    ledger: WrittenLedger, client: MlflowClient, status: Status, error: str | None, ended: str
) -> None:
    ledger.study("mine", make_about(debug=True))
    write_record(ledger, make_record(0, status, error=error, weights="w" * 9_000))
    ledger.close("done", [])
    ledger.flush()
    (run,) = all_runs(client)
    assert "mlflow.parentRunId" not in run.data.tags
    assert run.info.status == ended
    assert run.data.tags["tl_study.status"] == status
    # Long texts do not break the store.
    assert str(run.data.tags.get("tl_study.error"))[:99] == str(error)[:99]
    assert run.data.params["weights"] == "w" * 6_000


@pytest.mark.parametrize(("status", "ended"), [
    ("done", "FINISHED"), ("some trials failed", "FINISHED"), ("interrupted", "KILLED"),
    ("out of time", "KILLED"),
])  # fmt: skip
def test_study_end(ledger: WrittenLedger, client: MlflowClient, status: str, ended: str) -> None:
    ledger.study("mine", make_about())
    Path("trials.csv").write_text("trial\n")
    ledger.close(status, [Path("trials.csv"), Path("gone.png")])
    ledger.flush()
    (parent,) = all_runs(client)
    assert (parent.info.status, parent.data.tags["tl_study.status"]) == (ended, status)
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["trials.csv"]


OUTCOME = {
    "answer": ["Use fine-tuning on cat_dog.", "The gain is <b>unknown</b>."],
    "winner": {"trial": 0, "mode": "finetune", "train_ratio": 0.1},
    "scores": {"winner_val_log_loss": 0.5, "test_accuracy_mean": 0.75, "test_auroc_mean": None},
}


def test_a_study_that_has_ended_shows_its_answer_and_its_winner(
    ledger: WrittenLedger, client: MlflowClient
) -> None:
    ledger.study("mine", make_about())
    write_record(ledger, make_record(0, log_losses=(0.5,)))
    ledger.close("done", [], OUTCOME)
    ledger.flush()
    parent, winner = all_runs(client)
    place = f"#/experiments/{parent.info.experiment_id}/runs"
    links, *answer = parent.data.tags["mlflow.note.content"].split("\n\n")
    assert answer == ["Use fine-tuning on cat\\_dog.", "The gain is &lt;b&gt;unknown&lt;/b&gt;."]
    assert links == (
        f"[Winner, trial 0]({place}/{winner.info.run_id}) · [Compare the trials]({place}?"
        "workflowType=machine_learning&compareRunsMode=CHART"
        f"&viewStateShareKey={parent.info.run_id})"
    )
    tags = {"trial": "0", "mode": "finetune", "train_ratio": "0.1"}
    assert {f"tl_study.winner_{k}": v for k, v in tags.items()}.items() <= parent.data.tags.items()
    search = {"search_best_val_log_loss": 0.5}
    assert parent.data.metrics == search | {"winner_val_log_loss": 0.5, "test_accuracy_mean": 0.75}


def test_a_resumed_study_runs_also_if_its_earlier_end_is_sent_with_its_start(
    ledger: WrittenLedger, client: MlflowClient
) -> None:
    ledger.study("mine", make_about())
    ledger._write("close", status="out of time", files=[], outcome={})
    ledger.study("mine", make_about(), again=True)
    ledger.flush()
    (parent,) = all_runs(client)
    assert (parent.info.status, parent.data.tags["tl_study.status"]) == ("RUNNING", "running")


def test_each_once(ledger: WrittenLedger, writer: MlflowWriter, client: MlflowClient) -> None:
    ledger.study("mine", make_about())
    for trial, loss in enumerate((0.5, 0.75, 0.25)):
        write_record(ledger, make_record(trial, log_losses=(loss,)))
    ledger.close("done", [], OUTCOME)
    ledger.flush()
    once = [run.to_dictionary() for run in all_runs(client)]
    # Another process finds the runs by their key.
    for again in (writer, MlflowWriter(writer.uri, "tl-study")):
        again.discard()
        ledger.rewind(again)
        ledger.flush()
    parent, first, *_ = runs = all_runs(client)
    assert [run.to_dictionary() for run in runs] == once
    assert steps(client, first, "val_log_loss") == [(1, 0.5)]
    assert steps(client, parent, "search_best_val_log_loss") == [(1, 0.5), (3, 0.25)]


def test_second_study_joins_the_experiment(uri: str, client: MlflowClient) -> None:
    assert (
        MlflowWriter(uri, "tl-study").experiment_id == MlflowWriter(uri, "tl-study").experiment_id
    )
    client.delete_experiment(MlflowWriter(uri, "tl-study").experiment_id)
    with pytest.raises(InputError, match="experiment 'tl-study' is deleted; restore or purge it"):
        MlflowWriter(uri, "tl-study")


@pytest.mark.parametrize(("bad", "shown", "why"), [
    ("./mlruns", "./mlruns", "filesystem tracking backend"),
    ("ftp://me:secret@127.0.0.1/x", "ftp://127.0.0.1/x", "got unsupported URI"),
    ("sqlite:////dev/null/x.db", "sqlite:////dev/null/x.db", ""),
    ("http://me:secret@127.0.0.1:9", "http://127.0.0.1:9", "refused"),
])  # fmt: skip
def test_store_that_cannot_be_used(bad: str, shown: str, why: str) -> None:
    with pytest.raises(InputError, match=f"^--tracking-uri {shown}: .*{why}") as caught:
        MlflowWriter(bad, "tl-study")
    assert len(caught.value.faults) == 1
    assert "secret" not in str(caught.value)


def test_winner_is_registered_once(ledger: WrittenLedger, client: MlflowClient) -> None:
    ledger.study("mine", make_about())
    ledger.start(make_record(), {})
    for backbone in ("shared_mlp", "shared_mlp", "mlp"):  # The last: the study was extended.
        save_model(Path("winner"), make_model(backbone))
        ledger.end(make_record(), [], Path("winner"))
        ledger.flush()
        versions = [str(v.version) for v in client.search_model_versions("name='mine'")]
        assert sorted(versions) == (["1", "2"] if backbone == "mlp" else ["1"])
    assert str(client.get_model_version_by_alias("mine", "best").version) == "2"
    assert ledger.writer.notes == set()


def test_a_winner_takes_the_alias_of_another_study_with_its_name(uri: str, tmp_path: Path) -> None:
    notes = []
    save_model(tmp_path / "winner", make_model())
    for study_id in ("0123", "4567"):
        folder = tmp_path / study_id
        folder.mkdir()
        ledger = WrittenLedger(folder, MlflowWriter(uri, "tl-study"))
        ledger.study("a/b", make_about() | {"id": study_id})
        ledger.start(make_record(), {})
        ledger.end(make_record(), [], tmp_path / "winner")
        ledger.flush()
        notes.append(ledger.writer.notes)
    note = "models:/a-b@best was of another study with this name, and is of this one now"
    assert notes == [set(), {note}]


@pytest.mark.parametrize(("value", "sent"), [
    ("猫 new\nline", "猫 new\nline"),
    (os.fsdecode(b"/data/caf\xe9"), r"/data/caf\udce9"),
    ("\udce9" * 6000, r"\udce9" * 1000),
    (0.5, "0.5"),
])  # fmt: skip
def test_params_and_tags_are_text_that_databases_accept(value: object, sent: str) -> None:
    batch = Batch()
    batch.params["settings.data"] = value
    batch.tags["tl_study.error"] = str(value)[:1000]
    ((_, (param,), (tag,)),) = batch.parts()
    assert (param.key, param.value) == ("settings.data", sent)
    assert (tag.key, tag.value) == ("tl_study.error", sent)


@pytest.mark.parametrize(("epochs", "params", "sizes"), [
    (30, 20, [(270, 20, 1)]),  # A short trial is one part.
    (200, 170, [(899, 100, 1), (901, 70, 0)]),  # At most 1,000 values, 100 of them params.
    (300, 0, [(999, 0, 1), (1000, 0, 0), (701, 0, 0)]),
])  # fmt: skip
def test_parts_keep_to_the_limits(epochs: int, params: int, sizes: list[tuple[int, ...]]) -> None:
    batch = Batch()
    for epoch in range(epochs):
        batch.add(dict.fromkeys("abcdefghi", 0.5), epoch, 1.5)
    batch.params = {f"p{i}": i for i in range(params)}
    batch.tags = {"tl_study.status": "done"}
    assert [(len(m), len(p), len(t)) for m, p, t in batch.parts()] == sizes
