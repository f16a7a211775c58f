import io
from pathlib import Path

import pytest

from tests.support.core.hostile_files import png, put, tiff
from tl_core.data.decode import open_rgb
from tl_core.data.reading.kinds import NotAPictureError, is_heif, kind_fault
from tl_core.files import LFS_POINTER


def iso(brand: bytes, *others: bytes) -> bytes:
    """The start of an MP4, MOV, HEIF or AVIF file."""
    content = b"ftyp" + brand + bytes(4) + b"".join(others)
    return (4 + len(content)).to_bytes(4, "big") + content + bytes(200)


LITTLE = b"II*\0\x08\0\0\0"
KINDS = {
    "a.dcm": (bytes(128) + b"DICM\x02\0", "a DICOM file; export it as PNG or TIFF, of 16 bits"),
    "a.nii": (bytes(344) + b"n+1\0", "a NIfTI volume; export it as PNG or TIFF, slice by slice"),
    "a.nii.gz": (b"\x1f\x8b\x08", "a gzip archive; unpack it"),
    "a.psd": (b"8BPS\0\1", "a Photoshop document; export it as PNG or TIFF"),
    "a.svg": (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "an SVG drawing; export it as PNG"),
    "a.pdf": (b"%PDF-1.7\n%\xe2\xe3", "a PDF document; export its pages or pictures as PNG"),
    "a.eps": (b"%!PS-Adobe-3.0", "a PostScript document; export it"),
    "a.exr": (b"\x76\x2f\x31\x01\x02", "an OpenEXR picture; export it"),
    "a.jxl": (b"\xff\x0a\xfa", "a JPEG XL picture; export it"),
    "a.ico": (b"\0\0\1\0\1\0", "a Windows icon; export it"),
    "a.mp4": (iso(b"mp42"), "a video; save its frames as pictures"),
    "a.MOV": (iso(b"qt  "), "a video; save its frames as pictures"),
    "a.avi": (b"RIFF\0\0\0\0AVI LIST", "a video; save its frames"),
    "a.mkv": (b"\x1aE\xdf\xa3\x01", "a video; save its frames"),
    "a.wav": (b"RIFF\0\0\0\0WAVEfmt ", "a sound file"),
    "a.cr3": (iso(b"crx "), "a camera raw file; develop it to JPEG or TIFF"),
    "a.cr2": (LITTLE + b"CR\x02\0", "a camera raw file; develop it"),
    "a.NEF": (b"MM\0*\0\0\0\x08" + bytes(9), "a camera raw file; develop it"),
    "a.dng": (LITTLE + bytes(9), "a camera raw file; develop it"),
    "a.raf": (b"FUJIFILMCCD-RAW 0201", "a camera raw file; develop it"),
    "a.docx": (b"PK\x03\x04\x14", "a ZIP archive or office document; unpack it"),
    "a.tar": (bytes(257) + b"ustar\0", "a tar archive; unpack it"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it"),
    "a.npy": (b"\x93NUMPY\x01\0", "a NumPy array; save its pictures as PNG"),
    "a.h5": (b"\x89HDF\r\n\x1a\n", "an HDF5 file; save its pictures as PNG"),
    "a.parquet": (b"PAR1\x15", "a Parquet table; save its pictures as PNG"),
    "a.pkl": (b"\x80\x04\x95\x10", "a Python pickle; save its pictures as PNG"),
    "a.sqlite": (b"SQLite format 3\0", "an SQLite database"),
    "a.html": (b"\n<!DOCTYPE html><html>", "a web page: a download that failed?"),
    "a.json": (b'{"error": "not found"}', "a JSON file"),
    "a.xml": (b"<annotation/>", "an XML file"),
    "a.txt": ("\ufeffgrå 猫".encode(), "a text file"),
    "long.txt": (("猫" * 999).encode(), "a text file"),
    "a.csv": (b"P,1\n", "a text file"),
    "a.jpg": (b"", "an empty file (0 bytes)"),
    "b.jpg": (bytes(2000), "a file of zero bytes: its copy or download was not finished"),
    "c.jpg": (LFS_POINTER + b"v1\noid sha256:0\n", "a Git LFS pointer, not the file itself; `git"),
}


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
