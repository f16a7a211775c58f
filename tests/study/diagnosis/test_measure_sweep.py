"""A batch of the study's size is timed, on features that nobody has computed."""

from pathlib import Path

import pytest

from study.diagnosis.measure_sweep import made_up, measure_sweeps
from tests.conftest import SIDE, TINY
from tests.support.studies.builders import make_config, make_settings, plain_shape
from tests.support.study_fixtures import Patch
from tl_core.training.setup import load_for


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


def test_noise_of_any_size_takes_no_room(tiny_weights: Path, tmp_path: Path) -> None:
    config = make_config(backbone=TINY, weights=str(tiny_weights), image_size=512)
    n_features = load_for(config).n_features
    inputs = made_up(config, plain_shape(300, 37, n_features), tmp_path / "noise")
    assert inputs.images.pixels.shape == (300, 3, 512, 512)
    assert len({*inputs.images.labels.tolist()}) == 37
    blocks = sum(f.stat().st_blocks for f in (tmp_path / "noise").rglob("*") if f.is_file())
    assert blocks * 512 < inputs.images.pixels.nbytes / 10
