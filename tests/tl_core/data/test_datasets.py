import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.core.drawn import counted, grey, source_of
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((0, 0, 0), 0.0), ((255, 255, 255), 1.0), ((51, 102, 153), 0.4), ((255, 0, 0), 1 / 3)],
)
def test_brightness_is_the_mean_over_pixels_and_channels(
    own_cache: Path, colour: tuple[int, int, int], expected: float
) -> None:
    source = source_of(lambda i, size: Image.new("RGB", (9, 5), colour))
    brightness = load_images(source, 16, own_cache).brightness
    assert brightness.dtype == np.float32
    np.testing.assert_allclose(brightness, expected, atol=1e-7)


def test_a_folder_becomes_pixels_and_labels(images: ImageSet, photo_folder: Path) -> None:
    assert images.name == str(photo_folder)
    assert images.classes == ("cat", "dog")
    assert images.pixels.shape == (40, 3, 32, 32)
    assert images.pixels.dtype == np.uint8
    assert images.labels.dtype == np.int64
    assert images.labels.tolist() == [0] * 20 + [1] * 20
    assert images.ids[20] == "dog/00.png"
    assert images.image_size == 32
    assert images.bad == ()
    means = images.pixels.reshape(40, -1).mean(axis=1) / 255
    np.testing.assert_allclose(images.brightness, means, rtol=1e-6)


def test_pixels_are_mapped_and_cannot_be_written(images: ImageSet) -> None:
    assert isinstance(images.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images.pixels[0] = 0


def test_an_entry_is_attached_by_its_path(images: ImageSet) -> None:
    again = ImageSet.open(images.path)
    assert (again.key, again.ids, again.classes) == (images.key, images.ids, images.classes)
    assert (again.pixels == images.pixels).all()
    assert {path.name for path in images.path.iterdir()} == {
        "SHA256SUMS",
        "about.json",
        "brightness.npy",
        "labels.npy",
        "pixels.npy",
    }


def test_a_second_load_decodes_nothing(own_cache: Path) -> None:
    seen: list[int] = []
    first = load_images(source_of(counted(seen)), 16, own_cache)
    second = load_images(source_of(counted(seen)), 16, own_cache)
    assert sorted(seen) == [0, 1, 2, 3, 4, 5]
    assert first.path == second.path


def test_another_size_is_another_entry(own_cache: Path) -> None:
    small, large = (load_images(source_of(grey), size, own_cache) for size in (16, 24))
    assert small.key != large.key
    assert (small.image_size, large.image_size) == (16, 24)


def test_a_changed_folder_is_decoded_again(photo_folder: Path, own_cache: Path) -> None:
    before = load_images(folder_source(photo_folder), 16, own_cache)
    grey(20, 40).save(photo_folder / "cat" / "00.png")
    after = load_images(folder_source(photo_folder), 16, own_cache)
    assert (after.pixels[0] == 200).all()
    assert before.key != after.key


FILES = ("about.json", "brightness.npy", "labels.npy", "pixels.npy")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0.0, 0.3, 0.99])
def test_an_entry_that_was_cut_is_decoded_again(
    own_cache: Path, name: str, at: float, caplog: pytest.LogCaptureFixture
) -> None:
    before = load_images(source_of(grey), 16, own_cache)
    file = before.path / name
    os.truncate(file, int(file.stat().st_size * at))
    after = load_images(source_of(grey), 16, own_cache)
    assert caplog.messages == [f"warning: cache entry {before.path} is built again: {name} changed"]
    assert after.ids == before.ids
    assert after.pixels[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
