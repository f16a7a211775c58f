"""Hostile files and folders: each is used correctly, or message with the others in one error."""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image

from tests.support.core.hostile_files import bomb, png, put, without_root
from tests.tl_core.data.test_sources import plant
from tl_core.data import decode as pictures
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.decode import as_rgb, open_picture
from tl_core.data.given.request import DataRequest, find_data
from tl_core.data.reading.deep import Deep
from tl_core.data.reading.low_bytes import read_all_bits
from tl_core.data.sources import Source, folder_source
from tl_core.errors import InputError

T = TypeVar("T")


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", bomb())
    assert path.stat().st_size < 200_000
    code = (
        "import resource, pathlib, tl_core.data.decode as p\n"
        "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = most()\n"
        f"try: p.open_picture(pathlib.Path({str(path)!r}))\n"
        "except Exception as e: print(type(e).__name__, (most() - before) * 1024)"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60)
    kind, grown = printed.split()
    assert kind == "DecompressionBombError"
    assert int(grown) < 50e6, "bytes; decoded it would be 2.7e9"


class AtOnce:
    """How many threads are in some functions at the same time, at most."""

    def __init__(self) -> None:
        self.now, self.most = 0, 0

    def slowly(self, do: Callable[..., T]) -> Callable[..., T]:
        def run(*args: object) -> T:
            self.now += 1
            self.most = max(self.most, self.now)
            time.sleep(0.01)
            done = do(*args)
            self.now -= 1
            return done

        return run


def test_large_pictures_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = AtOnce()
    monkeypatch.setattr(pictures, "_LARGE", 100)
    monkeypatch.setattr(pictures, "_to_rgb", at_once.slowly(lambda image: image))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(pictures.to_picture, [Image.new("RGB", (11, 11))] * 8))
    assert at_once.most == 1


def test_large_pictures_of_more_than_8_bits_are_decoded_and_scaled_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once, rng = AtOnce(), np.random.default_rng(0)
    rows = b"".join(b"\0" + rng.bytes(11 * 6) for _ in range(11))
    colour = png(11, 11, 16, 2, rows)
    Image.fromarray(np.arange(121, dtype=np.uint16).reshape(11, 11)).save(
        grey := io.BytesIO(), "PNG"
    )
    expected = [as_rgb(open_picture(io.BytesIO(content))) for content in (colour, grey.getvalue())]
    monkeypatch.setattr(pictures, "_LARGE", 100)
    monkeypatch.setattr(pictures, "read_all_bits", at_once.slowly(read_all_bits))
    monkeypatch.setattr(pictures, "_depth", at_once.slowly(pictures._depth))
    monkeypatch.setattr(Deep, "to_rgb", at_once.slowly(Deep.to_rgb))
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(
            lambda c: as_rgb(open_picture(io.BytesIO(c))), [colour, grey.getvalue()] * 4
        )
        assert [*found] == expected * 4
    assert at_once.most == 1


def photos(root: Path, image: Image.Image, **options: Any) -> Source:
    """The picture as the only one of two classes."""
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        image.save(root / name / "a.jpg", quality=100, **options)
    return folder_source(root)


@pytest.mark.parametrize("size", [(1, 1), (20_000, 1), (1, 20_000)])
def test_sizes_at_the_edge_are_used(size: tuple[int, int], tmp_path: Path, own_cache: Path) -> None:
    source = photos(tmp_path / "photos", Image.new("RGB", size, (50, 50, 50)))
    assert (load_images(source, 16, own_cache).pixels == 50).all()


def test_what_is_no_file_is_not_waited_for() -> None:
    # By names alone: a socket's path may have no more than 107 bytes.
    Path("zero.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("a.jpg")
        for name, kind in (("zero.jpg", "a device"), ("a.jpg", "a socket")):
            with pytest.raises(OSError, match=f"^{name} is {kind}, not a picture"):
                open_picture(Path(name))


@pytest.fixture
def broken_folder(photo_folder: Path) -> Path:
    """40 good photos of cats and dogs, and one file of each way not to be one."""
    cat = photo_folder / "cat"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole := io.BytesIO(), "JPEG")
    for name, content in {
        "archive.jpg": b"PK\x03\x04",
        "bomb.png": bomb(15_000),
        "empty.jpg": b"",
        "text.txt": b"no picture",
        "torn.jpg": whole.getvalue()[: whole.tell() // 2],
    }.items():
        put(cat / name, content)
    os.mkfifo(cat / "pipe.jpg")
    (cat / "loop.jpg").symlink_to("loop.jpg")
    (cat / "lost.jpg").symlink_to("nowhere.jpg")
    put(cat / "private.jpg", whole.getvalue()).chmod(0)
    put(cat / "shut" / "a.jpg", whole.getvalue()).parent.chmod(0)
    return photo_folder


FAULTS = {
    "archive.jpg": "a ZIP archive or office document; unpack it, and name the unpacked folder",
    "bomb.png": "DecompressionBombError: Image size (225000000 pixels) exceeds limit",
    "empty.jpg": "an empty file (0 bytes)",
    "loop.jpg": "can't be read: Too many levels of symbolic links",
    "lost.jpg": "a link to a file that does not exist",
    "pipe.jpg": "OSError: {}/pipe.jpg is a named pipe, not a picture",
    "private.jpg": "can't be read: Permission denied",
    "text.txt": "a text file",
    "torn.jpg": "OSError: ",
    "shut": "OSError: {}/shut is a folder that can't be read, not a picture",
}


def test_broken_files_are_named_together_or_skipped(broken_folder: Path, own_cache: Path) -> None:
    def load(skip: bool) -> ImageSet:
        return without_root(lambda: load_images(folder_source(broken_folder), 16, own_cache, skip))

    head = r"^10 files are not readable images \(--skip-bad-images omits them, "
    with pytest.raises(InputError, match=head) as caught:
        load(skip=False)
    message = dict(str(fault).strip().split(": ", 1) for fault in caught.value.faults[1:])
    assert message.keys() == {f"cat/{name}" for name in FAULTS}
    for name, why in FAULTS.items():
        assert message[f"cat/{name}"].startswith(why.format(broken_folder / "cat"))
    images = load(skip=True)
    assert len(images.labels) == 40
    assert {name for name, _ in images.bad} == message.keys()


@pytest.mark.parametrize("name", ["masks", "photos"])
def test_a_class_that_can_not_be_read_beside_photos_is_listed(tmp_path: Path, name: str) -> None:
    root = plant(tmp_path / "in", "images/1.png", f"{name}/1.png")
    (root / name).chmod(0)
    source = without_root(lambda: folder_source(root))
    assert source.ids == ("images/1.png", name)
    assert source.notes == ()


@pytest.mark.parametrize("part", ["", "val/"])
def test_a_class_folder_without_read_permission_is_listed(
    photo_folder: Path, tmp_path: Path, own_cache: Path, part: str
) -> None:
    root = photo_folder
    if part:
        root = tmp_path / "parts"
        for name in ("train", "val"):
            shutil.copytree(photo_folder, root / name)
    (root / f"{part}cat").chmod(0)

    def load() -> ImageSet:
        return load_images(find_data(DataRequest(str(root)), own_cache), 16, own_cache)

    with pytest.raises(InputError) as caught:
        without_root(load)
    assert [str(fault) for fault in caught.value.faults[1:]] == [
        f"  {part}cat: OSError: {root}/{part}cat is a folder that can't be read, not a picture"
    ]


def test_files_of_a_folder_that_can_only_be_listed_are_listed(
    photo_folder: Path, own_cache: Path
) -> None:
    cat = photo_folder / "cat"
    cat.chmod(0o644)
    why = r"^20 files are not readable images .*\n  20 files, .*: can't be read: Permission denied$"
    with pytest.raises(InputError, match=why):
        without_root(lambda: load_images(folder_source(photo_folder), 16, own_cache))
    cat.chmod(0o755)
    assert load_images(folder_source(photo_folder), 16, own_cache).bad == ()


@pytest.mark.parametrize(("shut", "data"), [
    ("", ""), ("val", ""), ("train/a", "photos.csv"), ("", "photos.csv"),
])  # fmt: skip
def test_what_holds_the_rest_and_may_not_be_read_is_named(
    tmp_path: Path, shut: str, data: str
) -> None:
    root = plant(tmp_path / "in", *(f"{part}/{c}/1.png" for part in ("train", "val") for c in "ab"))
    (root / "photos.csv").write_text("path,label\ntrain/a/1.png,a\ntrain/b/1.png,b\n")
    (root / shut).chmod(0)
    with pytest.raises(InputError, match=rf"^{root}.* can't be read: Permission denied$"):
        without_root(lambda: find_data(DataRequest(str(root / data)), tmp_path))


def test_odd_photos_are_decoded_without_a_warning(tmp_path: Path, own_cache: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker whose name lies elsewhere in the file"
    source = photos(tmp_path / "photos", Image.new("RGB", (8, 4)), exif=exif.tobytes()[:-20])
    with pytest.warns(UserWarning, match="Truncated File Read|Tag data|Corrupt EXIF"):
        source.read(0, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_images(source, 16, own_cache).ids) == 2
