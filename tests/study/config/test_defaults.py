"""Defaults that depend on the machine, and on the variables of MLflow."""

import pwd
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from study import doctor, run
from study.config.defaults import DEFAULTS, from_environment, layers_of
from study.config.program import command_of
from study.config.validate import resolve
from study.preflight.resume import continued_setup
from study.preflight.setup import new_setup
from study.records.stored_settings import settings_of
from tests.support.studies.synthetic import tiny_study
from tests.support.study_fixtures import Capture, Patch


@pytest.fixture
def homeless(monkeypatch: Patch) -> None:
    """As in a container: no HOME, and a user id without a name."""

    def fail(uid: int) -> None:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "TL_STUDY_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", fail)
    monkeypatch.setattr("os.getuid", lambda: 12345)


@pytest.mark.parametrize("main", [run.main, doctor.main])
def test_without_a_home_one_line_says_what_to_set(
    main: Callable[[Sequence[str]], int], homeless: None, capsys: Capture
) -> None:
    assert main([]) == 2
    title, fault = capsys.readouterr().err.splitlines()
    assert title == "error: the study can't start"
    assert fault == (
        "  HOME is not set and user id 12345 has no name, so caches have no place; set HOME to a "
        "folder that you can write, as in HOME=/tmp/me"
    )
    assert not Path("~").exists()


def test_a_place_for_caches_is_enough(homeless: None, monkeypatch: Patch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert layers_of({})["cache"] == Path("/somewhere/tl-study")


def test_a_tilde_is_the_home_of_the_user(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings, faults = resolve({"out": "~/runs", "cache": "~/cache"})
    assert (settings.out, settings.cache, faults) == (tmp_path / "runs", tmp_path / "cache", [])
    monkeypatch.setenv("TL_STUDY_CACHE", "~/other")
    settings, _ = resolve({"out": "./~", "cache": "~nobody-here/x"})
    assert (settings.out, settings.cache) == (Path("~"), Path("~nobody-here/x"))
    stored = {"settings": settings.model_dump(mode="json")}
    assert settings_of(stored) == settings, "what is stored means the same"
    assert shlex.split(command_of(settings))[-2:] == ["--out", "./~"]
    assert resolve({})[0].cache == tmp_path / "other"
    assert resolve({})[0].out == Path("runs")
    tiny_study().write(tmp_path / "runs" / "tiny")
    for words in ({"extend": "tiny", "out": "~/runs"}, {"extend": "~/runs/tiny"}):
        assert continued_setup(words | {"trials": "1"}).folder.resolve() == tmp_path / "runs/tiny"


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
