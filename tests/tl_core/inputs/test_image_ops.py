"""The operations, picture by picture, against torchvision's."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from tl_core.inputs import image_ops as ops

SIDE = 24
Reference = Callable[[Tensor, float], Any]


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Black, white, grey, two levels, a ramp, and noise of three kinds: uint8 [8, 3, S, S]."""
    rng = np.random.default_rng(0)
    levels = np.empty((8, 3, SIDE, SIDE))
    levels[0], levels[1], levels[2] = 0, 255, 77
    levels[3] = np.where(np.arange(SIDE) < 5, 40, 41)
    levels[4] = np.linspace(0, 255, SIDE**2).reshape(SIDE, SIDE)
    levels[5] = rng.integers(256, size=(3, SIDE, SIDE))
    levels[6] = rng.integers(256, size=(3, SIDE // 4, SIDE // 4)).repeat(4, 1).repeat(4, 2)
    levels[7] = rng.normal(120, 20, (3, SIDE, SIDE)).clip(0, 255)
    return torch.from_numpy(levels.astype(np.uint8))


def off(found: Tensor, expected: Tensor) -> int:
    """The largest difference, in levels."""
    assert found.dtype == torch.uint8
    return int((found.int() - expected.int()).abs().max())


COLOURS: list[tuple[ops.ColourOp, Reference, list[float]]] = [
    (ops.brightness, reference.adjust_brightness, [0.01, 0.5, 1, 1.3, 1.99]),
    (ops.color, reference.adjust_saturation, [0.01, 0.5, 1, 1.3, 1.99]),
    (ops.contrast, reference.adjust_contrast, [0.01, 0.5, 1, 1.3, 1.99]),
    (ops.sharpness, reference.adjust_sharpness, [0.01, 0.5, 1, 1.3, 1.99]),
    (ops.posterize, lambda x, bits: reference.posterize(x, int(bits)), [2, 3, 5, 7, 8]),
    (ops.solarize, reference.solarize, [0, 1, 76.5, 77, 254, 255]),
    (ops.autocontrast, lambda x, _: reference.autocontrast(x), [0]),
    (ops.equalize, lambda x, _: reference.equalize(x), [0]),
]


@pytest.mark.parametrize(("op", "expected", "magnitudes"), COLOURS)
def test_colours_are_those_of_torchvision(
    pictures: Tensor, op: ops.ColourOp, expected: Reference, magnitudes: list[float]
) -> None:
    before = pictures.clone()
    for turn in range(len(magnitudes)):
        own = [magnitudes[(turn + i) % len(magnitudes)] for i in range(len(pictures))]
        found = op(pictures, torch.tensor(own).view(-1, 1, 1, 1))
        each = [expected(x, m) for x, m in zip(pictures, own, strict=True)]
        assert off(found, torch.stack(each)) <= 1
    assert torch.equal(pictures, before)


@pytest.mark.parametrize("op", [row[0] for row in COLOURS])
def test_all_of_it_is_on_the_device_of_the_pictures(pictures: Tensor, op: ops.ColourOp) -> None:
    """The device `meta` refuses tensors of the CPU, as a GPU does."""
    there, maps = pictures.to("meta"), torch.zeros(8, 2, 3, device="meta")
    for found in (op(there, torch.ones(8, 1, 1, 1, device="meta")), ops.warp(there, maps, 128)):
        assert (found.device, found.shape) == (there.device, there.shape)
        assert found.dtype == torch.uint8


def affine(pixels: Tensor, **changes: Any) -> Tensor:
    """Torchvision on grey 128; its own fill weights the picture twice where it ends."""
    given: dict[str, Any] = {"angle": 0, "translate": [0, 0], "scale": 1, "shear": [0, 0]}
    levels: Tensor = reference.affine(
        pixels.float() - 128, interpolation=reference.InterpolationMode.BILINEAR, **given | changes
    )
    return (levels + 128).round()


def degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


MOVES: list[tuple[ops.Map, Reference, list[float]]] = [
    (ops.shear_x, lambda x, m: affine(x, shear=[degrees(m), 0], center=[0, 0]), [-0.99, 0, 0.3]),
    (ops.shear_y, lambda x, m: affine(x, shear=[0, degrees(m)], center=[0, 0]), [-0.99, 0, 0.3]),
    (ops.translate_x, lambda x, m: affine(x, translate=[m, 0]), [-32, -3, 0, 7, 24]),
    (ops.translate_y, lambda x, m: affine(x, translate=[0, m]), [-32, -3, 0, 7, 24]),
    (ops.rotate, lambda x, m: affine(x, angle=-m), [-135, -4.5, 0, 90, 130.5]),
]


@pytest.mark.parametrize(("op", "expected", "magnitudes"), MOVES)
def test_moves_are_those_of_torchvision(
    pictures: Tensor, op: ops.Map, expected: Reference, magnitudes: list[float]
) -> None:
    before = pictures.clone()
    for turn in range(len(magnitudes)):
        own = [magnitudes[(turn + i) % len(magnitudes)] for i in range(len(pictures))]
        maps = torch.from_numpy(op(np.array(own), SIDE)).float()
        each = [expected(x, m) for x, m in zip(pictures, own, strict=True)]
        assert off(ops.warp(pictures, maps, fill=128), torch.stack(each)) <= 1
    assert torch.equal(pictures, before)


def test_which_way_is_which() -> None:
    dot = torch.zeros(1, 3, 5, 5, dtype=torch.uint8)
    dot[:, :, 1, 2] = 200  # Above the middle.

    def place(op: ops.Map, magnitude: float) -> list[list[int]]:
        maps = torch.from_numpy(op(np.array([magnitude]), 5)).float()
        return ops.warp(dot, maps, fill=0)[0, 0].nonzero().tolist()

    assert place(ops.translate_x, 2) == [[1, 4]]
    assert place(ops.translate_y, 2) == [[3, 2]]
    assert place(ops.rotate, 90) == [[2, 1]]
    assert place(ops.translate_x, 3) == []


def test_half_a_pixel_is_the_mean_of_two_and_the_outside_is_the_fill() -> None:
    row = torch.tensor([10, 20, 60], dtype=torch.uint8).expand(1, 3, 3, 3).contiguous()
    maps = torch.tensor([[[1, 0, 0.5], [0, 1, 0]]])
    assert ops.warp(row, maps, fill=100)[0, 0, 1].tolist() == [15, 40, 80]
    assert ops.warp(row, maps, fill=0)[0, 0, 1].tolist() == [15, 40, 30]
    assert ops.warp(row, maps, fill=None)[0, 0, 1].tolist() == [15, 40, 60]


def test_a_batch_in_pieces_is_the_batch(pictures: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.from_numpy(ops.rotate(np.linspace(-90, 90, 8), SIDE)).float()
    whole = ops.warp(pictures, maps, fill=128)
    for piece in (1, 3 * 3 * SIDE**2):
        monkeypatch.setattr(ops, "_PIECE", piece)
        assert torch.equal(ops.warp(pictures, maps, fill=128), whole)


def test_hand_computed_levels() -> None:
    column = torch.tensor([0, 10, 100, 200], dtype=torch.uint8).expand(1, 3, 4, 4).contiguous()

    def levels(op: ops.ColourOp, magnitude: float = 0.0) -> list[int]:
        found = op(column, torch.tensor([magnitude]).view(1, 1, 1, 1))
        row: list[int] = found[0, 1, 1].tolist()
        return row

    assert levels(ops.brightness, 1.5) == [0, 15, 150, 255]
    assert levels(ops.solarize, 100) == [0, 10, 155, 55]
    assert levels(ops.posterize, 2) == [0, 0, 64, 192]
    assert levels(ops.autocontrast) == [0, 12, 127, 255]
    # The greys are 0, 9, 99 and 199, since 0.2989 + 0.587 + 0.114 < 1; their mean is 76.75.
    assert levels(ops.contrast, 0.5) == [38, 43, 88, 138]
    # The outer pixels stay; (3 * 0 + 7 * 10 + 3 * 100) / 13 = 28.5, (30 + 700 + 600) / 13 = 102.3.
    assert levels(ops.sharpness, 0.0) == [0, 28, 102, 200]
