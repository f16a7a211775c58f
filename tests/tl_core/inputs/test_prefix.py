from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.conftest import SIDE
from tests.tl_core.inputs.conftest import CPU, Load, built_elsewhere
from tl_core.data.datasets import ImageSet
from tl_core.inputs import features
from tl_core.inputs.prefix import (
    Prefix,
    activation_entry,
    activation_reader,
    cut_backbone,
    extract_activations,
    load_activations,
)
from tl_core.inputs.readers import pixel_reader
from tl_core.models.backbones import Backbone

VIEWS = np.arange(80)
"""Of 40 images and their mirror images."""


def count_runs(prefix: Prefix) -> list[int]:
    """The number of images of each forward pass from now on."""
    runs: list[int] = []
    prefix.backbone.network.register_forward_pre_hook(lambda _, inputs: runs.append(len(inputs[0])))
    return runs


@pytest.mark.parametrize(("unfreeze", "shape"), [(1, (96, 2, 2)), (2, (48, 4, 4)), (3, (24, 8, 8))])
def test_the_stages_above_make_features_of_them(
    images: ImageSet, backbone: Backbone, load: Load, unfreeze: int, shape: tuple[int, ...]
) -> None:
    with torch.no_grad():
        expected = backbone.network.eval()(pixel_reader(images, backbone, CPU)(VIEWS))
    backbone.network.train()
    prefix, upper = cut_backbone(backbone, unfreeze, SIDE)
    assert prefix.shape == shape
    assert prefix.nbytes == 2 * np.prod(shape)
    found = load(prefix, hflip=True)
    assert [(t.shape, t.dtype) for t in found.tables] == 2 * [((40, *shape), np.dtype("float16"))]
    with torch.no_grad():
        made = upper.eval()(activation_reader(found, prefix, CPU)(VIEWS))
    # Float16 rounds by up to 2**-11, relative to each value.
    torch.testing.assert_close(made, expected, rtol=0, atol=2**-9 * expected.std().item())


def test_views_may_be_mixed(images: ImageSet, prefix: Prefix, load: Load) -> None:
    found = load(hflip=True)
    read, mixed = activation_reader(found, prefix, CPU), np.array([41, 0, 79, 1, 39])
    assert torch.equal(read(mixed), read(VIEWS)[mixed])
    with torch.no_grad():
        exact = prefix.backbone.network(pixel_reader(images, prefix.backbone, CPU)(mixed))
    torch.testing.assert_close(read(mixed), exact, rtol=2**-11, atol=1e-7)
    before = found.tables[0].copy()
    read(np.array([0, 1])).zero_()
    assert (found.tables[0] == before).all()


def test_they_are_computed_once(
    images: ImageSet, backbone: Backbone, prefix: Prefix, load: Load
) -> None:
    runs = count_runs(prefix)
    load()
    assert sum(runs) == 40
    load()
    assert sum(runs) == 40, "a second load runs nothing"
    load(hflip=True)
    assert sum(runs) == 80, "of the images themselves they are there already"
    load(hflip=True)
    again, _ = cut_backbone(backbone, 1, SIDE)
    others = count_runs(again)
    load(again, hflip=True)
    assert (sum(runs), sum(others)) == (80, 0)


@pytest.mark.parametrize("change", [
    {"name": "another"}, {"weights_id": "another"}, {"mean": (0.4, 0.4, 0.4)},
    {"std": (0.4, 0.4, 0.4)}, {"precision": "bf16"},
])  # fmt: skip
def test_each_backbone_has_its_own(prefix: Prefix, load: Load, change: dict[str, Any]) -> None:
    (exact,) = load().tables
    other = replace(prefix, backbone=replace(prefix.backbone, **change))
    runs = count_runs(other)
    (found,) = load(other).tables
    assert sum(runs) == 40
    assert (found != exact).any() == (change.keys() <= {"mean", "std", "precision"})


def test_each_cut_and_data_set_has_its_own(
    images: ImageSet, backbone: Backbone, prefix: Prefix, own_cache: Path
) -> None:
    lower, _ = cut_backbone(backbone, 2, SIDE)
    assert (lower.above, prefix.above) == ("stage3.0.branch1.0.weight", "stage4.0.branch1.0.weight")
    wider = replace(prefix, shape=(96, 4, 4))
    entries = {activation_entry(images.key, one, own_cache) for one in (prefix, lower, wider)}
    entries |= {activation_entry(images.key, prefix, own_cache, mirrored=True)}
    entries |= {activation_entry("other images", prefix, own_cache)}
    assert len(entries) == 5
    assert {entry.parent for entry in entries} == {own_cache / "activations"}


@pytest.mark.parametrize("mirrored", [False, True])
def test_who_makes_the_same_is_waited_for_until_the_time_is_over(
    images: ImageSet, prefix: Prefix, load: Load, own_cache: Path, mirrored: bool
) -> None:
    entry = activation_entry(images.key, prefix, own_cache, mirrored)
    with built_elsewhere(entry):
        load(hflip=True, end=0.0)


def test_spread_work(
    images: ImageSet, prefix: Prefix, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_CHUNK_VALUES", 15 * 384)  # 15 images of 96 x 2 x 2 numbers.
    asked: list[list[int]] = []

    def spread(chunks: list[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        for views in chunks:
            asked.append(views.tolist())
            yield extract_activations(images, prefix, CPU, views)

    (found,) = load_activations(images, prefix, tmp_path / "other", CPU, forward=spread).tables
    assert [len(views) for views in asked] == [15, 15, 10]
    assert np.concatenate(asked).tolist() == list(range(40))
    np.testing.assert_allclose(found, load().tables[0], rtol=2**-10, atol=1e-6)


def test_activations_that_were_changed_are_computed_anew(
    images: ImageSet, prefix: Prefix, load: Load, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = [np.array(table) for table in load(hflip=True).tables]
    entry = activation_entry(images.key, prefix, own_cache, mirrored=True)
    content = bytearray((entry / "activations.npy").read_bytes())
    content[-1] ^= 1
    (entry / "activations.npy").write_bytes(content)
    runs = count_runs(prefix)
    changed = load(hflip=True, verify=False).tables
    assert [(a != b).sum() for a, b in zip(before, changed, strict=True)] == [0, 1]
    again = load(hflip=True).tables
    assert caplog.messages == [
        f"warning: cache entry {entry} is built again: activations.npy changed"
    ]
    assert sum(runs) == 40
    assert all((a == b).all() for a, b in zip(before, again, strict=True))
