import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.conftest import SIDE, TINY
from tl_core.data.datasets import ImageSet
from tl_core.models.backbones import Backbone, load_backbone
from tl_core.training.features import extract, feature_entry, load_features

CPU = torch.device("cpu")


@pytest.fixture
def backbone(tiny_weights: Path) -> Backbone:
    return load_backbone(TINY, str(tiny_weights), SIDE)


def count_runs(backbone: Backbone) -> list[int]:
    """The number of images of each forward pass from now on."""
    runs: list[int] = []
    backbone.network.register_forward_pre_hook(lambda _, inputs: runs.append(len(inputs[0])))
    return runs


def directly(images: ImageSet, backbone: Backbone) -> NDArray[np.float32]:
    """Features without cache, batches or a memory format."""
    mean, std = (torch.tensor(t).view(3, 1, 1) for t in (backbone.mean, backbone.std))
    pixels = (torch.from_numpy(np.array(images.pixels)) / 255 - mean) / std
    with torch.no_grad():
        features: NDArray[np.float32] = backbone.network.eval()(pixels).numpy()
    return features


def test_features_are_what_the_network_says_in_eval_mode(
    images: ImageSet, backbone: Backbone, own_cache: Path
) -> None:
    expected = directly(images, backbone)
    backbone.network.train()
    found = load_features(images, backbone, own_cache, CPU)
    assert found.shape == (40, backbone.n_features)
    assert found.dtype == np.float32
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_second_load_does_not_run_the_network(
    images: ImageSet, backbone: Backbone, own_cache: Path
) -> None:
    runs = count_runs(backbone)
    first = load_features(images, backbone, own_cache, CPU)
    assert sum(runs) == 40
    second = load_features(images, backbone, own_cache, CPU)
    assert sum(runs) == 40
    assert (first == second).all()


def test_features_are_mapped_and_what_is_written_stays_private(
    images: ImageSet, backbone: Backbone, own_cache: Path
) -> None:
    features = load_features(images, backbone, own_cache, CPU)
    assert isinstance(features, np.memmap)
    before = features.copy()
    features[0] = 0
    assert (load_features(images, backbone, own_cache, CPU) == before).all()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"weights_id": "another"},
        {"mean": (0.4, 0.4, 0.4)},
        {"std": (0.4, 0.4, 0.4)},
    ],
)
def test_another_backbone_has_features_of_its_own(
    images: ImageSet, backbone: Backbone, own_cache: Path, change: dict[str, Any]
) -> None:
    load_features(images, backbone, own_cache, CPU)
    other = replace(backbone, **change)
    runs = count_runs(other)
    load_features(images, other, own_cache, CPU)
    assert sum(runs) == 40


def test_another_file_of_the_same_name_has_features_of_its_own(
    images: ImageSet, tiny_weights: Path, own_cache: Path, tmp_path: Path
) -> None:
    entries = torch.load(tiny_weights, weights_only=True)
    entries["conv1.0.weight"] *= 2
    torch.save(entries, tmp_path / tiny_weights.name)
    found = []
    for file in (tiny_weights, tmp_path / tiny_weights.name):
        backbone = load_backbone(TINY, str(file), SIDE)
        found.append(load_features(images, backbone, own_cache, CPU))
        np.testing.assert_allclose(found[-1], directly(images, backbone), atol=1e-5)
    assert (found[0] != found[1]).any()


def test_other_images_have_features_of_their_own(
    images: ImageSet, three_class_images: ImageSet, backbone: Backbone, own_cache: Path
) -> None:
    assert load_features(images, backbone, own_cache, CPU).shape[0] == 40
    assert load_features(three_class_images, backbone, own_cache, CPU).shape[0] == 60


class Stops(nn.Module):
    """Fails in its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, images: Tensor) -> Tensor:
        self.runs += 1
        if self.runs == 1:
            raise RuntimeError("out of memory")
        return images.mean(dim=(2, 3))


def test_an_extraction_that_stops_leaves_nothing(
    images: ImageSet, backbone: Backbone, own_cache: Path
) -> None:
    stops = replace(backbone, network=Stops(), n_features=3)
    with pytest.raises(RuntimeError, match="out of memory"):
        load_features(images, stops, own_cache, CPU)
    assert load_features(images, stops, own_cache, CPU).any(axis=1).all()


def test_mirror_images_lie_behind_the_images(
    images: ImageSet, backbone: Backbone, own_cache: Path
) -> None:
    plain = load_features(images, backbone, own_cache, CPU)
    runs = count_runs(backbone)
    both = load_features(images, backbone, own_cache, CPU, hflip=True)
    load_features(images, backbone, own_cache, CPU, hflip=True)
    assert sum(runs) == 40  # Of the images themselves the features are there already.
    turned = replace(images, pixels=np.ascontiguousarray(images.pixels[..., ::-1]))
    assert (both[:40] == plain).all()
    np.testing.assert_allclose(both[40:], directly(turned, backbone), atol=1e-5)


def test_each_precision_has_features_of_its_own(
    images: ImageSet, backbone: Backbone, own_cache: Path
) -> None:
    exact = load_features(images, backbone, own_cache, CPU)
    rough = load_features(images, replace(backbone, precision="bf16"), own_cache, CPU)
    assert rough.dtype == np.float32
    assert (rough != exact).any()
    np.testing.assert_allclose(rough, exact, atol=0.05 * exact.std())


def test_work_that_is_spread_gives_the_same(
    images: ImageSet, backbone: Backbone, own_cache: Path, tmp_path: Path
) -> None:
    asked: list[int] = []

    def spread(chunks: list[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        for views in chunks:
            asked.extend(views.tolist())
            yield extract(images, backbone, CPU, views)

    found = load_features(images, backbone, tmp_path / "other", spread)
    assert asked == list(range(40))
    assert (found == load_features(images, backbone, own_cache, CPU)).all()


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("at", [0, 4])
def test_features_that_were_changed_are_computed_anew(
    images: ImageSet,
    backbone: Backbone,
    own_cache: Path,
    caplog: pytest.LogCaptureFixture,
    hflip: bool,
    at: int,
) -> None:
    before = np.array(load_features(images, backbone, own_cache, CPU, hflip))
    entry = feature_entry(images.key, backbone, own_cache, hflip)
    file = entry / "features.npy"
    content = bytearray(file.read_bytes())
    content[-1 - at] ^= 1
    file.write_bytes(content)
    runs = count_runs(backbone)
    taken = load_features(images, backbone, own_cache, CPU, hflip, verify=False)
    assert (taken != before).sum() == 1, "workers don't hash"
    again = load_features(images, backbone, own_cache, CPU, hflip)
    assert caplog.messages == [f"warning: cache entry {entry} is built again: features.npy changed"]
    assert sum(runs) == 40, "of both views the plain ones are still there"
    assert (again == before).all()


def test_damaged_features_of_the_images_spoil_no_mirrored_ones(
    images: ImageSet, backbone: Backbone, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = np.array(load_features(images, backbone, own_cache, CPU))
    file = feature_entry(images.key, backbone, own_cache) / "features.npy"
    os.truncate(file, file.stat().st_size // 2)
    both = load_features(images, backbone, own_cache, CPU, hflip=True)
    assert (both[:40] == before).all()
    assert len(caplog.messages) == 1
