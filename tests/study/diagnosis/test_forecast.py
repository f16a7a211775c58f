"""What is measured for a study, and what the doctor says of it."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from study.diagnosis import forecast
from study.diagnosis.estimate import Speeds
from study.diagnosis.measure import Measured
from study.diagnosis.stages import Stages
from study.preflight.checks import run_checks
from study.preflight.setup import Setup, new_setup
from study.preflight.torch_checks import CHECKS
from tests.support.studies.asking import QUICKEST
from tests.support.study_fixtures import Capture, Patch

SPEEDS = Speeds(forward=100, train=10, sweep=1e9)


def checked(photo_folder: Path, given: dict[str, Any]) -> Setup:
    setup = new_setup(QUICKEST | {"data": str(photo_folder), "offline": True} | given)
    setup.doctor = True
    run_checks(setup, CHECKS)
    return setup


@pytest.fixture
def console(monkeypatch: Patch) -> Console:
    """Where it is printed; neither Ray nor a sweep runs."""
    monkeypatch.setattr(forecast, "measure_sweeps", lambda *_: {})
    monkeypatch.setattr(forecast, "local_ray", lambda _: nullcontext())
    return Console(width=200)


@pytest.mark.parametrize(("given", "measured", "lines"), [
    ({}, Measured(SPEEDS, places=1), ["about 34 in mode", "ETA of this study: 1:"]),
    ({"max_time": "10m"}, Measured(SPEEDS, places=1), ["--max-time 0:10:00 ends it before"]),
    ({}, Measured(reasons=["slow"]), ["not measured: slow", "not known, as not every speed"]),
    ({"data": "oxford-pet"}, Measured(SPEEDS), ["not known, as oxford-pet is not here yet"]),
    ({"debug": True}, Measured(), ["speed not measured: --debug runs one trial in this"]),
    ({"epochs": "0"}, Measured(), ["speed not measured: the study can't start"]),
])  # fmt: skip
def test_the_forecast(
    given: dict[str, Any], measured: Measured, lines: list[str],
    photo_folder: Path, monkeypatch: Patch, console: Console, capsys: Capture,
) -> None:  # fmt: skip
    monkeypatch.setattr(forecast, "measure", lambda *_: measured)
    setup = checked(photo_folder, given)
    forecast.print_forecast(setup, console, Stages(console, time.monotonic()))
    printed = capsys.readouterr().out
    assert all(line in printed for line in lines), printed


def test_trials_an_hour_are_told_for_each_mode(
    photo_folder: Path, monkeypatch: Patch, console: Console, capsys: Capture
) -> None:
    monkeypatch.setattr(forecast, "measure", lambda *_: Measured(SPEEDS, places=1))
    monkeypatch.setattr(forecast, "measure_sweeps", lambda *_: {"freeze": 1e9})
    setup = checked(photo_folder, {"mode": ["scratch", "freeze"], "weights": "none"})
    assert not setup.faults
    forecast.print_forecast(setup, console, Stages(console, time.monotonic()))
    line = "trials an hour: about 34 in mode scratch, 90,000 in mode freeze\n"
    assert line in capsys.readouterr().out


def test_what_memory_allows_is_measured(
    photo_folder: Path, monkeypatch: Patch, console: Console
) -> None:
    asked: list[Any] = []

    def measure(*args: Any) -> Measured:
        asked.extend(args)
        return Measured(SPEEDS)

    monkeypatch.setattr(forecast, "measure", measure)
    setup = checked(photo_folder, {})
    setup.held, setup.per_gpu = 3, 2
    forecast.print_forecast(setup, console, Stages(console, time.monotonic()))
    assert asked[-2:] == [3, 2]
