"""The doctor's command line, and that it ends in order."""

import re
import signal
import time
from pathlib import Path

import pytest

from study import doctor
from tests.conftest import SIDE, TINY, draw_folder
from tests.support.studies.ray_runs import RayRun
from tests.support.study_fixtures import Capture, Patch

NET = ("--backbone", TINY, "--weights", "none", "--image-size", SIDE)


@pytest.fixture
def temp_dirs(own_folder: Path, monkeypatch: Patch) -> Path:
    """Where temporary files go."""
    (own_folder / "temp").mkdir()
    monkeypatch.setenv("TMPDIR", str(own_folder / "temp"))
    return own_folder / "temp"


def test_help_lists_the_flags_of_a_study(capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="0"):
        doctor.main(["--help"])
    text = capsys.readouterr().out
    assert "study/doctor.py" in text
    assert "--trials-per-gpu" in text
    assert "--resume" not in text


def test_every_fault(monkeypatch: Patch, capsys: Capture, tmp_path: Path, nobody: str) -> None:
    def ray_is_up(*_: object) -> None:
        raise AssertionError("Ray has been started")

    monkeypatch.setattr("study.diagnosis.forecast.local_ray", ray_is_up)
    photos = draw_folder(tmp_path / "two", ("cat", "dog"), n_images=2)
    (tmp_path / "file").write_text("")
    words = ["--data", str(photos), "--backbone", "resnet19", "--out", f"{tmp_path}/file/runs"]
    words += ["--tracking-uri", nobody, "--train-ratio", "0.5", "--epochs", "-1"]
    assert doctor.main(words) == 2
    printed, errors = capsys.readouterr()
    first, *faults = errors.splitlines()
    assert first == "error: the study can't start"
    for start in (
        "--epochs -1: must be greater than or equal to 1",
        "--train-ratio 0.5: class 'cat' has 2 images; train_ratio 0.5 needs 1 more",
        "unknown backbone 'resnet19' (did you mean resnet18",
        f"--out {tmp_path}/file/runs: {tmp_path}/file is not a folder",
        f"--tracking-uri {nobody}: Connection refused",
    ):
        assert [fault for fault in faults if fault.startswith(f"  {start}")], start
    assert printed.count("listed below") == 5
    assert printed.startswith("--epochs -1: must be greater than or equal to 1\n")
    assert "speed not measured: the study can't start" in printed


@pytest.mark.integration
def test_a_measurement(ray_run: RayRun, photo_folder: Path, temp_dirs: Path) -> None:
    words = ("--data", photo_folder, *NET, "--train-ratio", 0.2, 0.8)
    code, printed, errors = ray_run.finish(ray_run.start(*words, program=doctor.__file__))
    assert (code, errors) == (0, ""), printed
    for part in ("the study can start", r"ETA of this study: \d+:\d\d:\d\d", "trials an hour"):
        assert re.search(part, printed)
    assert "not measured" not in printed
    assert {path.name for path in Path().iterdir()} == {photo_folder.name, temp_dirs.name}
    assert [*temp_dirs.glob("tl-doctor-*")] == []
    assert ray_run.left_over(wait_s=20) == {}


@pytest.mark.integration
def test_ctrl_c_ends_it_in_order(ray_run: RayRun, photo_folder: Path, temp_dirs: Path) -> None:
    words = ("--data", photo_folder, *NET, "--train-ratio", 0.2)
    process = ray_run.start(*words, program=doctor.__file__)
    while process.poll() is None and not [*temp_dirs.glob("tl-doctor-*")]:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    code, _, errors = ray_run.finish(process)
    assert (code, errors) == (130, "interrupted\n")
    assert [*temp_dirs.glob("tl-doctor-*")] == []
    assert ray_run.left_over(wait_s=10) == {}
