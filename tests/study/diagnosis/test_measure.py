"""Measuring leaves nothing, on whichever node and in whatever state its workers end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from study.diagnosis.measure import _UP_S
from study.diagnosis.probe_worker import make_temp_dir, remove_temp_dirs, temp_name
from tests.support.programs import stuck_probe
from tests.support.study_fixtures import Patch


def test_only_folders_of_one_measurement_are_removed(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine, other = temp_name(), temp_name()
    for _ in range(2):
        (make_temp_dir(mine) / "images").mkdir()
    assert make_temp_dir(other).is_dir()
    remove_temp_dirs(mine)
    assert [path.name for path in tmp_path.iterdir()] == [other]
    remove_temp_dirs(mine)  # A node without a worker.


@pytest.mark.integration
def test_workers_that_hang_at_the_start_leave_nothing(tmp_path: Path, monkeypatch: Patch) -> None:
    (scratch := tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    command = [sys.executable, stuck_probe.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    reasons, left = json.loads(done.stdout)
    assert reasons == [f"its workers were not up in {_UP_S:g} s: is the cluster busy?"]
    assert left == []
    assert [*scratch.glob("made-tl-doctor-*")]
    assert [*scratch.glob("tl-doctor-*")] == []
