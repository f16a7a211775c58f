"""Whether two files show one picture."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.support.core.pictures import encoded, landscape
from tl_core.data.demo import draw
from tl_core.data.splitting.same_picture import alike, same_picture

SCALE = Image.Resampling.BICUBIC
COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 95": lambda image: encoded(image, "JPEG", quality=95),
    "JPEG 60": lambda image: encoded(image, "JPEG", quality=60),
    "WebP 70": lambda image: encoded(image, "WEBP", quality=70),
    "60 %": lambda image: image.resize((192, 132), SCALE),
    "200 %, JPEG 80": lambda image: encoded(image.resize((640, 440), SCALE), "JPEG", quality=80),
    "stretched by 1.5 %": lambda image: image.resize((325, 220), SCALE),
    "brighter": lambda image: image.point(lambda level: min(255, level + 6)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_one_picture(kind: str) -> None:
    for seed in range(2):
        image = landscape(seed)
        assert same_picture(image, COPIES[kind](image))
        assert same_picture(COPIES[kind](image), image)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: image.transpose(Image.Transpose.ROTATE_180),
        lambda image: image.resize((320, 200), SCALE),
        lambda image: image.resize((330, 220), SCALE),
        lambda image: image.crop((16, 11, 320, 220)),
        lambda image: image.convert("L").convert("RGB"),
        lambda image: image.point(lambda level: min(255, level + 40)),
    ],
    ids=[
        "mirrored",
        "turned",
        "another shape",
        "stretched by 3 %",
        "cropped",
        "grey",
        "much brighter",
    ],
)
def test_what_is_no_copy(change: Callable[[Image.Image], Image.Image]) -> None:
    image = landscape(0)
    assert not same_picture(image, change(image))


@pytest.mark.parametrize("side", [6, 12, 40])
def test_a_thing_in_a_scene_makes_another_picture(side: int) -> None:
    for seed in range(2):
        image = landscape(seed)
        other = image.copy()
        ImageDraw.Draw(other).ellipse((150, 100, 150 + side, 100 + side), fill=(250, 20, 30))
        assert not same_picture(image, other)
        assert not same_picture(*(encoded(i, "JPEG", quality=75) for i in (image, other)))


def test_drawings_on_a_plain_ground_are_told_by_their_pixels_alone() -> None:
    page = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(page).multiline_text((20, 20), "\n".join(["invoice no. 38172"] * 15), "black")
    assert not same_picture(page, encoded(page, "JPEG", quality=90))


def test_demo_drawings_differ() -> None:
    pictures = [draw(i, 64) for i in range(12)]
    assert not any(same_picture(a, b) for i, a in enumerate(pictures) for b in pictures[:i])


def test_pictures_below_32_pixels_are_never_near_copies() -> None:
    image = landscape(0).resize((32, 32))
    assert same_picture(image, image)
    assert not same_picture(image.resize((31, 31)), image.resize((31, 31)))


def test_textures_of_one_kind_differ() -> None:
    """The same coarse brightness, each with grain of its own."""
    coarse = np.asarray(landscape(0).resize((128, 128)), np.float32)
    grain = np.random.default_rng(0).normal(0, 25, (2, 128, 128, 3))
    x, y = (coarse + grain).astype(np.float32)
    assert alike(x, x)
    assert not alike(x, y)
