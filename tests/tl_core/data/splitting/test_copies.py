"""Images with the same pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.support.core.drawn import counted, grey, source_of
from tl_core.data.datasets import load_images
from tl_core.data.sources import folder_source
from tl_core.data.splitting.copies import find_copies


def squares(*greys: int) -> np.ndarray:
    return np.array(greys, np.uint8)[:, None, None, None] * np.ones((1, 3, 4, 4), np.uint8)


def test_only_equal_squares_are_read_in_full_size(tmp_path: Path) -> None:
    seen: list[int] = []
    shapes = {0: (8, 8), 1: (8, 8), 2: (8, 16), 3: (8, 8), 4: (8, 8)}

    def read(i: int, _: int) -> Image.Image:
        return Image.new("RGB", shapes[i], (7,) * 3)

    found = find_copies(
        tmp_path / "entry", squares(7, 7, 7, 9, 5), counted(seen, read), np.arange(5)
    )
    assert found.tolist() == [0, 0, 2, 3, 4], "8 x 16 pixels are another picture"
    assert sorted(seen) == [0, 1, 2]
    again = find_copies(tmp_path / "entry", squares(7, 7, 7, 9, 5), counted(seen), np.arange(5))
    assert again.tolist() == found.tolist()
    assert len(seen) == 3, "they are cached"


def test_a_difference_in_the_last_row_of_a_tall_picture_counts(tmp_path: Path) -> None:
    def read(i: int, _: int) -> Image.Image:
        image = Image.new("RGB", (1, 2500))
        image.putpixel((0, 2499), (i, 0, 0))
        return image

    assert find_copies(tmp_path / "a", squares(0, 0), read, np.array([0, 1])).tolist() == [0, 1]
    assert find_copies(tmp_path / "b", squares(0, 0), read, np.array([1, 1])).tolist() == [0, 0]


def test_another_number_of_images_is_looked_at_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    find_copies(tmp_path / "entry", squares(1, 2), grey, np.arange(2))
    found = find_copies(tmp_path / "entry", squares(1, 2, 3), grey, np.arange(3))
    assert found.tolist() == [0, 1, 2]
    assert "it has 2 images, not 3" in caplog.text


def test_a_copy_in_another_format_and_with_other_tags_is_found(tmp_path: Path) -> None:
    root, noise = tmp_path / "photos", np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(3):
            picture = Image.fromarray(noise.integers(255, size=(40, 30, 3), dtype=np.uint8))
            picture.save(root / name / f"{i}.png")
    picture.save(root / "dog" / "tiff.tif")
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(root / "cat" / "turned.png", exif=tags)
    images = load_images(folder_source(root), 16, tmp_path / "cache")
    assert images.ids[3::3] == ("cat/turned.png", "dog/2.png")
    assert images.rules.groups is not None
    groups = images.rules.groups.tolist()
    assert groups[3] == groups[6] == groups[7]
    assert len(set(groups)) == 6
    first, second = images.notes
    assert first.startswith("2 images are copies of 1 other photo (the same pixels): copies of a")
    assert first.endswith("; cat/turned.png and dog/2.png and dog/tiff.tif")
    assert second == (
        "1 photo has copies with two labels, of which one at most is right: cat/turned.png (cat) "
        "and dog/2.png (dog) and dog/tiff.tif (dog)"
    )


def test_images_without_copies_have_no_rules(tmp_path: Path) -> None:
    images = load_images(source_of(grey), 16, tmp_path)
    assert images.rules.is_plain()
    assert images.rules_path is None
    assert images.notes == ()
    assert not (tmp_path / "splits").exists()
