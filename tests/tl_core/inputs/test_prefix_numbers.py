"""The numbers that are cached: their type, their range, and what training makes of them."""

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
from tests.tl_core.inputs.conftest import CPU, Load
from tl_core.config import Precision
from tl_core.data.datasets import ImageSet
from tl_core.errors import InputError
from tl_core.inputs import features
from tl_core.inputs.prefix import (
    Prefix,
    activation_entry,
    activation_reader,
    cut_backbone,
    load_activations,
)
from tl_core.inputs.readers import Read, pixel_reader
from tl_core.models.backbones import Backbone
from tl_core.models.heads import Heads, TwoHeadedNet
from tl_core.models.precision import run_unconverted
from tl_core.objectives.targets import TargetScale
from tl_core.objectives.weighting import make_weighting
from tl_core.training.learners.net import NetLearner
from tl_core.training.schedule import Budget

VIEWS = np.arange(80)
"""Of 40 images and their mirror images."""


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
    text = rf"^the frozen part of {TINY} makes no finite numbers of {images.ids[0]}: are its "
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
        make_weighting(0.3, CPU),
        lambda _: VIEWS,
        Budget(
            pass_steps=5, passes=1, reports=1, schedule="constant", batch_size=16, full_batch=16
        ),
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
