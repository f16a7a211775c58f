import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.conftest import SIDE, TINY
from tl_core.config import Precision
from tl_core.data.datasets import ImageSet
from tl_core.errors import InputError
from tl_core.inputs import features
from tl_core.inputs.batches import Read, pixel_reader
from tl_core.inputs.prefix import (
    Activations,
    Prefix,
    activation_entry,
    activation_reader,
    cut_backbone,
    extract_activations,
    load_activations,
)
from tl_core.models.backbones import Backbone, load_backbone
from tl_core.models.heads import Heads, TwoHeadedNet
from tl_core.models.precision import run_unconverted
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import make_weighting
from tl_core.training.learners import NetLearner
from tl_core.training.schedule import Budget

CPU = torch.device("cpu")
VIEWS = np.arange(80)
"""Of 40 images and their mirror images."""
Load = Callable[..., Activations]


@pytest.fixture
def backbone(tiny_weights: Path) -> Backbone:
    return load_backbone(TINY, str(tiny_weights), SIDE)


@pytest.fixture
def prefix(backbone: Backbone) -> Prefix:
    """All but the last of the four stages."""
    return cut_backbone(backbone, 1, SIDE)[0]


@pytest.fixture
def load(images: ImageSet, prefix: Prefix, own_cache: Path) -> Load:
    """Loads activations of `prefix`, or of another one."""

    def load_some(one: Prefix = prefix, **options: Any) -> Activations:
        return load_activations(images, one, own_cache, **{"forward": CPU} | options)

    return load_some


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


@pytest.mark.parametrize(
    "change",
    [{"name": "another"}, {"weights_id": "another"}, {"mean": (0.4, 0.4, 0.4)},
     {"std": (0.4, 0.4, 0.4)}, {"precision": "bf16"}],
)  # fmt: skip
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
    assert (lower.above, prefix.above) == (
        "stage3.0.branch1.0.weight",
        "stage4.0.branch1.0.weight",
    )
    wider = replace(prefix, shape=(96, 4, 4))
    entries = {activation_entry(images.key, one, own_cache) for one in (prefix, lower, wider)}
    entries |= {activation_entry(images.key, prefix, own_cache, mirrored=True)}
    entries |= {activation_entry("other images", prefix, own_cache)}
    assert len(entries) == 5
    assert {entry.parent for entry in entries} == {own_cache / "activations"}


def test_spread_work(
    images: ImageSet, prefix: Prefix, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_CHUNK_VALUES", 15 * 384)  # 15 images of 96 x 2 x 2 numbers.
    asked: list[list[int]] = []

    def spread(chunks: list[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        for views in chunks:
            asked.append(views.tolist())
            yield extract_activations(images, prefix, CPU, views)

    (found,) = load_activations(images, prefix, tmp_path / "other", spread).tables
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


def scaled(prefix: Prefix, factor: float) -> Prefix:
    """With one channel that is a constant: the factor."""

    class Scale(nn.Module):
        def forward(self, maps: Tensor) -> Tensor:
            constant = torch.full_like(maps[:, :1], factor)
            return torch.cat([constant, maps[:, 1:]], dim=1)

    network = nn.Sequential(prefix.backbone.network, Scale())
    return replace(prefix, backbone=replace(prefix.backbone, network=network))


@pytest.mark.parametrize(
    ("factor", "dtype"), [(65504.0, np.float16), (65505.0, np.float32), (-1e30, np.float32)]
)
def test_values_beyond_float16(
    prefix: Prefix, load: Load, factor: float, dtype: type[np.floating[Any]]
) -> None:
    large = scaled(prefix, factor)
    found = load(large)
    assert found.tables[0].dtype == dtype
    read = activation_reader(found, large, CPU)(np.arange(40))
    assert read.dtype == torch.float32
    assert read[:, 0].flatten().tolist() == pytest.approx(40 * 4 * [factor])


def test_values_beyond_float16_in_later_images(
    prefix: Prefix, load: Load, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "_CHUNKS", (16, 16))
    rows = np.full((40, *prefix.shape), 0.1, np.float32)
    rows[20, 0, 0, 0] = 1e5

    def forward(chunks: list[NDArray[np.int64]]) -> Iterator[NDArray[np.floating[Any]]]:
        for views in chunks:
            yield rows[views] if 20 in views else rows[views].astype(np.float16)

    found = load(forward=forward)
    (table,) = found.tables
    assert table.dtype == np.float32
    np.testing.assert_allclose(table, rows, rtol=2**-11)
    assert (table[16:32] == rows[16:32]).all()
    assert sorted(p.name for p in found.files[0].parent.iterdir()) == [
        "SHA256SUMS",
        "activations.npy",
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(
    images: ImageSet, prefix: Prefix, load: Load, own_cache: Path, value: float
) -> None:
    broken = scaled(prefix, value)
    text = rf"^the frozen stages of {TINY} make no finite numbers of {images.ids[0]}: are its "
    with pytest.raises(InputError, match=text + r"weights damaged\?$"):
        load(broken, hflip=True)
    assert not activation_entry(images.key, broken, own_cache).exists()


@pytest.mark.parametrize(("unfreeze", "channels_last"), [(2, False), (3, True)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_they_are_read_as_the_prefix_makes_them(
    images: ImageSet, backbone: Backbone, load: Load, precision: Precision, unfreeze: int,
    channels_last: bool,
) -> None:  # fmt: skip
    prefix, _ = cut_backbone(replace(backbone, precision=precision), unfreeze, SIDE)
    pixels = pixel_reader(images, backbone, CPU)(np.arange(40))
    with torch.inference_mode():
        made = run_unconverted(prefix.backbone.network, pixels, precision)
    found = activation_reader(load(prefix), prefix, CPU)(np.arange(40))
    assert found.dtype == made.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert found.stride() == made.stride()
    assert found.is_contiguous(memory_format=torch.channels_last) == channels_last
    torch.testing.assert_close(found, made, rtol=2**-11, atol=1e-6)


def losses(images: ImageSet, backbone: Backbone, reader: Callable[[Prefix], Read]) -> list[float]:
    """Of steps of Adam in which the last two stages and the heads learn."""
    own = replace(backbone, network=copy.deepcopy(backbone.network))
    prefix, upper = cut_backbone(own, 2, SIDE)
    torch.manual_seed(0)
    heads = Heads(own.n_features, len(images.classes))
    labels, brightness = torch.from_numpy(images.labels), torch.from_numpy(images.brightness)
    learner = NetLearner(
        TwoHeadedNet(upper, heads, own.precision).eval(),
        labels,
        brightness,
        TargetScale.raw(1, CPU).one(),
        make_weighting(0.3, 1, CPU),
        lambda _: VIEWS,
        Budget(pass_steps=5, passes=1, reports=1, schedule="constant", batch_size=16),
        40,
        reader(prefix),
    )
    optimizer = torch.optim.Adam(learner.model.parameters(), lr=1e-3)
    batches = np.random.default_rng(0).permutation(VIEWS).reshape(-1, 16)
    return [learner.step(views, optimizer)[0].item() / 16 for views in batches]


@pytest.mark.parametrize(
    ("precision", "most", "apart"),
    [("fp32", 65504, 1e-4), ("bf16", 65504, 1e-6), ("fp32", 0, 1e-6)],
)
def test_training_is_the_same_as_without_the_cache(
    images: ImageSet, backbone: Backbone, own_cache: Path, monkeypatch: pytest.MonkeyPatch,
    precision: Precision, most: float, apart: float,
) -> None:  # fmt: skip
    """Float16 rounds what is computed in float32, but not what is in bfloat16; float32 neither."""
    monkeypatch.setattr("tl_core.inputs.prefix._MOST", most)
    backbone = replace(backbone, precision=precision)

    def cached(prefix: Prefix) -> Read:
        activations = load_activations(images, prefix, own_cache, CPU, hflip=True)
        return activation_reader(activations, prefix, CPU)

    def in_every_step(prefix: Prefix) -> Read:
        read = pixel_reader(images, backbone, CPU)
        run = partial(run_unconverted, prefix.backbone.network, precision=precision)
        return torch.no_grad()(lambda views: run(images=read(views)))

    fast, slow = losses(images, backbone, cached), losses(images, backbone, in_every_step)
    assert fast == pytest.approx(slow, abs=apart)
    assert slow[0] - slow[-1] > 0.01, "it learns"
