import math
import re
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.core.drawn import broken, counted, source_of
from tl_core.data import decode_source
from tl_core.data.datasets import load_images
from tl_core.data.decode import Picture
from tl_core.data.decode_source import format_bad, images_kept, unreadable, why_unreadable
from tl_core.data.reading.deep import Deep
from tl_core.errors import OutOfTimeError


def test_files_of_one_kind_are_one_line() -> None:
    texts = [(f"cat/{i}.txt", "a text file") for i in range(1200)]
    torn = [("dog/1.jpg", "OSError: torn"), ("dog/2.jpg", "OSError: torn")]
    assert [*format_bad([("a.psd", "a Photoshop document"), *texts, *torn])] == [
        "1,203 files are not readable images (--skip-bad-images omits them, --exclude GLOB leaves "
        "out files by name):",
        "  a.psd: a Photoshop document",
        "  1,200 files, cat/0.txt, cat/1.txt, cat/2.txt and 1,197 more: each a text file",
        "  2 files, dog/1.jpg, dog/2.jpg: OSError: torn",
    ]


def test_what_cannot_be_decoded_is_named() -> None:
    source = source_of(broken(1, 4))
    assert unreadable(source, 16, [4, 0, 1]) == [
        ("photo-4", "OSError: 4 is torn"),
        ("photo-1", "OSError: 1 is torn"),
    ]
    assert why_unreadable(source, 3, 16) is None


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
    assert (images.scales, images.deep) == (whole.scales, whole.deep)
    told = rf"Decoding drawn: {6 - stop_at} in \d\.\d s, {stop_at} were there\n"
    assert re.match(told, capsys.readouterr().err)


def test_a_torn_picture_that_can_be_read_later(own_cache: Path) -> None:
    def stopping(i: int, size: int) -> Picture:
        if i == 5:
            raise KeyboardInterrupt
        return broken(1)(i, size)

    with pytest.raises(KeyboardInterrupt):
        load_images(source_of(stopping), 16, own_cache)
    images = load_images(source_of(broken()), 16, own_cache)
    assert (images.bad, images.pixels[1].max()) == ((), 10)


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
        patch.setattr(decode_source, "time", SimpleNamespace(monotonic=lambda: next(times)))
        with pytest.raises(OutOfTimeError, match=f"^{re.escape(why)}$"):
            load_images(source_of(broken()), 16, own_cache, end=now + 8)
    source = source_of(counted(seen, broken()))
    assert len(load_images(source, 16, own_cache, end=math.inf).ids) == 6
    assert sorted(seen) == [2, 3, 4, 5]
