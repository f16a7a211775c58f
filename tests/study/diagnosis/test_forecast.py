"""What the doctor prints of a study's speed and duration, with speeds that are given."""

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from study.diagnosis import forecast
from study.diagnosis.estimate import Speeds
from study.diagnosis.measure import Measured
from study.preflight.checks import run_checks
from study.preflight.setup import new_setup
from study.preflight.torch_checks import CHECKS
from tests.support.studies.asking import QUICKEST
from tests.support.study_fixtures import Capture, Patch

SPEEDS = Speeds(forward=100, train=10, heads=1000)


@pytest.mark.parametrize(("given", "measured", "lines"), [
    ({}, Measured(SPEEDS, places=1), ["about ", "ETA of this study: 0:0"]),
    ({}, Measured(reasons=["slow"]), ["not measured: slow", "not known, as not every speed"]),
    ({"data": "oxford-pet"}, Measured(SPEEDS), ["not known, as oxford-pet is not here yet"]),
    ({"debug": True}, Measured(), ["speed not measured: --debug runs one trial in this"]),
    ({"epochs": "0"}, Measured(), ["speed not measured: the study can't start"]),
])  # fmt: skip
def test_the_forecast(
    given: dict[str, Any], measured: Measured, lines: list[str],
    photo_folder: Path, monkeypatch: Patch, capsys: Capture,
) -> None:  # fmt: skip
    monkeypatch.setattr(forecast, "measure", lambda *_: measured)
    monkeypatch.setattr(forecast, "local_ray", lambda _: nullcontext())
    setup = new_setup(QUICKEST | {"data": str(photo_folder), "offline": True} | given)
    setup.doctor = True
    run_checks(setup, CHECKS)
    forecast.print_forecast(setup, Console(width=200), time.monotonic(), soon_s=8.0)
    printed = capsys.readouterr().out
    assert all(line in printed for line in lines), printed
