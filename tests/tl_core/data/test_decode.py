import io

import numpy as np
import pytest
from PIL import Image

from tl_core.data.decode import open_rgb, resize_square

RED = (200, 30, 30)


WHITE = (255, 255, 255)


def palette(*colours: tuple[int, int, int]) -> Image.Image:
    image = Image.new("P", (len(colours), 1))
    image.putpalette([level for colour in colours for level in colour])
    image.putdata(range(len(colours)))
    return image


def row(values: list[float] | list[int] | list[bool], dtype: type) -> Image.Image:
    return Image.fromarray(np.array([values], dtype=dtype))


@pytest.mark.parametrize(
    ("image", "transparency", "expected"),
    [
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
    ],
    ids=["palette", "clear", "opaque", "pale", "clear grey", "clear red", "grey that is clear",
         "one bit", "deep grey of 8-bit values", "grey of fractions"],
)  # fmt: skip
def test_pictures_become_rgb(image: Image.Image, transparency: object, expected: object) -> None:
    more = {} if transparency is None else {"transparency": transparency}
    image.save(file := io.BytesIO(), "TIFF" if image.mode in ("I", "F") else "PNG", **more)
    found = open_rgb(file)
    assert found.mode == "RGB"
    assert abs(np.asarray(found, dtype=np.int64) - np.asarray(expected)).max() <= 1


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
