"""Which settings the variables of MLflow give, and when they are not read."""

import pytest

from study.config.defaults import DEFAULTS, from_environment
from study.config.validate import resolve
from study.preflight.setup import new_setup
from tests.support.study_fixtures import Patch


def test_variables_are_defaults_that_flags_replace(monkeypatch: Patch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "cats")
    settings, faults = resolve({})
    assert faults == []
    assert (settings.tracking_uri, settings.experiment) == ("http://host:5000", "cats")
    settings, _ = resolve({"tracking_uri": "sqlite:///own.db"})
    assert (settings.tracking_uri, settings.experiment) == ("sqlite:///own.db", "cats")


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_variable_is_none(monkeypatch: Patch, value: str | None) -> None:
    if value is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    assert from_environment() == {}
    assert resolve({})[0].tracking_uri == DEFAULTS["tracking_uri"]


def test_a_set_up_knows_which_variables_it_read(monkeypatch: Patch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "cats")
    assert new_setup({"experiment": "dogs"}).variables == ("MLFLOW_TRACKING_URI",)
    assert new_setup({}).variables == ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")


def test_a_variable_in_another_encoding_is_told(monkeypatch: Patch) -> None:
    why = "is not text in this system's encoding; set LANG=C.UTF-8, or use ASCII alone"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "n\udcc3me")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@h\udcc3st")
    setup = new_setup({})
    assert {str(setup.name_source(fault)) for fault in setup.setting_faults} == {
        f"MLFLOW_EXPERIMENT_NAME n\udcc3me: {why}",
        f"MLFLOW_TRACKING_URI http://h\udcc3st: {why}",
    }
    assert setup.settings.experiment == DEFAULTS["experiment"]
    assert str(resolve({"experiment": "n\udcc3me"})[1][-1]) == f"--experiment n\udcc3me: {why}"
