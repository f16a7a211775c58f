import errno
import math
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.support.core.drawn import broken, counted, grey, source_of
from tl_core.data import decode, decode_rows
from tl_core.data.datasets import load_images
from tl_core.data.decode import Picture
from tl_core.data.decode_source import unreadable, why_unreadable
from tl_core.data.image_entries import image_entry, images_kept
from tl_core.data.reading.deep import Deep
from tl_core.errors import InputError, OutOfTimeError
from tl_core.files import file_lock


def test_what_cannot_be_decoded_is_named() -> None:
    source = source_of(broken(1, 4))
    assert unreadable(source, 16, [4, 0, 1]) == [
        ("photo-4", "OSError: 4 is torn"),
        ("photo-1", "OSError: 1 is torn"),
    ]
    assert why_unreadable(source, 3, 16) is None


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (MemoryError(), "Cannot allocate memory"),
        *((OSError(n, os.strerror(n)), os.strerror(n)) for n in (errno.EMFILE, errno.ESTALE)),
    ],
)
def test_a_fault_of_the_machine_is_none_of_a_file(
    own_cache: Path, error: Exception, why: str
) -> None:
    def failing(i: int, size: int) -> Picture:
        if i == 4:
            raise error
        return grey(i, size)

    source, seen = source_of(failing), list[int]()
    with pytest.raises(InputError) as caught:
        load_images(source, 16, own_cache, skip_bad_images=True)
    assert str(caught.value) == (
        f"photo-4 could not be read: {why}, a fault of this machine or its storage. Images that "
        "are decoded are kept in the cache, and the same command goes on there; if the fault "
        "stays, --exclude leaves the file out, and all others are decoded again"
    )
    images = load_images(replace(source, read=counted(seen)), 16, own_cache)
    assert sorted(seen) == [4, 5]
    assert images.bad == ()


def test_bad_files_are_tried_again_by_several_threads(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "usable_cpus", lambda: 2)
    both, again = Barrier(2, timeout=60), False

    def torn(i: int, size: int) -> Picture:
        if again:
            both.wait()
        return broken(0, 1)(i, size)

    first = load_images(source_of(torn), 16, own_cache, skip_bad_images=True)
    again = True
    assert load_images(source_of(torn), 16, own_cache, skip_bad_images=True).path == first.path
    assert not both.broken


def mixed(i: int, size: int) -> Picture:
    """Number 4 is torn, and each third has 16 bits."""
    if i % 3 == 0:
        return Deep("16-bit grey", np.full((size, size), 100 * i, np.uint16))
    return broken(4)(i, size)


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_decoding_that_was_stopped_goes_on(
    own_cache: Path, tmp_path: Path, stop_at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The torn picture is tried again, the others that are there are not; all are as if decoded
    without a break, the range of deep ones included."""
    whole = load_images(source_of(mixed), 16, tmp_path / "other", skip_bad_images=True)

    def stopping(i: int, size: int) -> Picture:
        if i == stop_at:
            raise KeyboardInterrupt
        return mixed(i, size)

    with pytest.raises(KeyboardInterrupt):
        load_images(source_of(stopping), 16, own_cache, skip_bad_images=True)
    assert images_kept(source_of(mixed), 16, own_cache, "squash") == stop_at
    seen, scaled_again = list[int](), [0, 3]

    def noting(i: int, size: int) -> Picture:
        seen.append(i)
        return mixed(i, size)

    capsys.readouterr()
    images = load_images(source_of(noting), 16, own_cache, skip_bad_images=True)
    torn = [4] if stop_at > 4 else []
    assert sorted(seen) == sorted([*torn, *range(stop_at, 6), *scaled_again])
    assert (images.key, images.bad, images.ids) == (whole.key, whole.bad, whole.ids)
    assert images.pixels.tobytes() == whole.pixels.tobytes()
    assert images.brightness.tobytes() == whole.brightness.tobytes()
    assert (images.scales, images.deep) == (whole.scales, whole.deep)
    told = rf"Decoding drawn: {6 - stop_at} in \d\.\d s, {stop_at} were there\n"
    assert re.match(told, capsys.readouterr().err)


@pytest.mark.parametrize("reads", [8, 9, 11])
def test_scaling_that_was_stopped_goes_on(own_cache: Path, tmp_path: Path, reads: int) -> None:
    """Numbers 0, 3, 6, 7 and 8 are deep: after 9 reads that measure, they are read again."""
    labels = (0, 1) * 4 + (0,)

    def deep(i: int, size: int) -> Picture:
        return Deep("16-bit grey", np.full((size, size), 100 * i, np.uint16))

    seen = list[int]()

    def read(i: int, size: int) -> Picture:
        if len(seen) == reads:
            raise OSError(errno.EIO, "the disk is gone")
        seen.append(i)
        return deep(i, size) if i % 3 == 0 or i > 6 else grey(i, size)

    source = source_of(read, labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "usable_cpus", lambda: 1)
        with pytest.raises(InputError, match="photo-"):
            load_images(source, 16, own_cache)
    reads += 100
    first = len(seen)
    images = load_images(source, 16, own_cache)
    assert len(seen) - first == (9 + 5) - first, "nothing is read twice"
    whole = load_images(source, 16, tmp_path / "other")
    assert images.pixels.tobytes() == whole.pixels.tobytes()
    assert images.scales == whole.scales == {"16-bit grey": (0, 1023)}


def test_a_picture_that_is_lost_before_it_is_scaled(own_cache: Path) -> None:
    lost, seen = [3], list[int]()

    def read(i: int, size: int) -> Picture:
        seen.append(i)
        if i in lost and seen.count(i) == 2:
            raise PermissionError(errno.EACCES, "Permission denied")
        return mixed(i, size)

    why = (
        "photo-3 was read once, and then not: can't be read: Permission denied. Images that are "
        "decoded are kept in the cache, and the same command goes on there; if the fault stays, "
        "--exclude leaves the file out, and all others are decoded again"
    )
    with pytest.raises(InputError, match=f"^{re.escape(why)}$"):
        load_images(source_of(read), 16, own_cache, skip_bad_images=True)
    seen.clear()
    images = load_images(source_of(read), 16, own_cache, skip_bad_images=True)
    assert seen == [3]
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 10, 20, 149, 50], "300 of 511"


def test_a_picture_that_cannot_be_decoded_takes_no_room(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the file another one than that of the readable pictures alone."""
    given, allocate = list[int](), os.posix_fallocate

    def note(file: int, start: int, size: int) -> None:
        given.append(size)
        allocate(file, start, size)

    monkeypatch.setattr(os, "posix_fallocate", note)
    images = load_images(source_of(broken(0, 4)), 16, own_cache, skip_bad_images=True)
    assert sum(given) == 128 + 6 * 3 * 16 * 16 + (128 + 4 * 8) + (128 + 4 * 4)
    np.save(tmp_path / "alone.npy", images.pixels)
    assert images.pixels[:, 0, 0, 0].tolist() == [10, 20, 30, 50]
    assert (images.path / "pixels.npy").read_bytes() == (tmp_path / "alone.npy").read_bytes()


def test_rows_that_change_their_picture_are_not_taken_for_done(own_cache: Path) -> None:
    """As a kill would find the table when number 1, torn at first, is there by now."""
    torn, kept = [1], list[int]()

    def read(i: int, size: int) -> Picture:
        if torn and i == 5:
            raise KeyboardInterrupt
        if not torn and i == 3:
            kept.append(images_kept(source, 16, own_cache, "squash"))
        return broken(*torn)(i, size)

    source = source_of(read)
    with pytest.raises(KeyboardInterrupt):
        load_images(source, 16, own_cache)
    assert images_kept(source, 16, own_cache, "squash") == 5
    torn.clear()
    images = load_images(source, 16, own_cache)
    assert kept == [1]
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]


def test_brightness_is_that_of_the_pixels_bit_for_bit(own_cache: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 20, 30, 3), np.uint8)

    def read(i: int, _: int) -> Picture:
        if i == 4 and not stopped:
            stopped.append(i)
            raise KeyboardInterrupt
        return Image.fromarray(noise[i])

    stopped = list[int]()
    with pytest.raises(KeyboardInterrupt):
        load_images(source_of(read), 16, own_cache)
    images = load_images(source_of(read), 16, own_cache)
    means = [image.mean(dtype=np.float64) / 255 for image in images.pixels]
    assert images.brightness.tolist() == np.array(means, np.float32).tolist()


def test_a_torn_picture_that_can_be_read_later(own_cache: Path) -> None:
    def stopping(i: int, size: int) -> Picture:
        if i == 5:
            raise KeyboardInterrupt
        return broken(1)(i, size)

    with pytest.raises(KeyboardInterrupt):
        load_images(source_of(stopping), 16, own_cache)
    images = load_images(source_of(broken()), 16, own_cache)
    assert (images.bad, images.pixels[1].max()) == ((), 10)


def test_who_decodes_the_same_is_waited_for_until_the_time_is_over(own_cache: Path) -> None:
    entry = image_entry(source_of(broken()), 16, own_cache)
    entry.parent.mkdir(parents=True)
    with (
        file_lock(entry.with_suffix(".lock")),
        pytest.raises(OutOfTimeError, match="another process still builds"),
    ):
        load_images(source_of(broken()), 16, own_cache, end=0.0)


def test_decoding_ends_in_time_and_is_kept(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, now = list[int](), time.monotonic()
    why = (
        "--max-time is over: 4 images are still to be decoded. Those that are decoded are kept in "
        "the cache; the same command goes on there"
    )
    times = iter((now, now + 9, now + 11))
    with monkeypatch.context() as patch:
        patch.setattr(decode_rows, "time", SimpleNamespace(monotonic=lambda: next(times)))
        with pytest.raises(OutOfTimeError, match=f"^{re.escape(why)}$"):
            load_images(source_of(broken()), 16, own_cache, end=now + 8)
    source = source_of(counted(seen, broken()))
    assert len(load_images(source, 16, own_cache, end=math.inf).ids) == 6
    assert sorted(seen) == [2, 3, 4, 5]


def test_the_time_may_end_before_all_brightness_is_known(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of rows that were there; all others are measured when they are decoded."""
    stopped = list[int]()

    def read(i: int, size: int) -> Picture:
        if i == 299 and not stopped:
            stopped.append(i)
            raise KeyboardInterrupt
        return grey(i % 7, size)

    source = source_of(read, labels=(0, 1) * 150)
    with pytest.raises(KeyboardInterrupt):
        load_images(source, 16, own_cache)
    why = "--max-time is over: 43 images are still to be measured. Those that are decoded are kept"
    with monkeypatch.context() as patch:
        patch.setattr(decode_rows, "time", SimpleNamespace(monotonic=lambda: 3.0))
        with pytest.raises(OutOfTimeError, match=f"^{re.escape(why)}"):
            load_images(source, 16, own_cache, end=2.0)
    assert images_kept(source, 16, own_cache, "squash") == 300
