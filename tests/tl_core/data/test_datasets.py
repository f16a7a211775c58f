import errno
import json
import os
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tests.support.core.drawn import broken, counted, grey, source_of
from tl_core.aux_task import AuxTask
from tl_core.config import Resize, TrialConfig
from tl_core.data import datasets, decode_rows
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.decode import to_square
from tl_core.data.given.aux_labels import AuxLabels
from tl_core.data.image_entries import decoded, image_entry
from tl_core.data.reading.deep import Levels
from tl_core.data.sources import folder_source
from tl_core.data.splitting.copies import copies_entry
from tl_core.data.splitting.rules import SplitRules
from tl_core.errors import InputError, OutOfTimeError
from tl_core.files import file_lock


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
    assert isinstance(images.pixels, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images.pixels[0] = 0
    again = ImageSet.open(images.path)
    assert (again.key, again.ids, again.classes) == (images.key, images.ids, images.classes)
    assert (again.pixels == images.pixels).all()
    assert {path.name for path in images.path.iterdir()} == {"SHA256SUMS", *FILES}


def test_neither_a_source_nor_its_images_are_shown_one_by_one(own_cache: Path) -> None:
    source, rows = source_of(grey, labels=(0, 1) * 12), np.arange(24)
    source = replace(
        source,
        rules=SplitRules(np.zeros(24, np.int8), rows, by="patient"),
        aux=AuxLabels(AuxTask("age", "regression"), rows.astype(np.float32)),
        columns={"path": source.ids},
        lines=tuple(f"line {row}" for row in rows),
        group_names=source.ids,
    )
    for shown in (repr(source), repr(load_images(source, 16, own_cache))):
        assert len(shown) < 700
        assert "patient" in shown
        assert "age" in shown
        assert "photo-1" not in shown
        assert "line 1" not in shown


def test_a_second_load_decodes_nothing_but_at_another_size(own_cache: Path) -> None:
    seen: list[int] = []
    first, second = (load_images(source_of(counted(seen)), 16, own_cache) for _ in range(2))
    assert sorted(seen) == [0, 1, 2, 3, 4, 5]
    assert first.path == second.path
    assert load_images(source_of(grey), 24, own_cache).key != first.key


@pytest.mark.parametrize("size", [-4, 0, 15, 1025])
def test_a_size_that_no_trial_takes_is_told_before_images_are_read(
    size: int, own_cache: Path
) -> None:
    seen: list[int] = []
    with pytest.raises(InputError, match=f"^image_size {size} must be from 16 to 1024$"):
        load_images(source_of(counted(seen)), size, own_cache)
    assert seen == []
    with pytest.raises(ValidationError, match=r"^1 validation error .*\nimage_size\n"):
        TrialConfig(mode="probe", train_ratio=0.1, image_size=size)


def half_lit(i: int, size: int) -> Image.Image:
    """An upper half of level 200 above a black one, three times as wide as high."""
    image = Image.new("RGB", (6 * size, 2 * size))
    image.paste((200, 200, 200), (0, 0, 6 * size, size))
    return image


@pytest.mark.parametrize(
    ("resize", "suffix", "brightness"),
    # 2 of 6 rows hold the padded picture of 18 px: a sixth is lit, two thirds are grey.
    [("squash", "", 100), ("crop", "-crop", 100), ("pad", "-pad", 200 / 6 + 128 * 2 / 3)],
)
def test_each_way_to_a_square_has_an_entry_and_a_brightness(
    own_cache: Path, resize: Resize, suffix: str, brightness: float
) -> None:
    source = source_of(half_lit)
    images = load_images(source, 18, own_cache, resize=resize)
    assert images.key == f"0123456789abcdef01234567-18-v4{suffix}"
    assert images.path == image_entry(source, 18, own_cache, resize)
    assert ImageSet.open(images.path).resize == images.resize == resize
    assert json.loads((images.path / "about.json").read_text())["resize"] == resize
    np.testing.assert_allclose(images.brightness * 255, brightness, atol=0.6)
    assert (images.pixels[0] == to_square(half_lit(0, 18), 18, resize)).all()


def save_deep(folder: Path, top: int, n: int = 4, name: str = "{}.png") -> Path:
    """Two classes of 16-bit pictures: picture i of n has one value, i / (n - 1) of `top`."""
    for kind in ("cat", "dog"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            grey = np.full((20, 20), top * i // (n - 1), dtype=np.uint16)
            Image.fromarray(grey).save(folder / kind / name.format(i))
    return folder


def test_deep_pictures_are_scaled_by_the_range_of_all(tmp_path: Path, own_cache: Path) -> None:
    folder = save_deep(tmp_path / "photos", 4080)
    images = load_images(folder_source(folder), 16, own_cache)
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 84, 169, 254] * 2
    assert images.scales == {"16-bit grey": Levels(0, 4095)}
    assert images.deep == {"16-bit grey": 8}
    np.testing.assert_allclose(images.brightness[:4], np.array([0, 84, 169, 254]) / 255, rtol=1e-6)
    again = ImageSet.open(images.path)
    assert (again.scales, again.deep) == (images.scales, images.deep)


def test_one_large_value_is_that_of_all(tmp_path: Path, own_cache: Path) -> None:
    folder = save_deep(tmp_path / "photos", 4080)
    Image.fromarray(np.full((20, 20), 65535, dtype=np.uint16)).save(folder / "dog" / "4.tiff")
    grey(20, 40).save(folder / "dog" / "5.png")
    (folder / "dog" / "6.png").write_bytes(b"torn")
    images = load_images(folder_source(folder), 16, own_cache, skip_bad_images=True)
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 5, 10, 15, 0, 5, 10, 15, 255, 200]
    assert images.scales == {"16-bit grey": Levels(0, 65535)}
    assert images.deep == {"16-bit grey": 9}
    assert [name for name, _ in images.bad] == ["dog/6.png"]


def test_an_entry_that_does_not_say_is_squashed(own_cache: Path) -> None:
    about = load_images(source_of(grey), 16, own_cache, resize="pad").path / "about.json"
    old = json.loads(about.read_text())
    del old["resize"]
    about.write_text(json.dumps(old))
    assert ImageSet.open(about.parent).resize == "squash"


def test_a_changed_folder_is_decoded_again(photo_folder: Path, own_cache: Path) -> None:
    before = load_images(folder_source(photo_folder), 16, own_cache)
    grey(20, 40).save(photo_folder / "cat" / "00.png")
    after = load_images(folder_source(photo_folder), 16, own_cache)
    assert (after.pixels[0] == 200).all()
    assert before.key != after.key


FILES = ("about.json", "brightness.npy", "labels.npy", "pixels.npy")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("at", [0.0, 0.3, 0.99])
def test_cut_entry(own_cache: Path, name: str, at: float, caplog: pytest.LogCaptureFixture) -> None:
    before = load_images(source_of(grey), 16, own_cache)
    file = before.path / name
    os.truncate(file, int(file.stat().st_size * at))
    after = load_images(source_of(grey), 16, own_cache)
    assert caplog.messages == [f"warning: cache entry {before.path} is built again: {name} changed"]
    assert after.ids == before.ids
    assert after.pixels[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]


def test_many_bad_files_are_counted(own_cache: Path) -> None:
    source = source_of(broken(*range(25)), labels=(0, 1) * 15)
    with pytest.raises(InputError, match="25 files are not readable images") as caught:
        load_images(source, 16, own_cache)
    _, first, *others = map(str, caught.value.faults)
    assert (first, len(others), others[-1]) == ("  photo-0: OSError: 0 is torn", 20, "  and 5 more")


def test_skipping_drops_the_bad_and_keeps_the_rest_aligned(own_cache: Path) -> None:
    seen: list[int] = []
    source = source_of(counted(seen, broken(1, 4)), labels=(0, 1, 1, 0, 0, 1))
    with pytest.raises(InputError, match="2 files are not readable"):
        load_images(source, 16, own_cache)
    seen.clear()
    images = load_images(source, 16, own_cache, skip_bad_images=True)
    assert set(seen) == {1, 4}, "only those were read again"
    assert images.ids == ("photo-0", "photo-2", "photo-3", "photo-5")
    assert images.labels.tolist() == [0, 1, 0, 1]
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 20, 30, 50]
    np.testing.assert_allclose(images.brightness * 255, [0, 20, 30, 50], rtol=1e-5)
    assert images.bad == (("photo-1", "OSError: 1 is torn"), ("photo-4", "OSError: 4 is torn"))
    assert not (images.path / "all.npy").exists()


def test_a_file_that_can_be_read_by_now_is_taken_in(own_cache: Path) -> None:
    torn = [2]
    source = source_of(lambda i, size: broken(*torn)(i, size))
    one = r"^1 file is not a readable image \(--skip-bad-images omits it, "
    with pytest.raises(InputError, match=one):
        load_images(source, 16, own_cache)
    torn.clear()
    images = load_images(source, 16, own_cache)
    assert (len(images.ids), images.bad) == (6, ())


def test_what_images_lack_is_told_by_their_key(own_cache: Path) -> None:
    def load(*bad: int) -> ImageSet:
        images = load_images(source_of(broken(*bad)), 16, own_cache, skip_bad_images=True)
        assert images.path == image_entry(source_of(grey), 16, own_cache)
        assert images.path.name == images.key
        assert images.pixels[:, 0, 0, 0].tolist() == [10 * i for i in range(6) if i not in bad]
        assert ImageSet.open(images.path).pixels.tolist() == images.pixels.tolist()
        return images

    two, one, none = load(1, 4), load(4), load()
    plain = "0123456789abcdef01234567-16-v4"
    # The first 12 digits of `printf '["photo-4"]' | sha256sum`, and of both names.
    assert one.key == f"{plain}-lacks-e89f1d8b6b33"
    assert two.key == f"{plain}-lacks-1d345772e8fe"
    assert none.key == plain
    assert len({images.content for images in (one, two, none)}) == 3
    # A study that is running keeps what it began with.
    assert ImageSet.open(two.path).ids == ("photo-0", "photo-2", "photo-3", "photo-5")


def test_images_that_lack_some_and_whose_entry_was_removed_are_decoded_again(
    own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(broken(4))
    entry = image_entry(source_of(grey), 16, own_cache)
    before = load_images(source, 16, own_cache, skip_bad_images=True)
    assert before.key.startswith(f"{entry.name}-lacks-")
    shutil.rmtree(before.path)
    caplog.clear()
    images = load_images(source, 16, own_cache, skip_bad_images=True)
    assert (images.key, images.content) == (before.key, before.content)
    why = f"there is no {images.key}"
    assert caplog.messages == [f"warning: cache entry {entry} is built again: {why}"]
    assert {path.name for path in entry.iterdir()} == {"SHA256SUMS", "about.json"}
    assert {path.name for path in images.path.iterdir()} == {"SHA256SUMS", *FILES}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_entry_that_lacks_some(own_cache: Path, name: str) -> None:
    source = source_of(broken(4))
    before = load_images(source, 16, own_cache, skip_bad_images=True)
    pixels = before.pixels.tolist()
    os.truncate(before.path / name, 10)
    after = load_images(source, 16, own_cache, skip_bad_images=True)
    assert (after.key, after.ids, after.pixels.tolist()) == (before.key, before.ids, pixels)
    listing = own_cache / "images" / before.key.partition("-lacks-")[0]
    os.truncate(listing / "about.json", 10)
    assert image_entry(source, 16, own_cache) == listing
    assert load_images(source, 16, own_cache, skip_bad_images=True).path == before.path
    assert {path.name for path in listing.iterdir()} == {"SHA256SUMS", "about.json"}


def test_each_wait_for_another_process_ends_in_time(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aux = AuxLabels(AuxTask("age", "regression"), np.arange(6, dtype=np.float32))
    parts = SplitRules(np.array([0, 0, 0, 0, 1, 2], np.int8))
    source = replace(source_of(broken(0)), rules=parts, aux=aux)
    monkeypatch.setattr(decode_rows, "time", SimpleNamespace(monotonic=lambda: 0.0))

    def load(end: float | None = None) -> ImageSet:
        return load_images(source, 16, own_cache, skip_bad_images=True, end=end)

    images = load()
    known = copies_entry(own_cache, images.key)
    for entry in (known, images.aux_path, images.rules_path, images.path):
        assert entry is not None
        shutil.rmtree(entry)
        why = f"^--max-time is over: another process still builds cache entry {entry}$"
        with file_lock(entry.with_suffix(".lock")), pytest.raises(OutOfTimeError, match=why):
            load(end=0.0)
        load()


def test_copies_are_not_looked_for_when_the_time_is_over(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_time = partial(decoded, end=None)
    monkeypatch.setattr(datasets, "decoded", lambda *given: in_time(*given[:-1]))
    why = (
        "--max-time is over: copies among the images are still to be found. The images are decoded "
        "and kept in the cache; the same command goes on with them"
    )
    with pytest.raises(OutOfTimeError, match=f"^{re.escape(why)}$"):
        load_images(source_of(grey), 16, own_cache, end=0.0)
    # The next command has all of its time for them.
    why = (
        "--max-time is too short: the search for copies among the images takes longer, and begins "
        "anew each time; choose a longer one"
    )
    with pytest.raises(InputError, match=f"^{re.escape(why)}$"):
        load_images(source_of(grey), 16, own_cache, end=0.0)
    images = load_images(source_of(grey), 16, own_cache)
    assert load_images(source_of(grey), 16, own_cache, end=0.0).key == images.key, "all is there"


@pytest.mark.parametrize(("error", "why"), [
    (OSError(errno.EIO, "error"), "could not be read: Input/output error, a fault of this machine"),
    (MemoryError(), "could not be read: Cannot allocate memory, a fault of this machine"),
    (FileNotFoundError(errno.ENOENT, "error", "gone"),
     "was read once, and then not: there is no such file or folder. Images that are decoded"),
    (ValueError("broken"), "was read once, and then not: ValueError: broken. Images that"),
])  # fmt: skip
def test_an_image_that_fails_while_copies_are_looked_for_is_named(
    own_cache: Path, error: Exception, why: str
) -> None:
    def fails(i: int, size: int) -> Image.Image:
        raise error

    source = source_of(lambda i, size: Image.new("RGB", (size, size)))
    images = load_images(source, 16, own_cache)
    shutil.rmtree(copies_entry(own_cache, images.key))
    with pytest.raises(InputError, match=rf"^photo-\d {why}"):
        load_images(replace(source, read=fails), 16, own_cache)


def test_skipping_a_whole_given_part_is_refused(own_cache: Path) -> None:
    def load(*bad: int) -> ImageSet:
        source = source_of(broken(*bad), labels=(0, 1) * 4)
        parts = np.array([0, 0, 0, 0, 1, 1, 2, 2], np.int8)
        source = replace(source, rules=SplitRules(parts), notes=("as given",))
        cache = own_cache / str(bad)  # Else all are decoded.
        return load_images(source, 16, cache, skip_bad_images=True)

    assert load().notes == ("as given",)
    left_out = "1 image of training, 1 image of test can't be read and are left out"
    assert load(0, 6).notes == ("as given", f"of the given split, {left_out}")
    with pytest.raises(InputError, match=r"^no image of the given test part can be read$"):
        load(6, 7)
    with pytest.raises(InputError) as caught:
        load(4, 5, 6, 7)
    assert [*map(str, caught.value.faults)] == [
        "no image of the given validation part can be read",
        "no image of the given test part can be read",
    ]


@pytest.mark.parametrize("bad", [(1, 3, 5), (0, 1, 2, 3, 4, 5)])
def test_skipping_a_whole_class_is_refused(own_cache: Path, bad: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="class 'dog' has no readable image"):
        load_images(source_of(broken(*bad)), 16, own_cache, skip_bad_images=True)
