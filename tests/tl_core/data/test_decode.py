import io
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from tests.support.core.hostile_files import open_rgb
from tl_core.config import PAD_GREY, Resize
from tl_core.data.decode import to_square

RED = (200, 30, 30)


WHITE = (255, 255, 255)


def palette(*colours: tuple[int, int, int]) -> Image.Image:
    image = Image.new("P", (len(colours), 1))
    image.putpalette([level for colour in colours for level in colour])
    image.putdata(range(len(colours)))
    return image


def row(values: list[float] | list[int] | list[bool], dtype: type) -> Image.Image:
    return Image.fromarray(np.array([values], dtype=dtype))


@pytest.mark.parametrize(("image", "transparency", "expected"), [
    (palette((0, 0, 0), RED), 0, [[WHITE, RED]]),
    (Image.new("RGBA", (3, 2), (*RED, 0)), None, WHITE),
    (Image.new("RGBA", (3, 2), (*RED, 255)), None, RED),
    (Image.new("RGBA", (3, 2), (*RED, 51)), None, (244, 210, 210)),
    (Image.new("LA", (3, 2), (100, 0)), None, WHITE),
    (Image.new("RGB", (2, 2), RED), RED, WHITE),
    (Image.new("L", (2, 2), 90), 90, WHITE),
    (row([True, False], np.bool_), None, [[WHITE, (0, 0, 0)]]),
    (row([0, 100, 255], np.int32), None, [[[0], [100], [255]]]),
    (row([0.0, 0.5, 1.0], np.float32), None, [[[0], [127], [255]]]),
], ids=["palette", "clear", "opaque", "pale", "clear grey", "clear red", "grey that is clear",
        "one bit", "deep grey of 8-bit values", "grey of fractions"])  # fmt: skip
def test_pictures_become_rgb(image: Image.Image, transparency: object, expected: object) -> None:
    more = {} if transparency is None else {"transparency": transparency}
    image.save(file := io.BytesIO(), "TIFF" if image.mode in ("I", "F") else "PNG", **more)
    found = open_rgb(file)
    assert found.mode == "RGB"
    assert abs(np.asarray(found, dtype=np.int64) - np.asarray(expected)).max() <= 1


def test_squash_does_not_keep_the_aspect() -> None:
    wide = Image.new("RGB", (60, 10), "black")
    wide.paste(RED, (0, 0, 30, 10))
    square = to_square(wide, 20, "squash")
    assert square.shape == (3, 20, 20)
    assert square.dtype == np.uint8
    assert (square[:, :, :9] == np.reshape(RED, (3, 1, 1))).all()
    assert (square[:, :, 11:] == 0).all()


@pytest.mark.parametrize("resize", get_args(Resize))
def test_an_image_of_that_size_is_left_alone(resize: Resize) -> None:
    grid = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert (to_square(Image.fromarray(grid), 8, resize) == grid.transpose(2, 0, 1)).all()


def noise(width: int, height: int) -> Image.Image:
    grid = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(grid)


@pytest.mark.parametrize("shape", [(60, 30), (30, 60), (50, 10), (8, 4)])
def test_crop_is_a_resize_of_the_shorter_side_and_the_centre(shape: tuple[int, int]) -> None:
    picture, (width, height) = noise(*shape), (20 * side // min(shape) for side in shape)
    whole = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    top, left = (height - 20) // 2, (width - 20) // 2
    expected = whole[top : top + 20, left : left + 20].transpose(2, 0, 1)
    off = to_square(picture, 20, "crop").astype(np.int64) - expected
    assert abs(off).max() <= 1, "a tie may be rounded the other way"


def test_crop_centres_an_odd_remainder_between_two_pixels() -> None:
    row = Image.fromarray(np.array([[0, 100, 200, 40]], np.uint8)).convert("RGB").resize((4, 3))
    # 4 x 3 at its own scale: columns 0.5 to 3.5, each the mean of two neighbours.
    assert to_square(row, 3, "crop")[0].tolist() == [[50, 150, 120]] * 3


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [((60, 30), (5, 15), (0, 20)), ((30, 60), (0, 20), (5, 15)), ((60, 27), (5, 14), (0, 20))],
)
def test_pad_keeps_the_whole_picture_on_grey(
    shape: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    picture, inside = noise(*shape), (slice(None), slice(*rows), slice(*columns))
    size = columns[1] - columns[0], rows[1] - rows[0]
    square = to_square(picture, 20, "pad").copy()
    shrunk = np.asarray(picture.resize(size, Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert (square[inside] == shrunk).all()
    square[inside] = PAD_GREY
    assert (square == PAD_GREY).all()


@pytest.mark.parametrize("resize", get_args(Resize))
@pytest.mark.parametrize("shape", [(10_000, 1), (1, 10_000), (1, 1), (3, 2), (2, 10_000)])
def test_any_shape_becomes_a_square(shape: tuple[int, int], resize: Resize) -> None:
    square = to_square(Image.new("RGB", shape, RED), 33, resize)
    assert square.shape == (3, 33, 33)
    assert square.dtype == np.uint8
    assert square[:, 16, 16].tolist() == list(RED)
    if resize != "pad":
        assert (square == np.reshape(RED, (3, 1, 1))).all()
