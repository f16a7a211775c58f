"""Where a run sends its reader."""

import json
import shlex
from pathlib import Path

import pytest
from mlflow import MlflowClient

from study.config.settings import FACTORS
from study.tracking.links import AXES, axes, shared_view, where_to_look
from study.tracking.writer import MlflowWriter
from tests.support.mlflow_server import MlflowServer
from tests.support.sockets import listening
from tests.support.studies.builders import (
    WrittenLedger,
    make_about,
    make_config,
    make_record,
    write_record,
)
from tests.support.study_fixtures import Patch
from tl_core.config import MODES, Metric, Mode


def write_runs(uri: str, name: str, log_losses: tuple[float, ...]) -> MlflowWriter:
    """Write a study with a trial for each of `log_losses`, its last value."""
    Path(name).mkdir()
    ledger = WrittenLedger(Path(name), MlflowWriter(uri, "tl-study"))
    ledger.study(name, make_about() | {"id": name})
    for trial, loss in enumerate(log_losses):
        write_record(ledger, make_record(trial, log_losses=(1.0, loss), lr=10 ** -(trial + 1)))
    ledger.flush()
    return ledger.writer


def test_view_of_one_study_in_a_store(uri: str, client: MlflowClient) -> None:
    write_runs(uri, "other", (0.1,))
    writer = write_runs(uri, "mine", (0.75, 0.25, 0.5))
    parent_id = writer.run_ids["study"]
    key, value = shared_view(parent_id, "val_log_loss", ["freeze"])
    assert key == f"mlflow.sharedViewState.{parent_id}"
    view = json.loads(value)
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    runs = client.search_runs([writer.experiment_id], view["searchFilter"], order_by=[order])
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent_id}
    assert [run.data.params["trial"] for run in runs] == ["1", "2", "0"]
    assert [run.data.params["log10_lr"] for run in runs] == ["-2.0", "-3.0", "-1.0"]
    factors, *curves = view["compareRunCharts"]
    # Only partial fine-tuning unfreezes some stages; a line needs a place on every axis.
    assert {"lr" if axis == "log10_lr" else axis for axis in AXES} == {*FACTORS} - {"unfreeze"}
    assert runs[0].data.params.keys() >= set(factors["selectedParams"]) == set(AXES)
    assert factors["selectedMetrics"] == ["val_log_loss"]
    drawn = [curve["metricKey"] for curve in curves]
    assert drawn == ["val_log_loss", "val_accuracy", "train_loss"]
    assert runs[0].data.metrics.keys() >= set(drawn)


@pytest.mark.parametrize(
    ("metric", "rises", "charts"), [("val_log_loss", True, 4), ("val_accuracy", False, 3)]
)
def test_view_of_a_metric(metric: Metric, rises: bool, charts: int) -> None:
    view = json.loads(shared_view("abc", metric, ["freeze"])[1])
    assert view["orderByAsc"] is rises
    shown = {section["uuid"] for section in view["compareRunSections"] if section["display"]}
    assert {chart["metricSectionId"] for chart in view["compareRunCharts"]} == shown
    assert len({chart["uuid"] for chart in view["compareRunCharts"]}) == charts
    longest = shared_view("f" * 32, "val_brightness_mae", MODES)[1]
    assert len(longest) <= 5_000, "it fits into a tag of the oldest servers"


def test_an_axis_takes_words_where_aux_weight_may_be_auto() -> None:
    view = json.loads(shared_view("abc", "val_log_loss", ["freeze"], auto=True)[1])
    factors, *_ = view["compareRunCharts"]
    assert factors["selectedParams"][-1] == "aux_weight_word"
    assert axes(make_config(aux_weight="auto"))["aux_weight_word"] == "auto"
    assert axes(make_config(aux_weight=0.5))["aux_weight_word"] == "w 0.5"


def test_a_probe_has_no_learning_rate_on_an_axis() -> None:
    assert axes(make_config(mode="probe")) == {"aux_weight_word": "w 0"}
    assert axes(make_config(lr=0.1))["log10_lr"] == -1


@pytest.mark.parametrize(("modes", "drawn"), [
    (["freeze", "finetune"], {"factors": True}),
    (["freeze", "probe"], {"factors": False, "rates": True}),
    (["probe"], {"factors": False}),
])  # fmt: skip
def test_a_chart_without_learning_rates_has_the_probes(
    modes: list[Mode], drawn: dict[str, bool]
) -> None:
    view = json.loads(shared_view("abc", "val_log_loss", modes)[1])
    charts = [chart for chart in view["compareRunCharts"] if chart["type"] == "PARALLEL"]
    found = {c["metricSectionId"]: "log10_lr" in c["selectedParams"] for c in charts}
    assert found == drawn


CHARTS = "#/experiments/7/runs?workflowType=machine_learning&compareRunsMode=CHART"


UI = "mlflow ui --backend-store-uri sqlite:///mlflow.db\n          then: http://127.0.0.1:5000/"


@pytest.mark.parametrize(("uri", "key", "activated", "text"), [
    ("http://me:secret@host:5000/", None, True, f"http://host:5000/{CHARTS}"),
    ("http://host", "abc", True, f"http://host/{CHARTS}&viewStateShareKey=abc"),
    ("databricks", "abc", True, "experiment 7 of databricks"),
    ("databricks://me", None, True, "experiment 7 of databricks://me"),
    ("sqlite:///mlflow.db", None, True, f"{UI}{CHARTS}"),
    ("sqlite:///my a.db", None, True, f"{UI}{CHARTS}".replace("sqlite:///mlflow", "'sqlite:///my a")
     .replace(".db", ".db'")),
    ("postgresql://me:secret@db/runs?sslmode=require", None, True,
     UI.replace("sqlite:///mlflow.db", "postgresql://USER:PASSWORD@db/runs") + CHARTS),
    ("sqlite:///mlflow.db", "abc", False, f"/x/.venv/bin/{UI}{CHARTS}&viewStateShareKey=abc"),
])  # fmt: skip
def test_where_to_look(
    uri: str, key: str | None, activated: bool, text: str, monkeypatch: Patch
) -> None:
    monkeypatch.setattr("study.tracking.links.shutil.which", lambda name: activated and name)
    monkeypatch.setattr("study.tracking.links.sys.executable", "/x/.venv/bin/python")
    assert where_to_look(uri, "7", key) == f"compare trials: {text}"


@pytest.mark.integration
def test_the_printed_command_serves_this_machine_alone(uri: str, tmp_path: Path) -> None:
    command = where_to_look(uri, "1").splitlines()[0].removeprefix("compare trials: ")
    with MlflowServer(uri, tmp_path, shlex.split(command)) as server:
        found = {str(address) for address in listening(server.processes()).values()}
    assert found == {"127.0.0.1"}
