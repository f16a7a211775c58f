"""Images with the same pixels, and near copies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from sklearn.datasets import load_digits

from tests.support.core.drawn import counted, grey, source_of
from tests.support.core.pictures import encoded, landscape
from tl_core.data.datasets import load_images
from tl_core.data.decode import to_square
from tl_core.data.given.request import DataRequest, find_data
from tl_core.data.sources import folder_source
from tl_core.data.splitting.copies import Copies, copies_entry, find_copies


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
    assert found.same.tolist() == [0, 0, 2, 3, 4], "8 x 16 pixels are another picture"
    assert sorted(seen) == [0, 1, 2]
    again = find_copies(tmp_path / "entry", squares(7, 7, 7, 9, 5), counted(seen), np.arange(5))
    assert np.array_equal(again, found)
    assert len(seen) == 3, "they are cached"


def test_a_difference_in_the_last_row_of_a_tall_picture_counts(tmp_path: Path) -> None:
    def read(i: int, _: int) -> Image.Image:
        image = Image.new("RGB", (1, 2500))
        image.putpixel((0, 2499), (i, 0, 0))
        return image

    found = find_copies(tmp_path / "a", squares(0, 0), read, np.array([0, 1]))
    assert found.same.tolist() == [0, 1]
    found = find_copies(tmp_path / "b", squares(0, 0), read, np.array([1, 1]))
    assert found.same.tolist() == [0, 0]


def test_another_number_of_images_is_looked_at_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    find_copies(tmp_path / "entry", squares(1, 2), grey, np.arange(2))
    found = find_copies(tmp_path / "entry", squares(1, 2, 3), grey, np.arange(3))
    assert found.same.tolist() == [0, 1, 2]
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


def joined(entry: Path, pictures: Sequence[Image.Image], side: int) -> Copies:
    pixels = np.stack([to_square(picture, side, "squash") for picture in pictures])
    return find_copies(entry, pixels, lambda i, _: pictures[i], np.arange(len(pictures)))


def test_near_copies_are_on_one_side(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for k, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(8):
            landscape(8 * k + i, (128, 96)).save(root / name / f"{i}.png")
    with Image.open(root / "cat" / "3.png") as again:
        again.save(root / "dog" / "again.jpg", quality=75)
        again.resize((96, 72)).save(root / "dog" / "small.webp", quality=90)
        again.save(root / "dog" / "tiff.tif")
    images = load_images(folder_source(root), 64, tmp_path / "cache")
    exact, labels, near, unsure = images.notes
    assert exact.startswith("1 image is a copy of 1 other photo (the same pixels): copies of a")
    assert labels.endswith(": cat/3.png (cat) and dog/tiff.tif (dog)")
    assert near.endswith("; cat/3.png and dog/again.jpg and dog/small.webp")
    assert unsure.startswith("1 photo has near copies with two labels, of which one at most is")
    names = ("cat/3.png", "dog/again.jpg", "dog/small.webp", "dog/tiff.tif")
    rows = {images.ids.index(name) for name in names}
    assert images.rules.groups is not None
    assert len(set(images.rules.groups.tolist())) == 16
    for seed in range(5):
        split = images.split(0.4, seed, seed)
        for part in (split.train, split.val, split.test):
            assert len(rows & set(part.tolist())) in (0, 4)


def test_a_near_copy_of_a_test_photo_is_not_trained_on(tmp_path: Path, own_cache: Path) -> None:
    for k, part in enumerate(("train", "val", "test")):
        for j, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(2):
                picture = landscape(4 * k + 2 * j + i, (128, 96))
                picture.save(tmp_path / part / name / f"{i}.png")
    with Image.open(tmp_path / "test" / "dog" / "1.png") as leak:
        leak.save(tmp_path / "train" / "dog" / "leak.jpg", quality=80)
    images = load_images(find_data(DataRequest(str(tmp_path)), tmp_path), 32, own_cache)
    assert images.ids.index("train/dog/leak.jpg") not in images.split(1.0).train
    assert images.notes[-1] == (
        "1 image of the given training part is not used, as copies or near copies of photos in a "
        "part that is held out: train/dog/leak.jpg"
    )


def test_chains_of_near_copies_are_one_photo(tmp_path: Path) -> None:
    """Eleven copies are more than the neighbours that are looked at; exact ones are apart."""
    first, other = landscape(0, (64, 64)), landscape(1, (64, 64))
    pictures = [first, other, *(encoded(first, "JPEG", quality=q) for q in range(85, 95)), first]
    found = joined(tmp_path / "entry", pictures, 32)
    assert found.near.tolist() == [0, 1, *[0] * 11]
    assert found.same.tolist() == [*range(12), 0]


def test_pairs_that_are_joined_already_are_not_read_again(tmp_path: Path) -> None:
    first = landscape(0, (64, 64))
    pictures = [first, *(encoded(first, "JPEG", quality=quality) for quality in range(60, 95))]
    seen: list[int] = []
    pixels = np.stack([to_square(picture, 32, "squash") for picture in pictures])
    read = counted(seen, lambda i, _: pictures[i])
    found = find_copies(tmp_path / "entry", pixels, read, np.arange(len(pictures)))
    assert set(found.near.tolist()) == {0}
    assert len(seen) < 6 * len(pictures), "eight neighbours of each are many more"


@pytest.mark.parametrize("side", [8, 40])
def test_handwritten_digits_are_not_joined(tmp_path: Path, side: int) -> None:
    digits = [Image.fromarray((15 * d).astype(np.uint8)) for d in load_digits().images[:400]]
    shown = [d.convert("RGB").resize((side, side), Image.Resampling.BICUBIC) for d in digits]
    found = joined(tmp_path / "entry", shown, 32)
    assert np.array_equal(found.near, found.same)


def test_entries_of_the_first_format_are_not_read(tmp_path: Path) -> None:
    assert copies_entry(tmp_path, "0123-64-v4") == tmp_path / "copies" / "0123-64-v4-c2"
