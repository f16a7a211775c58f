from pathlib import Path

import pytest

from study.diagnosis.probe_worker import _EnoughError, _Watch, noise
from tests.support.studies.builders import make_config, make_epoch
from tests.support.study_fixtures import Patch
from tl_core.data.splits import make_split


@pytest.mark.parametrize(
    ("device", "batch_size", "training"),
    [("cpu", 32, 32), ("cpu", 1, 16), ("cpu", 64, 64), ("cuda", 32, 512), ("cuda", 1500, 1500)],
)
def test_noise_is_some_steps(tmp_path: Path, device: str, batch_size: int, training: int) -> None:
    config = make_config(train_ratio=0.8, image_size=16, batch_size=batch_size)
    images = noise(tmp_path / "noise", config, device)
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
    assert (seen.images_per_s, seen.epoch_s) == (20, 2.5)
    # The same images twice, in a tenth and in a thirtieth of a second each.
    seen = watch(100, monkeypatch, 1, 2, 3, rates=(1, 10, 30))
    assert seen.images_per_s == pytest.approx(15)
    watch(4, monkeypatch, 100)
    watch(4, monkeypatch, 100, 103)
    with pytest.raises(_EnoughError):
        watch(4, monkeypatch, 100, 105)
