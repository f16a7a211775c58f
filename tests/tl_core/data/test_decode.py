from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tl_core.data.decode import open_rgb, resize_square

RED = (200, 30, 30)


def pixels(path: Path) -> NDArray[np.int64]:
    """The decoded picture [H, W, 3]; signed, so that differences are."""
    image = open_rgb(path)
    assert image.mode == "RGB"
    return np.asarray(image, dtype=np.int64)


def assert_near(found: NDArray[np.int64], expected: object, by: int = 0) -> None:
    assert abs(found - np.asarray(expected)).max() <= by


def test_a_plain_png_is_read_exactly(tmp_path: Path) -> None:
    grid = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(grid).save(tmp_path / "a.png")
    assert_near(pixels(tmp_path / "a.png"), grid)


def test_a_transparent_palette_png_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    assert_near(pixels(tmp_path / "a.png"), [[(255, 255, 255), RED]])


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0, (255, 255, 255)), (255, RED), (51, (244, 210, 210))]
)
def test_rgba_lies_on_white(tmp_path: Path, alpha: int, expected: tuple[int, int, int]) -> None:
    Image.new("RGBA", (3, 2), (*RED, alpha)).save(tmp_path / "a.png")
    assert_near(pixels(tmp_path / "a.png"), expected, by=1)


def test_grey_with_alpha_lies_on_white(tmp_path: Path) -> None:
    Image.new("LA", (3, 2), (100, 0)).save(tmp_path / "a.png")
    assert_near(pixels(tmp_path / "a.png"), 255)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_transparent_colour_becomes_white(tmp_path: Path, mode: str) -> None:
    colour = RED if mode == "RGB" else 90
    Image.new(mode, (2, 2), colour).save(tmp_path / "a.png", transparency=colour)
    assert_near(pixels(tmp_path / "a.png"), 255)


def test_deep_grey_of_8_bit_values_is_kept(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 100, 255]], dtype=np.int32)).save(tmp_path / "a.tif")
    assert_near(pixels(tmp_path / "a.tif"), np.repeat([[[0], [100], [255]]], 3, axis=2))


def test_one_bit(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).convert("1").save(tmp_path / "a.png")
    assert_near(pixels(tmp_path / "a.png"), [[(255, 255, 255), (0, 0, 0)]])


def test_grey_of_fractions_is_not_black(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32)).save(tmp_path / "a.tif")
    assert_near(pixels(tmp_path / "a.tif"), np.repeat([[[0], [127], [255]]], 3, axis=2))


def test_squash_does_not_keep_the_aspect() -> None:
    wide = Image.new("RGB", (60, 10), "black")
    wide.paste(RED, (0, 0, 30, 10))
    square = resize_square(wide, 20)
    assert square.shape == (3, 20, 20)
    assert square.dtype == np.uint8
    assert (square[:, :, :9] == np.reshape(RED, (3, 1, 1))).all()
    assert (square[:, :, 11:] == 0).all()


def test_squash_leaves_an_image_of_that_size_alone() -> None:
    grid = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert (resize_square(Image.fromarray(grid), 8) == grid.transpose(2, 0, 1)).all()
