import json
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow import MlflowClient

from study.records.trial_record import FACTORS
from study.tracking.links import AXES, axes, shared_view, where_to_look
from study.tracking.writer import MlflowWriter
from tests.support.sockets import listening
from tests.support.studies.builders import (
    WrittenLedger,
    make_about,
    make_config,
    make_record,
    write_record,
)
from tl_core.config import Metric


def write_runs(uri: str, name: str, log_losses: tuple[float, ...]) -> MlflowWriter:
    """Write a study with a trial for each of `log_losses`, its last value."""
    Path(name).mkdir()
    ledger = WrittenLedger(Path(name), MlflowWriter(uri))
    ledger.study(name, make_about() | {"id": name})
    for trial, loss in enumerate(log_losses):
        write_record(ledger, make_record(trial, log_losses=(1.0, loss), lr=10 ** -(trial + 1)))
    ledger.flush()
    return ledger.writer


def test_view_of_one_study_in_a_store(uri: str, client: MlflowClient) -> None:
    write_runs(uri, "other", (0.1,))
    writer = write_runs(uri, "mine", (0.75, 0.25, 0.5))
    parent_id = writer.run_ids["study"]
    key, value = shared_view(parent_id, "val_log_loss")
    assert key == f"mlflow.sharedViewState.{parent_id}"
    view = json.loads(value)
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    runs = client.search_runs([writer.experiment_id], view["searchFilter"], order_by=[order])
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent_id}
    assert [run.data.params["trial"] for run in runs] == ["1", "2", "0"]
    assert [run.data.params["log10_lr"] for run in runs] == ["-2.0", "-3.0", "-1.0"]
    factors, *curves = view["compareRunCharts"]
    assert {"lr" if axis == "log10_lr" else axis for axis in AXES} == FACTORS
    assert runs[0].data.params.keys() >= set(factors["selectedParams"]) == set(AXES)
    assert factors["selectedMetrics"] == ["val_log_loss"]
    drawn = [curve["metricKey"] for curve in curves]
    assert drawn == ["val_log_loss", "val_accuracy", "train_loss"]
    assert runs[0].data.metrics.keys() >= set(drawn)


@pytest.mark.parametrize(
    ("metric", "rises", "charts"), [("val_log_loss", True, 4), ("val_accuracy", False, 3)]
)
def test_view_of_a_metric(metric: Metric, rises: bool, charts: int) -> None:
    view = json.loads(shared_view("abc", metric)[1])
    assert view["orderByAsc"] is rises
    shown = {section["uuid"] for section in view["compareRunSections"] if section["display"]}
    assert {chart["metricSectionId"] for chart in view["compareRunCharts"]} == shown
    assert len({chart["uuid"] for chart in view["compareRunCharts"]}) == charts


def test_view_fits_into_a_tag_of_the_oldest_servers() -> None:
    assert len(shared_view("f" * 32, "val_brightness_mae")[1]) <= 5_000


def test_an_axis_takes_words_where_aux_weight_may_be_auto() -> None:
    factors, *_ = json.loads(shared_view("abc", "val_log_loss", auto=True)[1])["compareRunCharts"]
    assert factors["selectedParams"][-1] == "aux_weight_word"
    assert axes(make_config(aux_weight="auto"))["aux_weight_word"] == "auto"
    assert axes(make_config(aux_weight=0.5))["aux_weight_word"] == "w 0.5"


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
    monkeypatch.setattr("study.tracking.links.shutil.which", lambda name: f"/bin/{name}")
    told = where_to_look(uri, "7").splitlines()
    assert told[-1].endswith("workflowType=machine_learning&compareRunsMode=CHART")
    assert [line[: len(start)] for line, start in zip(told, lines, strict=True)] == lines


def test_where_to_look_without_an_activated_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.tracking.links.shutil.which", lambda name: None)
    monkeypatch.setattr("study.tracking.links.sys.executable", "/x/.venv/bin/python")
    told = where_to_look("sqlite:///mlflow.db", "7").splitlines()[0]
    assert told == "compare trials: /x/.venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db"


@pytest.mark.parametrize("key", [None, "abc"])
def test_where_to_look_names_the_view_if_there_is_one(key: str | None) -> None:
    told = where_to_look("http://host:5000", "7", key)
    assert told.endswith("CHART&viewStateShareKey=abc" if key else "CHART")


@pytest.mark.integration
def test_the_printed_command_serves_this_machine_alone(uri: str) -> None:
    command = where_to_look(uri, "1").splitlines()[0].removeprefix("compare trials: ")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Path("log").open("w") as log:
        words = [*shlex.split(command), "--port", str(port), "--workers", "1"]
        server = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    try:
        while server.poll() is None and not _answers(port):
            time.sleep(0.2)
        found = {str(address) for address in listening(_session(server.pid)).values()}
        assert found == {"127.0.0.1"}, Path("log").read_text()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _answers(port: int) -> bool:
    with socket.socket() as door:
        return door.connect_ex(("127.0.0.1", port)) == 0


def _session(leader: int) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError):  # It has ended meanwhile.
            if os.getsid(int(folder.name)) == leader:
                yield int(folder.name)
