from typing import get_args

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as reference

from tl_core.config import Augment
from tl_core.inputs.augment import AREA, ASPECT, crop_maps, draw_boxes, make_augment
from tl_core.inputs.image_ops import warp
from tl_core.inputs.readers import Augmenter

SIDE = 32
KINDS: tuple[Augment, ...] = ("crop", "trivial")


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Coarse noise, uint8 [40, 3, S, S]."""
    noise = np.random.default_rng(0).integers(256, size=(40, 3, SIDE // 4, SIDE // 4))
    return torch.from_numpy(noise.repeat(4, 2).repeat(4, 3).astype(np.uint8))


def augmenter(kind: Augment, seed: int = 0) -> Augmenter:
    made = make_augment(kind, seed)
    assert made
    return made


def test_mirroring_alone_is_left_to_the_views() -> None:
    without = [kind for kind in get_args(Augment) if make_augment(kind, 0) is None]
    assert without == ["none", "flip"]


@pytest.mark.parametrize("kind", KINDS)
def test_seed_and_step_decide_all_draws(pictures: Tensor, kind: Augment) -> None:
    change, state = augmenter(kind), torch.get_rng_state()
    before = pictures.clone()
    first, second = (change(pictures, step)[0] for step in (7, 8))
    assert torch.equal(pictures, before)
    torch.manual_seed(99)
    again = augmenter(kind)
    assert torch.equal(again(pictures, 8)[0], second), "whatever came before"
    assert torch.equal(again(pictures, 7)[0], first)
    assert not torch.equal(first, second)
    assert not torch.equal(augmenter(kind, seed=1)(pictures, 7)[0], first)
    torch.set_rng_state(state)
    change(pictures, 9)
    assert torch.equal(torch.get_rng_state(), state), "dropout draws from it"


@pytest.mark.parametrize("kind", KINDS)
def test_the_rest_of_the_batch_does_not_matter(pictures: Tensor, kind: Augment) -> None:
    change = augmenter(kind)
    whole, brightness = change(pictures, 3)
    shorter, its_brightness = change(pictures[:11], 3)
    assert torch.equal(shorter, whole[:11])
    torch.testing.assert_close(its_brightness, brightness[:11], rtol=1e-6, atol=0)
    others = pictures.flip(0)
    others[5] = pictures[5]
    assert torch.equal(change(others, 3)[0][5], whole[5])


@pytest.mark.parametrize("kind", KINDS)
def test_the_brightness_is_that_of_the_view(pictures: Tensor, kind: Augment) -> None:
    views, brightness = augmenter(kind)(pictures, 0)
    assert (views.dtype, views.shape) == (torch.uint8, pictures.shape)
    assert (brightness.dtype, brightness.shape) == (torch.float32, (40,))
    means = views.numpy().reshape(40, -1).mean(axis=1) / 255
    np.testing.assert_allclose(brightness.numpy(), means, rtol=1e-5)
    plain = pictures.numpy().reshape(40, -1).mean(axis=1) / 255
    assert (np.abs(means - plain) > 0.002).sum() > 10, "not that of the picture"


@pytest.mark.parametrize("kind", KINDS)
def test_flat_pictures_stay_within_black_and_white(kind: Augment) -> None:
    flat = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, SIDE, SIDE)
    if kind == "crop":
        for step in range(20):
            assert torch.equal(augmenter(kind)(flat, step)[0], flat)
    else:
        values = torch.cat([augmenter(kind)(flat, step)[1] for step in range(20)])
        assert 0 <= values.min() < values.max() <= 1


def test_boxes_are_those_of_torchvision() -> None:
    boxes, mirrored = draw_boxes(np.random.default_rng(0), 4000)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-12).all()
    area, aspect = boxes[:, 2] * boxes[:, 3], boxes[:, 2] / boxes[:, 3]
    assert AREA[0] <= area.min() < 0.36
    assert 0.98 < area.max() <= 1
    assert ASPECT[0] <= aspect.min() < aspect.max() <= ASPECT[1]
    assert 1900 < mirrored.sum() < 2100
    torch.manual_seed(0)
    crop, picture = RandomResizedCrop(8, scale=AREA), torch.empty(3, 4000, 4000, device="meta")
    theirs = [crop.make_params([picture]) for _ in range(1500)]
    for name, column in {"left": 0, "top": 1, "width": 2, "height": 3}.items():
        expected = [box[name] / 4000 for box in theirs]
        assert ks_2samp(boxes[:, column], expected).pvalue > 0.01, name


def test_a_box_is_enlarged_as_by_torchvision(pictures: Tensor) -> None:
    top, left, height, width = 4, 9, 20, 16
    box = np.array([[left, top, width, height]]) / SIDE
    maps = torch.from_numpy(crop_maps(box, np.array([False]), SIDE))
    found = warp(pictures[:1], maps, fill=None).int()
    expected = reference.resized_crop(pictures[:1], top, left, height, width, [SIDE, SIDE]).int()
    # At the edge of the box it sees the pixels beyond, and torchvision does not.
    inner = (..., slice(1, -1), slice(1, -1))
    assert (found[inner] - expected[inner]).abs().max() <= 1
    turned = torch.from_numpy(crop_maps(box, np.array([True]), SIDE))
    assert torch.equal(warp(pictures[:1], turned, fill=None).int(), found.flip(-1))


def test_the_whole_picture_is_left_alone(pictures: Tensor) -> None:
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (40, 1))
    mirrored = np.arange(40) % 2 == 1
    found = warp(pictures, torch.from_numpy(crop_maps(boxes, mirrored, SIDE)), fill=None)
    assert torch.equal(found[::2], pictures[::2])
    assert torch.equal(found[1::2], pictures[1::2].flip(-1))
