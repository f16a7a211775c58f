import numpy as np
import pytest
from numpy.typing import NDArray

from tl_core.data.demo import CLASSES, N_IMAGES, draw

N_SMALL = 300
"""Pictures that are enough to see what tells the classes apart."""


def pixels(index: int, seed: int = 0, size: int = 64) -> NDArray[np.uint8]:
    return np.asarray(draw(index, seed, size))


@pytest.fixture(scope="module")
def small_set() -> NDArray[np.uint8]:
    return np.stack([pixels(index, size=32) for index in range(N_SMALL)])


@pytest.fixture(scope="module")
def brightness(small_set: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(small_set.mean(axis=(1, 2, 3)))


@pytest.mark.parametrize("size", [16, 33, 224])
def test_picture_is_square_rgb_of_the_asked_size(size: int) -> None:
    image = draw(0, 0, size)
    assert image.mode == "RGB"
    assert image.size == (size, size)


@pytest.mark.parametrize("index", [0, 1, N_IMAGES - 1])
def test_same_arguments_give_the_same_bytes(index: int) -> None:
    first = draw(index, 3, 64)
    draw(index + 1, 3, 64)
    assert first.tobytes() == draw(index, 3, 64).tobytes()


def test_seed_and_index_change_the_picture() -> None:
    assert (pixels(4, seed=0) != pixels(4, seed=1)).any()
    assert (pixels(4) != pixels(6)).any()


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
        draw(index, 0, 16)
    assert CLASSES == ("cat", "dog")
    assert heads == ["cat", "dog", "cat", "dog"]


def test_exposure_varies(brightness: NDArray[np.float64]) -> None:
    assert brightness.std() > 25
    assert np.percentile(brightness, 95) > 2 * np.percentile(brightness, 5)


def test_colour_does_not_tell_the_class(small_set: NDArray[np.uint8]) -> None:
    channels = small_set.mean(axis=(1, 2))
    gap = channels[0::2].mean(axis=0) - channels[1::2].mean(axis=0)
    # Three standard errors of a difference of two means of N_SMALL / 2 pictures each.
    assert (abs(gap) < 3 * channels.std(axis=0) * np.sqrt(4 / N_SMALL)).all()


def test_brightness_does_not_tell_the_class(brightness: NDArray[np.float64]) -> None:
    assert abs(brightness[0::2].mean() - brightness[1::2].mean()) < 9
    assert abs(brightness[0::2].std() - brightness[1::2].std()) < 9


def test_the_drawings_are_those_that_their_name_stands_for() -> None:
    """Studies of the demo resume on the same drawings; others need another `demo.DRAWING`."""
    means = [float(np.asarray(draw(i, 0, 32)).mean()) for i in range(4)]
    assert means == pytest.approx([180.62, 75.75, 67.95, 191.70], abs=0.5)
