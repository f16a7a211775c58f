"""Real broken, odd and hostile picture files: each is used correctly or told in one error."""

import io
import os
import socket
import struct
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.tl_core.hostile_files import GREY, RGB, bomb, png, put, tiff, without_root
from tl_core import pictures
from tl_core.datasets import load_images
from tl_core.errors import InputError
from tl_core.pictures import open_rgb
from tl_core.sources import folder_source

ANIMATED: dict[str, Any] = {"save_all": True}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEG", {}),
    "progressive jpeg": ("JPEG", {"progressive": True}),
    "photo of several pictures": ("MPO", ANIMATED),
    "png": ("PNG", {}),
    "animated png": ("PNG", ANIMATED),
    "gif": ("GIF", {}),
    "animated gif": ("GIF", ANIMATED),
    "webp": ("WEBP", {}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "animated webp": ("WEBP", ANIMATED | {"lossless": True}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "packed tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "ppm": ("PPM", {}),
    "jpeg 2000": ("JPEG2000", {}),
    "avif": ("AVIF", {}),
}
LOSSLESS = ("png", "animated png", "lossless webp", "animated webp", "bmp", "tiff", "packed tiff",
            "ppm", "jpeg 2000")  # fmt: skip


def scene(seed: int = 0) -> NDArray[np.uint8]:
    """A smooth picture with some noise, uint8 [24, 32, 3]."""
    y, x = np.mgrid[:24, :32]
    noise = np.random.default_rng(seed).integers(0, 20, (24, 32, 3))
    smooth = np.stack([7 * x, 9 * y, 4 * (x + y)], axis=-1)
    return (smooth + noise).clip(0, 255).astype(np.uint8)


def encode(kind: str) -> bytes:
    file, (name, how) = io.BytesIO(), KINDS[kind]
    more = {"append_images": [Image.fromarray(255 - scene())]} if "save_all" in how else {}
    Image.fromarray(scene()).save(file, name, **how, **more)
    return file.getvalue()


def decode(content: bytes) -> NDArray[np.uint8]:
    return np.asarray(open_rgb(io.BytesIO(content)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_frame_of_each_kind_is_read_whatever_its_name(kind: str, tmp_path: Path) -> None:
    found = np.asarray(open_rgb(put(tmp_path / "mislabelled.jpg", encode(kind))), dtype=np.int64)
    assert abs(found - scene()).mean() < (0.01 if kind in LOSSLESS else 12)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_never_half_read(kind: str) -> None:
    content = encode(kind)
    whole = decode(content)
    refused = 0
    for length in range(0, len(content), max(1, len(content) // 40)):
        try:
            # Of an animation, or of what only ends a file, there may be enough.
            assert (decode(content[:length]) == whole).all()
        except (OSError, SyntaxError):  # Among them Pillow's UnidentifiedImageError.
            refused += 1
    assert refused > 5


@pytest.mark.parametrize("content", [b"", b"a text file", b"\xff\xd8\xff" + bytes(50), b"GIF89a"])
def test_what_is_no_picture_is_told(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^cannot identify image file '.*/a\.jpg'$"):
        open_rgb(put(tmp_path / "a.jpg", content))


def test_no_other_program_is_called_to_read_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = tmp_path / "called"
    put(tmp_path / "bin" / "gs", f"#!/bin/sh\ntouch {called}\n".encode()).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # It is looked for once.
    postscript = put(tmp_path / "a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with Image.open(postscript) as image, pytest.raises(OSError, match="picture|file|cannot"):
        image.load()
    assert called.exists(), "Pillow itself would call it"
    called.unlink()
    with pytest.raises(OSError, match="cannot identify image file"):
        open_rgb(postscript)
    assert not called.exists()


UPRIGHT = np.array([[0, 40, 80], [120, 160, 200]], dtype=np.uint8)
STORED = {
    1: [[0, 40, 80], [120, 160, 200]],
    2: [[80, 40, 0], [200, 160, 120]],
    3: [[200, 160, 120], [80, 40, 0]],
    4: [[120, 160, 200], [0, 40, 80]],
    5: [[0, 120], [40, 160], [80, 200]],
    6: [[80, 200], [40, 160], [0, 120]],
    7: [[200, 80], [160, 40], [120, 0]],
    8: [[120, 0], [160, 40], [200, 80]],
}
"""How a camera stores `UPRIGHT` under each EXIF orientation (its section 4.6.4): for 6, row 0 is
the right side and column 0 the top."""


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_all_eight_orientations_are_put_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored = Image.fromarray(np.array(STORED[orientation], dtype=np.uint8))
    stored.convert("RGB").save(file, kind, exif=exif, lossless=True)
    assert decode(file.getvalue())[:, :, 0].tolist() == UPRIGHT.tolist()


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(UPRIGHT).save(file, "PNG", exif=exif)
    assert decode(file.getvalue())[:, :, 0].tolist() == UPRIGHT.tolist()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_costs_no_photo() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "Maker", "2020:01:01 00:00:00"
    whole, rng = exif.tobytes(), np.random.default_rng(0)
    sizes = set()
    for _ in range(300):
        broken = bytearray(whole)
        for at in rng.integers(6, len(whole), 4):
            broken[at] = rng.integers(256)
        file = io.BytesIO()
        Image.new("RGB", (8, 4), "red").save(file, "JPEG", exif=bytes(broken))
        sizes.add(decode(file.getvalue()).shape)
    assert sizes == {(4, 8, 3), (8, 4, 3)}


def test_odd_photos_are_decoded_without_a_warning(tmp_path: Path, own_cache: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker whose name lies elsewhere in the file"
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        path = tmp_path / "photos" / name / "a.jpg"
        Image.new("RGB", (8, 4)).save(path, exif=exif.tobytes()[:-20])
        with pytest.warns(UserWarning, match="Truncated File Read|Tag data|Corrupt EXIF"):
            open_rgb(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_images(folder_source(tmp_path / "photos"), 16, own_cache).ids) == 2


def test_cmyk_of_adobe_is_not_inverted() -> None:
    file = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(file, "JPEG", quality=95)
    content = file.getvalue()
    assert b"Adobe" in content, "which stores inks inverted"
    assert abs(decode(content).astype(int) - (255, 0, 0)).max() <= 3


def shorts(*levels: int, order: str = ">") -> bytes:
    """Levels of 8 bits in 16: 257 = 65535 / 255."""
    return struct.pack(f"{order}{len(levels)}H", *(257 * level for level in levels))


@pytest.mark.parametrize(
    "content",
    [
        png(3, 1, 16, GREY, b"\0" + shorts(0, 10, 255)),
        tiff(3, 16, 1, shorts(0, 10, 255, order="<")),
        tiff(3, 16, 1, shorts(0, 10, 255), order=">"),
        b"P5 3 1 65535\n" + shorts(0, 10, 255),
        tiff(3, 12, 1, bytes((0x00, 0x00, 0xA1, 0xFF, 0xF0))),
    ],
    ids=["png", "tiff", "tiff of the other byte order", "pgm", "tiff of 12 bits"],
)
def test_deep_grey_is_scaled_and_not_clipped(content: bytes) -> None:
    found = decode(content)
    assert found.shape == (1, 3, 3)
    assert found[0, :, 0].tolist() == [0, 10, 255]


def test_dark_deep_grey_stays_dark() -> None:
    for content in (
        png(2, 1, 16, GREY, b"\0" + struct.pack(">2H", 100, 200)),
        b"P5 2 1 65535\n" + struct.pack(">2H", 100, 200),
    ):
        assert decode(content).max() == 0


@pytest.mark.parametrize(
    "content",
    [
        png(2, 1, 16, RGB, b"\0" + shorts(200, 30, 10, 0, 128, 255)),
        tiff(2, 16, 3, shorts(200, 30, 10, 0, 128, 255, order="<")),
        tiff(2, 16, 3, shorts(200, 30, 10, 0, 128, 255), order=">"),
        b"P6 2 1 65535\n" + shorts(200, 30, 10, 0, 128, 255),
    ],
    ids=["png", "tiff", "tiff of the other byte order", "ppm"],
)
def test_deep_colour_is_scaled_and_not_clipped(content: bytes) -> None:
    assert decode(content).tolist() == [[[200, 30, 10], [0, 128, 255]]]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_told(value: float) -> None:
    file = io.BytesIO()
    Image.fromarray(np.array([[value, 0.5]], dtype=np.float32)).save(file, "TIFF")
    with pytest.raises(ValueError, match="the picture holds values that are not finite"):
        open_rgb(file)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", bomb())
    assert path.stat().st_size < 200_000
    code = (
        "import resource, pathlib, tl_core.pictures as p\n"
        "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = most()\n"
        f"try: p.open_rgb(pathlib.Path({str(path)!r}))\n"
        "except Exception as e: print(type(e).__name__)\n"
        "print((most() - before) * 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    kind, grown = done.stdout.splitlines()
    assert kind == "DecompressionBombError"
    assert int(grown) < 50e6, "bytes; decoded it would be 2.7e9"


def test_large_pictures_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most = 0, 0

    def decode_slowly(image: Image.Image) -> Image.Image:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        time.sleep(0.01)
        at_work -= 1
        return image

    monkeypatch.setattr(pictures, "_LARGE", 100)
    monkeypatch.setattr(pictures, "_to_rgb", decode_slowly)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(pictures.to_rgb, [Image.new("RGB", (11, 11))] * 8))
    assert most == 1


@pytest.mark.parametrize("size", [(1, 1), (20_000, 1), (1, 20_000)])
def test_sizes_at_the_edge_are_used(size: tuple[int, int], tmp_path: Path, own_cache: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", size, (51, 102, 153)).save(tmp_path / "photos" / name / "a.png")
    images = load_images(folder_source(tmp_path / "photos"), 16, own_cache)
    assert (images.pixels == np.array([51, 102, 153])[:, None, None]).all()


@pytest.fixture
def special(tmp_path: Path) -> Path:
    """A folder of names that would keep a reader waiting, or are no file."""
    folder = tmp_path / "special"
    folder.mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "folder.jpg").mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pipe.jpg", "a named pipe"),
        ("zero.jpg", "a device"),
        ("folder.jpg", "a folder that can't be read"),
    ],
)
def test_what_is_no_file_is_not_waited_for(special: Path, name: str, kind: str) -> None:
    with pytest.raises(OSError, match=f"special/{name} is {kind}, not a picture"):
        open_rgb(special / name)


def test_a_socket_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # A socket's path may have no more than 107 bytes.
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("a.jpg")
        with pytest.raises(OSError, match="is a socket, not a picture"):
            open_rgb(Path("a.jpg"))


@pytest.fixture
def broken_folder(photo_folder: Path) -> Path:
    """40 good photos of cats and dogs, and one file of each way not to be one."""
    cat = photo_folder / "cat"
    whole = encode("jpeg")
    for name, content in {
        "archive.jpg": b"PK\x03\x04",
        "bomb.png": bomb(15_000),
        "empty.jpg": b"",
        "text.jpg": b"no picture",
        "torn.jpg": whole[: len(whole) // 2],
    }.items():
        put(cat / name, content)
    os.mkfifo(cat / "pipe.jpg")
    (cat / "loop.jpg").symlink_to("loop.jpg")
    (cat / "lost.jpg").symlink_to("nowhere.jpg")
    put(cat / "private.jpg", whole).chmod(0)
    put(cat / "shut" / "a.jpg", whole).parent.chmod(0)
    return photo_folder


FAULTS = {
    "archive.jpg": "UnidentifiedImageError: cannot identify image file",
    "bomb.png": "DecompressionBombError: Image size (225000000 pixels) exceeds limit",
    "empty.jpg": "UnidentifiedImageError: cannot identify image file",
    "loop.jpg": "OSError: [Errno 40] Too many levels of symbolic links",
    "lost.jpg": "FileNotFoundError: [Errno 2] No such file or directory",
    "pipe.jpg": "OSError: {}/pipe.jpg is a named pipe, not a picture",
    "private.jpg": "PermissionError: [Errno 13] Permission denied",
    "text.jpg": "UnidentifiedImageError: cannot identify image file",
    "torn.jpg": "OSError: ",
    "shut": "OSError: {}/shut is a folder that can't be read, not a picture",
}


def test_all_that_is_broken_is_told_in_one_error(broken_folder: Path, own_cache: Path) -> None:
    with pytest.raises(InputError, match=r"^10 files are not readable images") as caught:
        without_root(lambda: load_images(folder_source(broken_folder), 16, own_cache))
    told = dict(fault.strip().split(": ", 1) for fault in caught.value.faults[1:])
    for name, why in FAULTS.items():
        assert told.pop(f"cat/{name}").startswith(why.format(broken_folder / "cat"))
    assert told == {}


def test_what_is_broken_can_be_skipped(broken_folder: Path, own_cache: Path) -> None:
    images = without_root(
        lambda: load_images(folder_source(broken_folder), 16, own_cache, skip_bad_images=True)
    )
    assert len(images.labels) == 40
    assert {name for name, _ in images.bad} == {f"cat/{name}" for name in FAULTS}
