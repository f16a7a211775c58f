import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import tarfile
import wave
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from tests.support.core.hostile_files import open_rgb, png, put, tiff
from tl_core.data.decode import open_picture
from tl_core.data.reading.kinds import (
    NotAPictureError,
    describe_failure,
    format_bad,
    is_heif,
    kind_fault,
)
from tl_core.files import LFS_POINTER


def iso(brand: bytes, *others: bytes) -> bytes:
    """The start of an MP4, MOV, HEIF or AVIF file."""
    content = b"ftyp" + brand + bytes(4) + b"".join(others)
    return (4 + len(content)).to_bytes(4, "big") + content + bytes(200)


def made(write: Callable[[io.BytesIO], object]) -> bytes:
    """What a program writes into a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def picture(kind: str) -> bytes:
    """A picture that Pillow saves."""
    return made(lambda file: Image.new("RGB", (16, 16)).save(file, kind))


def write_zip(file: io.BytesIO) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", b"")


def write_tar(file: io.BytesIO) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.png"))


def write_wave(file: io.BytesIO) -> None:
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 1, 8000, 0, "NONE", ""))


def database() -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table t (x)")
        return connection.serialize()


LITTLE = b"II*\0\x08\0\0\0"
PROGRAMS = {
    "a.pdf": (picture("PDF"), "a PDF document; export its pages or pictures as PNG"),
    "a.eps": (picture("EPS"), "a PostScript document; export it"),
    "a.ico": (picture("ICO"), "a Windows icon; export it"),
    "a.dds": (picture("DDS"), "a DirectDraw texture; export it"),
    "a.wav": (made(write_wave), "a sound file"),
    "a.zip": (made(write_zip), "a ZIP archive or office document; unpack it"),
    "b.zip": (made(lambda file: zipfile.ZipFile(file, "w").close()), "a ZIP archive without files"),
    "a.tar": (made(write_tar), "a tar archive; unpack it"),
    "a.nii.gz": (gzip.compress(b""), "a gzip archive; unpack it"),
    "a.bz2": (bz2.compress(b""), "a bzip2 archive; unpack it"),
    "a.xz": (lzma.compress(b""), "an xz archive; unpack it"),
    "a.npy": (made(lambda file: np.save(file, [1])), "a NumPy array; save its pictures as PNG"),
    "a.parquet": (
        made(lambda file: parquet.write_table(pyarrow.table({"x": [1]}), file)),
        "a Parquet table; save its pictures as PNG",
    ),
    "a.pkl": (pickle.dumps([1.0], 4), "a Python pickle; save its pictures as PNG"),
    "b.pkl": (pickle.dumps([1.0], 2), "a Python pickle; save its pictures as PNG"),
    "a.sqlite": (database(), "an SQLite database"),
}
"""Files that programs make, and what is said of them."""
VIDEO = "a video; save its frames as pictures, and keep those of a video together"
STARTS = {
    "a.dcm": (bytes(128) + b"DICM\x02\0", "a DICOM file; export it as PNG or TIFF, of 16 bits"),
    "a.nii": (bytes(344) + b"n+1\0", "a NIfTI volume; export it as PNG or TIFF, slice by slice"),
    "a.psd": (b"8BPS\0\1", "a Photoshop document; export it as PNG or TIFF"),
    "a.exr": (b"\x76\x2f\x31\x01\x02", "an OpenEXR picture; export it"),
    "a.jxl": (b"\xff\x0a\xfa", "a JPEG XL picture; export it"),
    "a.mp4": (iso(b"mp42"), VIDEO),
    "a.MOV": (iso(b"qt  "), VIDEO),
    "a.avi": (b"RIFF\0\0\0\0AVI LIST", VIDEO),
    "a.mkv": (b"\x1aE\xdf\xa3\x01", VIDEO),
    "a.cr3": (iso(b"crx "), "a camera raw file; develop it to JPEG or TIFF"),
    "a.cr2": (LITTLE + b"CR\x02\0", "a camera raw file; develop it"),
    "a.NEF": (b"MM\0*\0\0\0\x08" + bytes(9), "a camera raw file; develop it"),
    "a.dng": (LITTLE + bytes(9), "a camera raw file; develop it"),
    "a.raf": (b"FUJIFILMCCD-RAW 0201", "a camera raw file; develop it"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it"),
    "a.h5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file; save its pictures as PNG"),
    "a.jpg": (b"", "an empty file (0 bytes)"),
    "b.jpg": (bytes(2000), "a file of zero bytes: its copy or download was not finished"),
    "c.jpg": (LFS_POINTER + b"v1\noid sha256:0\n", "a Git LFS pointer, not the file itself; `git"),
}
"""How files start that nothing here can make."""
TEXTS = {
    "a.svg": (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "an SVG drawing; export it as PNG"),
    "a.html": (b"\n<!DOCTYPE html><html>", "a web page: a download that failed?"),
    "a.json": (b'{"error": "not found"}', "a JSON file"),
    "a.xml": (b"<annotation/>", "an XML file"),
    "a.txt": ("\ufeffgrå 猫".encode(), "a text file"),
    "long.txt": (("猫" * 999).encode(), "a text file"),
    "a.csv": (b"P,1\n", "a text file"),
}
KINDS = PROGRAMS | STARTS | TEXTS


@pytest.mark.parametrize("name", KINDS)
def test_a_refusal_names_the_kind_and_what_helps(tmp_path: Path, name: str) -> None:
    content, why = KINDS[name]
    with pytest.raises(NotAPictureError) as caught:
        open_rgb(put(tmp_path / name, content))
    assert str(caught.value).startswith(why)


@pytest.mark.parametrize("brands", [(b"avif", b"mif1"), (b"mif1", b"avif"), (b"avis",)])
def test_avif_is_neither_heif_nor_video(brands: tuple[bytes, ...]) -> None:
    assert not is_heif(iso(*brands))
    assert kind_fault(iso(*brands)) is None


@pytest.mark.parametrize("brands", [(b"heic",), (b"mif1", b"heic"), (b"hevx",), (b"msf1", b"hevc")])
def test_heif_is_no_video(brands: tuple[bytes, ...]) -> None:
    assert is_heif(iso(*brands))
    assert kind_fault(iso(*brands)) is None


def test_the_thumbnail_of_a_raw_file_is_not_taken_for_the_photo() -> None:
    plain = tiff(3, 16, 1, bytes(6))
    assert open_rgb(io.BytesIO(plain)).size == (3, 1)
    # The tag of the width becomes that of the kind of picture (254), and 1 is a reduced one.
    for tag, value in ((254, 1), (50706, 0x0401)):
        raw = plain[:8] + (10).to_bytes(2, "little") + tag.to_bytes(2, "little")
        raw += b"\x04\0\x01\0\0\0" + value.to_bytes(4, "little") + plain[10:-6]
        if tag == 50706:  # Tags must rise.
            raw = plain[:8] + (10).to_bytes(2, "little") + plain[10:118] + tag.to_bytes(2, "little")
            raw += b"\x04\0\x01\0\0\0" + value.to_bytes(4, "little") + plain[118:]
        with pytest.raises(
            NotAPictureError, match=r"a camera raw file, or a TIFF of several sizes"
        ):
            open_rgb(io.BytesIO(raw))


def test_a_png_of_any_name_is_used(tmp_path: Path) -> None:
    for name in ("x.nef", "x.dcm", "x", "x.JPG", "grå 猫 [1].txt"):
        assert (
            open_rgb(put(tmp_path / name, png(1, 1, 8, 0, b"\0\x07"))).getpixel((0, 0)) == (7,) * 3
        )


@pytest.mark.parametrize(("kind", "cut", "why"), [
    ("PNG", 40, "a file of an unknown kind, or a damaged picture"),
    ("BMP", -9, "OSError: image file is truncated"),
    ("JPEG", -3, "OSError: image file is truncated"),
])  # fmt: skip
def test_damaged_pictures_of_one_kind_have_one_reason(kind: str, cut: int, why: str) -> None:
    reasons = set()
    for more in range(3):
        with pytest.raises(OSError, match="image file") as caught:
            open_picture(io.BytesIO(picture(kind)[: cut - more]))
        reasons.add(describe_failure(caught.value))
    assert reasons == {why}


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
