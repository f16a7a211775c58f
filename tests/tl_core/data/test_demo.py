import numpy as np
import pytest
from numpy.typing import NDArray

from tl_core.data.demo import CLASSES, N_IMAGES, draw

N_SMALL = 300
"""Pictures that are enough to see what tells the classes apart."""


def pixels(index: int, size: int = 64) -> NDArray[np.uint8]:
    return np.asarray(draw(index, size))


@pytest.fixture(scope="module")
def small_set() -> NDArray[np.uint8]:
    return np.stack([pixels(index, size=32) for index in range(N_SMALL)])


@pytest.mark.parametrize(("size", "index"), [(16, 0), (33, 1), (224, N_IMAGES - 1)])
def test_the_index_decides_a_square_picture(size: int, index: int) -> None:
    image = draw(index, size)
    assert (image.mode, image.size) == ("RGB", (size, size))
    assert draw(index, size).tobytes() == image.tobytes()


def test_no_two_pictures_are_equal(small_set: NDArray[np.uint8]) -> None:
    assert len({picture.tobytes() for picture in small_set}) == N_SMALL


def test_size_changes_resolution_and_not_the_scene() -> None:
    for index in range(8):
        fine = pixels(index, size=128).reshape(32, 4, 32, 4, 3).mean(axis=(1, 3))
        coarse = pixels(index, size=32).astype(float)
        assert np.corrcoef(fine.ravel(), coarse.ravel())[0, 1] > 0.9


def test_even_indices_are_cats_and_odd_ones_dogs(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[str] = []
    law = {name: lambda pen, name=name: heads.append(name) for name in CLASSES}
    monkeypatch.setattr("tl_core.data.demo._HEADS", law)
    for index in range(4):
        draw(index, 16)
    assert CLASSES == ("cat", "dog")
    assert heads == ["cat", "dog", "cat", "dog"]


def test_colour_does_not_tell_the_class(small_set: NDArray[np.uint8]) -> None:
    channels = small_set.mean(axis=(1, 2))
    gap = channels[0::2].mean(axis=0) - channels[1::2].mean(axis=0)
    # Three standard errors of a difference of two means of N_SMALL / 2 pictures each.
    assert (abs(gap) < 3 * channels.std(axis=0) * np.sqrt(4 / N_SMALL)).all()


def test_brightness_varies_and_does_not_tell_the_class(small_set: NDArray[np.uint8]) -> None:
    brightness = small_set.mean(axis=(1, 2, 3))
    assert brightness.std() > 25
    assert np.percentile(brightness, 95) > 2 * np.percentile(brightness, 5)
    assert abs(brightness[0::2].mean() - brightness[1::2].mean()) < 9
    assert abs(brightness[0::2].std() - brightness[1::2].std()) < 9


def test_the_drawings_are_those_that_their_name_stands_for() -> None:
    """Studies of the demo resume on the same drawings; others need another `demo.DRAWING`."""
    means = [float(np.asarray(draw(i, 32)).mean()) for i in range(4)]
    assert means == pytest.approx([180.62, 75.75, 67.95, 191.70], abs=0.5)
