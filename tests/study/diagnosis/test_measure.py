"""Measuring leaves nothing, on whichever node and in whatever state its workers end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from study.diagnosis.measure import _UP_S
from study.diagnosis.temp_dirs import make_scratch, scratch_name, sweep
from tests.support.programs import stuck_gauge


def test_a_sweep_removes_the_folders_of_one_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine, other = scratch_name(), scratch_name()
    folders = [make_scratch(mine), make_scratch(mine)]
    kept = make_scratch(other)
    for folder in folders:
        (folder / "images").mkdir()
    sweep(mine)
    assert [path.name for path in tmp_path.iterdir()] == [other]
    assert kept.is_dir()
    sweep(mine)  # A node where no gauge was.


@pytest.mark.integration
def test_workers_that_hang_before_they_are_up_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scratch := tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    command = [sys.executable, stuck_gauge.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    reasons, left = json.loads(done.stdout)
    assert reasons == [f"its workers were not up in {_UP_S:g} s: is the cluster busy?"]
    assert left == []
    assert [*scratch.glob("made-tl-doctor-*")]
    assert [*scratch.glob("tl-doctor-*")] == []
