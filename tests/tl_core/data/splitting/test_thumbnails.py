"""Pairs that may show one picture."""

import numpy as np
import pytest

from tests.support.core.pictures import encoded, landscape
from tl_core.data.decode import to_square
from tl_core.data.splitting.thumbnails import (
    area_weights,
    detail,
    halve,
    near_pairs,
    thumbnail,
)


def thumbs(*squares: np.ndarray) -> np.ndarray:
    return np.stack([thumbnail(s, area_weights(s.shape[-1])) for s in squares])


def test_cells_average_by_area() -> None:
    weights = area_weights(24)  # A cell is 1.5 pixels wide.
    np.testing.assert_allclose(weights[0, :3], [2 / 3, 1 / 3, 0])
    np.testing.assert_allclose(weights[1, :4], [0, 1 / 3, 2 / 3, 0])
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(area_weights(8)[:3, :2], [[1, 0], [1, 0], [0, 1]])


def test_a_thumbnail_has_no_mean_and_length_one() -> None:
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8) * 4, (3, 32, 32))
    found = thumbnail(ramp, area_weights(32)).astype(float)
    assert found.sum() == pytest.approx(0, abs=0.01)
    assert (found**2).sum() == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(found, thumbnail(ramp + 5, area_weights(32)), atol=1e-3)
    assert not thumbnail(np.full((3, 32, 32), 90, np.uint8), area_weights(32)).any(), "flat"


@pytest.mark.parametrize("side", [16, 40, 224])
def test_pairs_are_found_among_others(side: int) -> None:
    pictures = [landscape(seed, (160, 110)) for seed in range(30)]
    pictures += [encoded(pictures[i], "JPEG", quality=90).resize((120, 82)) for i in (3, 7, 3)]
    found = near_pairs(thumbs(*(to_square(p, side, "squash") for p in pictures)))
    assert found.tolist() == [[3, 30], [3, 32], [7, 31], [30, 32]]


def test_flat_and_single_images_are_in_no_pair() -> None:
    flat = np.full((3, 32, 32), 90, np.uint8)
    assert near_pairs(thumbs(flat, flat)).shape == (0, 2)
    assert near_pairs(thumbs(to_square(landscape(0), 32, "squash"), flat)).shape == (0, 2)


def test_halving_and_its_detail() -> None:
    grid = np.arange(16.0).reshape(4, 4, 1)
    assert halve(grid)[..., 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert detail(grid)[:2, :2, 0].tolist() == [[-2.5, -1.5], [1.5, 2.5]]
