"""What a file is, by its first bytes: a picture that is decoded, or what else and what helps."""

import re
from typing import NamedTuple

from tl_core.files import LFS_POINTER, LFS_REMEDY

HEAD = 1024
"""Bytes that tell the kind of a file."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""The decoded formats, by Pillow's names. Not all of Pillow's: it passes some to other programs,
such as EPS to Ghostscript."""


class NotAPictureError(OSError):
    """A file of a kind that is not decoded; the message says which, and what helps."""


class _Kind(NamedTuple):
    at: int
    begins: bytes
    what: str
    remedy: str = ""


_AS_PNG = "export it as PNG or TIFF"
_DEVELOP = "develop it to JPEG or TIFF"
_UNPACK = "unpack it, and name the unpacked folder"
_RAW = "a camera raw file"
_RAW_SUFFIXES = frozenset(
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef"),
        *(".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw", ".x3f"),
    )
)
_KINDS = (
    _Kind(0, LFS_POINTER, "a Git LFS pointer, not the file itself", LFS_REMEDY),
    _Kind(128, b"DICM", "a DICOM file", f"{_AS_PNG}, of 16 bits if it has them"),
    _Kind(344, b"n+1\0", "a NIfTI volume", f"{_AS_PNG}, slice by slice"),
    _Kind(0, b"8BPS", "a Photoshop document", _AS_PNG),
    _Kind(0, b"gimp xcf", "a GIMP document", _AS_PNG),
    _Kind(0, b"%PDF", "a PDF document", "export its pages or pictures as PNG"),
    _Kind(0, b"%!PS", "a PostScript document", _AS_PNG),
    _Kind(0, b"\xc5\xd0\xd3\xc6", "a PostScript document", _AS_PNG),
    _Kind(0, b"\x76\x2f\x31\x01", "an OpenEXR picture", _AS_PNG),
    _Kind(0, b"#?RADIANCE", "a Radiance HDR picture", _AS_PNG),
    _Kind(0, b"DDS ", "a DirectDraw texture", _AS_PNG),
    _Kind(0, b"\xff\x0a", "a JPEG XL picture", _AS_PNG),
    _Kind(0, b"\0\0\0\x0cJXL ", "a JPEG XL picture", _AS_PNG),
    _Kind(0, b"\0\0\x01\0", "a Windows icon", _AS_PNG),
    _Kind(0, b"FUJIFILMCCD-RAW", _RAW, _DEVELOP),
    _Kind(0, b"IIRO", _RAW, _DEVELOP),
    _Kind(0, b"IIU\0", _RAW, _DEVELOP),
    _Kind(0, b"FOVb", _RAW, _DEVELOP),
    _Kind(8, b"CR\x02", _RAW, _DEVELOP),
    _Kind(4, b"ftypcrx ", _RAW, _DEVELOP),
    _Kind(8, b"AVI ", "a video", "save its frames as pictures, and keep those of a video together"),
    _Kind(0, b"\x1aE\xdf\xa3", "a video", "save its frames as pictures"),
    _Kind(0, b"\0\0\x01\xba", "a video", "save its frames as pictures"),
    _Kind(0, b"\0\0\x01\xb3", "a video", "save its frames as pictures"),
    _Kind(0, b"\x30\x26\xb2\x75", "a video", "save its frames as pictures"),
    _Kind(0, b"FLV\x01", "a video", "save its frames as pictures"),
    _Kind(8, b"WAVE", "a sound file"),
    _Kind(0, b"ID3", "a sound file"),
    _Kind(0, b"fLaC", "a sound file"),
    _Kind(0, b"OggS", "a sound or video file"),
    _Kind(0, b"PK\x03\x04", "a ZIP archive or office document", _UNPACK),
    _Kind(0, b"PK\x05\x06", "a ZIP archive without files"),
    _Kind(0, b"\x1f\x8b", "a gzip archive", _UNPACK),
    _Kind(0, b"BZh", "a bzip2 archive", _UNPACK),
    _Kind(0, b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    _Kind(0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    _Kind(0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    _Kind(0, b"Rar!\x1a\x07", "an RAR archive", _UNPACK),
    _Kind(257, b"ustar", "a tar archive", _UNPACK),
    _Kind(0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save its pictures as PNG"),
    _Kind(0, b"\x93NUMPY", "a NumPy array", "save its pictures as PNG"),
    _Kind(0, b"PAR1", "a Parquet table", "save its pictures as PNG"),
    _Kind(0, b"SQLite format 3\0", "an SQLite database"),
    _Kind(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document or thumbnail database"),
    _Kind(0, b"\x80\x04\x95", "a Python pickle", "save its pictures as PNG"),
    _Kind(0, b"\x80\x02", "a Python pickle", "save its pictures as PNG"),
    _Kind(0, b"\x7fELF", "a program"),
    _Kind(0, b"MZ", "a program"),
)
"""By which bytes at which offset a kind is told."""
_PHOTOS = frozenset(
    (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"heif")
)
"""Brands of HEIF files. Those that begin with `mif1` may hold AVIF, too."""
_AVIF = frozenset((b"avif", b"avis"))

TEXTS = ("a web page: a download that failed?", "an XML file", "a JSON file", "a text file")
"""What `kind_fault` says of texts."""


def kind_fault(head: bytes, suffix: str = "") -> str | None:
    """Say what a file is that is not decoded, and what helps; None if it may be a picture.

    Args:
        head: its first `HEAD` bytes.
        suffix: that of its name, such as `.dng`: some raw files begin as other TIFFs do.
    """
    if not head:
        return "an empty file (0 bytes)"
    for kind in _KINDS:
        if head.startswith(kind.begins, kind.at):
            return _sentence(kind.what, kind.remedy)
    if suffix.lower() in _RAW_SUFFIXES and head.startswith((b"II*\0", b"MM\0*")):
        return _sentence(_RAW, _DEVELOP)
    if (brands := _brands(head)) and not brands & (_PHOTOS | _AVIF):
        return _sentence("a video", "save its frames as pictures")
    if not head.strip(b"\0") and len(head) == HEAD:
        return "a file of zero bytes: its copy or download was not finished"
    return _text_fault(head)


def is_heif(head: bytes) -> bool:
    """Whether a file is a HEIF picture, such as those of a phone (.heic), and not an AVIF one."""
    brands = _brands(head)
    return bool(brands & _PHOTOS) and not brands & _AVIF


def _brands(head: bytes) -> set[bytes]:
    """What a file of the family of MP4, HEIF and AVIF says that it is."""
    if head[4:8] != b"ftyp":
        return set()
    length = min(len(head), int.from_bytes(head[:4], "big"))
    return {head[i : i + 4] for i in (8, *range(16, length, 4))}


def _text_fault(head: bytes) -> str | None:
    """Say which kind of text a file is; None if it is none."""
    try:
        text = head.decode() if len(head) < HEAD else head[:-4].decode(errors="ignore")
    except UnicodeDecodeError:
        return None
    if re.match(r"P[1-7][\s#]|P[fF]\s", text) or re.search("[\0-\x08\x0e-\x1f]", text):
        return None  # A PPM picture, or no text.
    start = text.lstrip("\ufeff \t\r\n").lower()
    if "<svg" in start:
        return _sentence("an SVG drawing", _AS_PNG)
    if start.startswith(("<!doctype html", "<html", "<head")):
        return TEXTS[0]
    if start.startswith("<"):
        return TEXTS[1]
    if start.startswith(("{", "[")):
        return TEXTS[2]
    return TEXTS[3]


def _sentence(what: str, remedy: str) -> str:
    return f"{what}; {remedy}" if remedy else what
