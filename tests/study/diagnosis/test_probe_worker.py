"""What a probe measures, and that it leaves nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from study.diagnosis.measure import _UP_S
from study.diagnosis.probe_worker import (
    _EnoughError,
    _Watch,
    make_temp_dir,
    noise,
    remove_temp_dirs,
    temp_name,
)
from tests.support.programs import stuck_probe
from tests.support.studies.builders import make_config, make_epoch
from tests.support.study_fixtures import Patch
from tl_core.data.splits import make_split


@pytest.mark.parametrize(("on_gpu", "batch_size", "training"), [
    (False, 32, 32), (False, 1, 16), (False, 64, 64), (True, 32, 512), (True, 1500, 1500),
])  # fmt: skip
def test_noise_is_some_steps(tmp_path: Path, on_gpu: bool, batch_size: int, training: int) -> None:
    config = make_config(train_ratio=0.8, image_size=16, batch_size=batch_size)
    images = noise(tmp_path / "noise", config, on_gpu)
    split = make_split(images.labels, 0.8)
    assert len(split.train) == pytest.approx(training, rel=0.01)
    assert len(split.val) > 0
    assert images.pixels.shape == (len(images.ids), 3, 16, 16)
    assert images.pixels.std() == pytest.approx(74, abs=1)


def watch(long_s: float, monkeypatch: Patch, *at: float, rates: tuple[int, ...] = ()) -> _Watch:
    """A watch that has seen epochs of 10, 20 and again 20 images a second at these times."""
    times = iter(at)
    monkeypatch.setattr("study.diagnosis.probe_worker.time.perf_counter", lambda: next(times))
    seen = _Watch(long_s)
    for rate, _ in zip(rates or (10, 20, 20), at, strict=False):
        seen(make_epoch(images_per_s=rate))
    return seen


def test_the_first_epoch_does_not_count_and_it_is_enough_after_a_while(monkeypatch: Patch) -> None:
    seen = watch(100, monkeypatch, 5, 7, 10)
    assert seen.images_per_s == 20
    # The same images twice, in a tenth and in a thirtieth of a second each.
    seen = watch(100, monkeypatch, 1, 2, 3, rates=(1, 10, 30))
    assert seen.images_per_s == pytest.approx(15)
    watch(4, monkeypatch, 100)
    watch(4, monkeypatch, 100, 103)
    with pytest.raises(_EnoughError):
        watch(4, monkeypatch, 100, 105)


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
