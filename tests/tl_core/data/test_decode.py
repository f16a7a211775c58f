import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

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


def test_a_cmyk_jpeg_keeps_its_colour(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), RED).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as stored:
        assert stored.mode == "CMYK"
    assert_near(pixels(tmp_path / "a.jpg"), RED, by=6)


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


def test_deep_grey_does_not_turn_white(tmp_path: Path) -> None:
    # 257 = 65535 / 255, so each value is a whole number of 8-bit steps.
    grey = np.array([[0, 257 * 10, 257 * 128, 257 * 255]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.mode.startswith("I")
    expected = np.repeat([[[0], [10], [128], [255]]], 3, axis=2)
    assert_near(pixels(tmp_path / "a.png"), expected, by=1)


def test_deep_grey_of_8_bit_values_is_kept(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 100, 255]], dtype=np.int32)).save(tmp_path / "a.tif")
    assert_near(pixels(tmp_path / "a.tif"), np.repeat([[[0], [100], [255]]], 3, axis=2))


def test_one_bit(tmp_path: Path) -> None:
    Image.fromarray(np.array([[True, False]])).convert("1").save(tmp_path / "a.png")
    assert_near(pixels(tmp_path / "a.png"), [[(255, 255, 255), (0, 0, 0)]])


def test_a_photo_on_its_side_is_put_upright(tmp_path: Path) -> None:
    lying = Image.new("RGB", (32, 16), "black")
    lying.paste("white", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn by a quarter, clockwise.
    lying.save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = pixels(tmp_path / "a.jpg")
    assert upright.shape == (32, 16, 3)
    assert upright[:14].min() > 240
    assert upright[18:].max() < 15


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, (0, 0, 255), (0, 255, 0))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as stored:
        assert getattr(stored, "n_frames", 1) == 3
    assert_near(pixels(tmp_path / "a.gif"), RED, by=8)


def test_a_truncated_photo_is_not_half_read(tmp_path: Path) -> None:
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "jpeg")
    (tmp_path / "a.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(OSError, match="truncated"):
        open_rgb(tmp_path / "a.jpg")


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnidentifiedImageError, match=r"cannot identify image file.*a\.jpg"):
        open_rgb(tmp_path / "a.jpg")


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (15, 15)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(Image.DecompressionBombError, match="225 pixels"):
        open_rgb(tmp_path / "a.png")


def test_16_bit_grey_keeps_its_order(tmp_path: Path) -> None:
    Image.fromarray(np.array([[200, 256, 300, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png")[0, :, 0].tolist() == [0, 0, 1, 255]


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
