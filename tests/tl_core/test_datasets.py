import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.disks import on_small_disk
from tl_core.datasets import ImageSet, load_images
from tl_core.errors import InputError
from tl_core.sources import Source, folder_source

Read = Callable[[int, int], Image.Image]


def grey(i: int, size: int) -> Image.Image:
    """Picture number `i`: all its pixels are 10 * i."""
    return Image.new("RGB", (size, size), (10 * i,) * 3)


def source_of(read: Read, labels: tuple[int, ...] = (0, 1, 0, 1, 0, 1)) -> Source:
    ids = tuple(f"photo-{i}" for i in range(len(labels)))
    return Source("drawn", ("cat", "dog"), ids, labels, "0123456789abcdef" * 4, read)


def broken(*bad: int) -> Read:
    def read(i: int, size: int) -> Image.Image:
        if i in bad:
            raise OSError(f"{i} is torn")
        return grey(i, size)

    return read


def counted(seen: list[int], read: Read = grey) -> Read:
    def one(i: int, size: int) -> Image.Image:
        seen.append(i)
        return read(i, size)

    return one


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


def test_bad_files_are_told_together_by_path(photo_folder: Path, own_cache: Path) -> None:
    (photo_folder / "cat" / "notes.txt").write_text("not an image")
    torn = photo_folder / "dog" / "01.jpg"
    torn.write_bytes(torn.read_bytes()[:400])
    with pytest.raises(InputError, match="2 files are not readable images") as caught:
        load_images(folder_source(photo_folder), 32, own_cache)
    head, first, second = caught.value.faults
    assert head.endswith("images (--skip-bad-images goes on without them):")
    assert re.match(r"  cat/notes\.txt: UnidentifiedImageError: cannot identify", first)
    assert re.match(r"  dog/01\.jpg: OSError: .*[Tt]runcated", second)


def test_many_bad_files_are_counted(own_cache: Path) -> None:
    source = source_of(broken(*range(25)), labels=(0, 1) * 15)
    with pytest.raises(InputError, match="25 files are not readable images") as caught:
        load_images(source, 16, own_cache)
    assert len(caught.value.faults) == 22
    assert caught.value.faults[1] == "  photo-0: OSError: 0 is torn"
    assert caught.value.faults[-1] == "  and 5 more"


def test_skipping_drops_the_bad_and_keeps_the_rest_aligned(own_cache: Path) -> None:
    source = source_of(broken(1, 4), labels=(0, 1, 1, 0, 0, 1))
    images = load_images(source, 16, own_cache, skip_bad_images=True)
    assert images.ids == ("photo-0", "photo-2", "photo-3", "photo-5")
    assert images.labels.tolist() == [0, 1, 0, 1]
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 20, 30, 50]
    np.testing.assert_allclose(images.brightness * 255, [0, 20, 30, 50], rtol=1e-5)
    assert images.bad == (
        ("photo-1", "OSError: 1 is torn"),
        ("photo-4", "OSError: 4 is torn"),
    )
    assert not (images.path / "all.npy").exists()


def test_skipping_after_a_refusal_reads_only_the_bad_files_again(own_cache: Path) -> None:
    seen: list[int] = []
    source = source_of(counted(seen, broken(2)))
    with pytest.raises(InputError, match="1 file is no readable"):
        load_images(source, 16, own_cache)
    seen.clear()
    assert len(load_images(source, 16, own_cache, skip_bad_images=True).ids) == 5
    assert set(seen) == {2}


def test_a_file_that_can_be_read_by_now_is_taken_in(own_cache: Path) -> None:
    torn = [2]
    source = source_of(lambda i, size: broken(*torn)(i, size))
    with pytest.raises(InputError, match="1 file is no readable"):
        load_images(source, 16, own_cache)
    torn.clear()
    images = load_images(source, 16, own_cache)
    assert len(images.ids) == 6
    assert images.bad == ()


def test_two_that_find_a_file_mended_decode_once(own_cache: Path) -> None:
    with pytest.raises(InputError, match="1 file is no readable"):
        load_images(source_of(broken(2)), 16, own_cache)
    seen: list[int] = []
    met = threading.Barrier(2)

    def read(i: int, size: int) -> Image.Image:
        if i == 2 and seen.count(2) <= 2:
            met.wait(20)  # Both have found it mended before either decodes.
        return grey(i, size)

    source = source_of(counted(seen, read))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: load_images(source, 16, own_cache), range(2))
    assert seen.count(0) == 1
    assert first.path == second.path
    assert len(ImageSet.open(first.path).ids) == 6


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
    assert caplog.messages == [f"warning: cache entry {before.path} is made anew: {name} changed"]
    assert after.ids == before.ids
    assert after.pixels[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]


def test_an_entry_of_an_older_version_is_decoded_again(
    own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (load_images(source_of(grey), 16, own_cache).path / "SHA256SUMS").unlink()
    seen: list[int] = []
    load_images(source_of(counted(seen)), 16, own_cache)
    assert len(seen) == 6
    assert "is made anew: it has no SHA256SUMS" in caplog.text


def decode_for_ever(cache: Path) -> None:
    def read(i: int, size: int) -> Image.Image:
        if i == 5:
            print("begun", flush=True)
            time.sleep(60)
        return grey(i, size)

    load_images(source_of(read), 16, cache)


def test_a_kill_while_decoding_leaves_the_cache_usable(own_cache: Path) -> None:
    code = f"from {__name__} import *; decode_for_ever(Path({str(own_cache)!r}))"
    python = [sys.executable, "-c", code]
    own = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(python, env=own, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.kill()
    (half,) = left_in(own_cache / "images")
    assert half.endswith(".fresh")
    images = load_images(source_of(grey), 16, own_cache)
    assert len(images.ids) == 6
    assert left_in(own_cache / "images") == {images.key}


def test_a_disk_too_small_to_decode_on_is_an_error(own_cache: Path) -> None:
    code = (
        f"from {__name__} import *\n"
        f"try: load_images(source_of(grey), 1024, Path({str(own_cache)!r}))\n"
        "except OSError as error: print(error.strerror, error.filename)"
    )
    done = on_small_disk(own_cache, "1m", "-c", code)
    where = rf"{own_cache}/images/\.0123456789abcdef01234567-1024-v\d\.fresh/all\.npy"
    assert re.fullmatch(rf"No space left on device {where}\n", done.stdout), done.stderr


@pytest.mark.parametrize("bad", [(1, 3, 5), (0, 1, 2, 3, 4, 5)])
def test_skipping_a_whole_class_is_refused(own_cache: Path, bad: tuple[int, ...]) -> None:
    source = source_of(broken(*bad))
    with pytest.raises(InputError, match="class 'dog' has no readable image"):
        load_images(source, 16, own_cache, skip_bad_images=True)


def test_two_threads_decode_once(own_cache: Path) -> None:
    seen: list[int] = []
    source = source_of(counted(seen))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: load_images(source, 16, own_cache), range(2))
    assert len(seen) == 6
    assert (first.pixels == second.pixels).all()


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_an_interrupt_while_decoding_leaves_nothing(own_cache: Path) -> None:
    def read(i: int, size: int) -> Image.Image:
        raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt, match="enough"):
        load_images(source_of(read), 16, own_cache)
    assert left_in(own_cache / "images") == set()


def test_a_large_photo_is_decoded_without_a_warning(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "large" / name).mkdir(parents=True)
        Image.new("RGB", (14, 14)).save(tmp_path / "large" / name / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_images(folder_source(tmp_path / "large"), 16, own_cache).ids) == 2
