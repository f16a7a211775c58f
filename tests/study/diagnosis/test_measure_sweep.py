"""A batch of the study's size is timed, on features that nobody has computed."""

from pathlib import Path

import pytest

from study.diagnosis import measure_sweep
from study.diagnosis.measure_sweep import made_up, measure_sweeps
from study.search.short_sweeps import PER_S, products
from tests.conftest import SIDE, TINY
from tests.support.studies.builders import make_config, make_settings, plain_shape
from tests.support.study_fixtures import Patch
from tl_core.config import TrialConfig
from tl_core.training.setup import Inputs, load_for


@pytest.mark.parametrize("classes", [2, 5])
def test_speeds(classes: int, tiny_weights: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    given = {"backbone": TINY, "weights": str(tiny_weights), "image_size": str(SIDE)}
    settings = make_settings(data="photos", mode=("freeze", "finetune"), seeds=2, **given)
    shape = plain_shape(100, classes, 1024)
    found = measure_sweeps(settings, shape, ["freeze", "probe"])
    assert {*found} == {"freeze", "probe"}
    assert min(found.values()) > 0
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("classes", "seeds"), [(2, 1), (37, 8), (1000, 8)])
def test_it_takes_seconds_however_large_the_study_is(
    classes: int, seeds: int, tiny_weights: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    work = []

    def sweep(batch: list[TrialConfig], inputs: Inputs) -> None:
        n, n_classes = len(inputs.images.labels), len(inputs.images.classes)
        work.append(len(batch) * products(batch[0], plain_shape(n, n_classes, 1024)))

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(measure_sweep, "run_sweep", sweep)
    given = {"backbone": TINY, "weights": str(tiny_weights), "image_size": str(SIDE)}
    settings = make_settings(data="photos", mode=("freeze", "probe"), seeds=seeds, **given)
    measure_sweeps(settings, plain_shape(30 * classes, classes, 1024), ["freeze", "probe"])
    _, freeze, _, probe = (each / PER_S for each in work)
    assert work[0] < work[1]
    assert work[2] < work[3]
    assert max(freeze, probe) < 5


def test_noise_of_any_size_takes_no_room(tiny_weights: Path, tmp_path: Path) -> None:
    config = make_config(backbone=TINY, weights=str(tiny_weights), image_size=512)
    n_features = load_for(config).n_features
    inputs = made_up(config, plain_shape(300, 37, n_features), tmp_path / "noise")
    assert inputs.images.pixels.shape == (300, 3, 512, 512)
    assert len({*inputs.images.labels.tolist()}) == 37
    blocks = sum(f.stat().st_blocks for f in (tmp_path / "noise").rglob("*") if f.is_file())
    assert blocks * 512 < inputs.images.pixels.nbytes / 10
