import json
import uuid

import pytest
from mlflow import MlflowClient

from study.records.trial_record import FACTORS
from study.tracking.links import AXES, shared_view
from study.tracking.writer import MlflowWriter
from tests.support.studies.builders import Teller, make_config, make_epoch
from tl_core.config import Metric


def make_study(tracker: MlflowWriter, log_losses: tuple[float, ...]) -> str:
    """Track a study, a trial for each of `log_losses`, which it ends with; return its run."""
    teller = Teller(tracker, uuid.uuid4().hex)
    teller.study()
    for trial, loss in enumerate(log_losses):
        teller.start(trial, make_config(lr=10 ** -(trial + 1)))
        for epoch, value in enumerate((1.0, loss), 1):
            teller.epoch(trial, make_epoch(epoch, val_log_loss=value))
        teller.end(trial, "done")
    teller.flush()
    return tracker.run_ids["study"]


def test_view_has_the_trials_of_one_study_best_first(uri: str, client: MlflowClient) -> None:
    make_study(MlflowWriter(uri), (0.1, 0.2))
    tracker = MlflowWriter(uri)
    parent_id = make_study(tracker, (0.75, 0.25, 0.5))
    view = json.loads(shared_view(parent_id, "val_log_loss")[1])
    order = f"{view['orderByKey']} {'ASC' if view['orderByAsc'] else 'DESC'}"
    runs = client.search_runs([tracker.experiment_id], view["searchFilter"], order_by=[order])
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent_id}
    assert [run.data.params["trial"] for run in runs] == ["1", "2", "0"]


@pytest.mark.parametrize(("metric", "rises"), [("val_log_loss", True), ("val_accuracy", False)])
def test_best_is_the_lowest_or_the_highest(metric: Metric, rises: bool) -> None:
    assert json.loads(shared_view("abc", metric)[1])["orderByAsc"] is rises


def test_view_draws_the_factors_and_the_curves(uri: str, client: MlflowClient) -> None:
    tracker = MlflowWriter(uri)
    make_study(tracker, (0.5, 0.25))
    (first, second) = client.search_runs(
        [tracker.experiment_id], "tags.`tl_study.kind` = 'trial'", order_by=["params.trial"]
    )
    view = json.loads(shared_view("abc", "val_log_loss")[1])
    factors, *curves = view["compareRunCharts"]
    assert {"lr" if axis == "log10_lr" else axis for axis in AXES} == FACTORS
    assert first.data.params.keys() >= set(factors["selectedParams"]) == set(AXES)
    assert factors["selectedMetrics"] == ["val_log_loss"]
    assert [run.data.params["log10_lr"] for run in (first, second)] == ["-1.0", "-2.0"]
    drawn = [curve["metricKey"] for curve in curves]
    assert drawn == ["val_log_loss", "val_accuracy", "train_loss"]
    assert first.data.metrics.keys() >= set(drawn)


def test_every_chart_is_in_a_section_and_drawn_once() -> None:
    view = json.loads(shared_view("abc", "val_accuracy")[1])
    charts, sections = view["compareRunCharts"], view["compareRunSections"]
    shown = {section["uuid"] for section in sections if section["display"]}
    assert {chart["metricSectionId"] for chart in charts} == shown
    assert len({chart["uuid"] for chart in charts}) == len(charts) == 3


def test_view_fits_into_a_tag_of_the_oldest_servers() -> None:
    key, value = shared_view("f" * 32, "val_brightness_mae")
    assert key == "mlflow.sharedViewState." + "f" * 32
    assert len(value) <= 5_000
