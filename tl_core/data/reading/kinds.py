"""What a file is, by its first bytes: a picture that is decoded, or what else and what helps."""

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import UnidentifiedImageError

from tl_core.errors import truncate_list
from tl_core.files import LFS_POINTER, LFS_REMEDY
from tl_core.text import pluralize, printable

HEAD = 1024
"""Bytes that tell the kind of a file."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""The decoded formats, by Pillow's names. Not all of Pillow's: it passes some to other programs,
such as EPS to Ghostscript."""

_OF_MACHINE: frozenset[int] = frozenset(
    getattr(errno, name)
    for name in (
        "EIO", "EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EREMOTEIO",
        "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENODEV", "ENXIO",
    )
    if hasattr(errno, name)  # Not every system has all.
)  # fmt: skip
"""Errors that tell nothing of a file, as when a network's disk is gone."""
GOES_ON = (
    "Images that are decoded are kept in the cache, and the same command goes on there; if the "
    "fault stays, --exclude leaves the file out, and all others are decoded again"
)
"""The way out where a file is not at fault."""
_NAMED = 3
"""Files of one kind that an error names."""


class NotAPictureError(OSError):
    """A file of a kind that is not decoded; the message says which, and what helps."""


def describe_failure(error: Exception) -> str:
    """Say why a picture can't be decoded, from the error that `open_picture` raised.

    The words are the same for all files of one kind, so that a list of them has one line.
    """
    if isinstance(error, NotAPictureError):
        return str(error)
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        if Path(error.filename).is_symlink():
            return "a link to a file that does not exist"
        return "there is no such file or folder"
    if isinstance(error, OSError) and error.strerror:  # The system's words, without its number.
        return f"can't be read: {error.strerror}"
    if isinstance(error, UnidentifiedImageError):
        return "a file of an unknown kind, or a damaged picture"
    # A decoder's words, without the number of bytes that are left.
    return re.sub(r" \(\d+ bytes .*\)$", "", f"{type(error).__name__}: {error}")


def fault_of_machine(name: str, error: Exception) -> str | None:
    """Say why a file could not be read, if that tells nothing of the file, which may be good."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    if number not in _OF_MACHINE:
        return None
    return (
        f"{printable(name)} could not be read: {os.strerror(number)}, a fault of this machine or "
        f"its storage. {GOES_ON}"
    )


def not_read_again(name: str, reason: str) -> str:
    """Say that a picture that was decoded before can't be decoded any more."""
    return f"{printable(name)} was read once, and then not: {reason}. {GOES_ON}"


def format_bad(bad: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the fault lines of files that can't be decoded, (name, reason) each, and ways out.

    Files of one kind are one line.
    """
    files = pluralize(len(bad), "file is not a readable image", "files are not readable images")
    them = "it" if len(bad) == 1 else "them"
    yield f"{files} (--skip-bad-images omits {them}, --exclude GLOB leaves out files by name):"
    names: dict[str, list[str]] = {}
    for name, reason in bad:
        names.setdefault(reason, []).append(name)
    lines = (_line(those, reason) for reason, those in names.items())
    yield from (f"  {fault}" for fault in truncate_list(lines))


def _line(names: Sequence[str], reason: str) -> str:
    if len(names) == 1:
        return f"{names[0]}: {reason}"
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    each = "each " if reason.startswith(("a ", "an ")) else ""
    return f"{len(names):,} files, {', '.join(names[:_NAMED])}{more}: {each}{reason}"


class _Kind(NamedTuple):
    what: str
    remedy: str
    begins: Mapping[int, tuple[bytes, ...]]
    """By which bytes it is told, one of them at an offset."""

    @property
    def sentence(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


_AS_PNG = "export it as PNG or TIFF"
_SAVE = "save its pictures as PNG"
_UNPACK = "unpack it, and name the unpacked folder"
_RAW = _Kind(
    "a camera raw file",
    "develop it to JPEG or TIFF",
    {0: (b"FUJIFILMCCD-RAW", b"IIRO", b"IIU\0", b"FOVb"), 4: (b"ftypcrx ",), 8: (b"CR\x02",)},
)
_RAW_SUFFIXES = frozenset(
    (
        *(".3fr", ".arw", ".cr2", ".cr3", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef"),
        *(".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw", ".x3f"),
    )
)
_VIDEO = _Kind(
    "a video",
    "save its frames as pictures, and keep those of a video together",
    {
        0: (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"\x30\x26\xb2\x75", b"FLV\x01"),
        8: (b"AVI ",),
    },
)
_KINDS = (
    _Kind("a Git LFS pointer, not the file itself", LFS_REMEDY, {0: (LFS_POINTER,)}),
    _Kind("a DICOM file", f"{_AS_PNG}, of 16 bits if it has them", {128: (b"DICM",)}),
    _Kind("a NIfTI volume", f"{_AS_PNG}, slice by slice", {344: (b"n+1\0",)}),
    _Kind("a Photoshop document", _AS_PNG, {0: (b"8BPS",)}),
    _Kind("a GIMP document", _AS_PNG, {0: (b"gimp xcf",)}),
    _Kind("a PDF document", "export its pages or pictures as PNG", {0: (b"%PDF",)}),
    _Kind("a PostScript document", _AS_PNG, {0: (b"%!PS", b"\xc5\xd0\xd3\xc6")}),
    _Kind("an OpenEXR picture", _AS_PNG, {0: (b"\x76\x2f\x31\x01",)}),
    _Kind("a Radiance HDR picture", _AS_PNG, {0: (b"#?RADIANCE",)}),
    _Kind("a DirectDraw texture", _AS_PNG, {0: (b"DDS ",)}),
    _Kind("a JPEG XL picture", _AS_PNG, {0: (b"\xff\x0a", b"\0\0\0\x0cJXL ")}),
    _Kind("a Windows icon", _AS_PNG, {0: (b"\0\0\x01\0",)}),
    _RAW,
    _VIDEO,
    _Kind("a sound file", "", {0: (b"ID3", b"fLaC"), 8: (b"WAVE",)}),
    _Kind("a sound or video file", "", {0: (b"OggS",)}),
    _Kind("a ZIP archive or office document", _UNPACK, {0: (b"PK\x03\x04",)}),
    _Kind("a ZIP archive without files", "", {0: (b"PK\x05\x06",)}),
    _Kind("a gzip archive", _UNPACK, {0: (b"\x1f\x8b",)}),
    _Kind("a bzip2 archive", _UNPACK, {0: (b"BZh",)}),
    _Kind("an xz archive", _UNPACK, {0: (b"\xfd7zXZ\0",)}),
    _Kind("a Zstandard archive", _UNPACK, {0: (b"\x28\xb5\x2f\xfd",)}),
    _Kind("a 7-Zip archive", _UNPACK, {0: (b"7z\xbc\xaf\x27\x1c",)}),
    _Kind("an RAR archive", _UNPACK, {0: (b"Rar!\x1a\x07",)}),
    _Kind("a tar archive", _UNPACK, {257: (b"ustar",)}),
    _Kind("an HDF5 file", _SAVE, {0: (b"\x89HDF\r\n\x1a\n",)}),
    _Kind("a NumPy array", _SAVE, {0: (b"\x93NUMPY",)}),
    _Kind("a Parquet table", _SAVE, {0: (b"PAR1",)}),
    _Kind("a Python pickle", _SAVE, {0: (b"\x80\x04\x95", b"\x80\x02")}),
    _Kind("an SQLite database", "", {0: (b"SQLite format 3\0",)}),
    _Kind(
        "an old Office document or thumbnail database",
        "",
        {0: (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",)},
    ),
    _Kind("a program", "", {0: (b"\x7fELF", b"MZ")}),
)
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
        if any(head.startswith(begins, at) for at, begins in kind.begins.items()):
            return kind.sentence
    if suffix.lower() in _RAW_SUFFIXES and head.startswith((b"II*\0", b"MM\0*")):
        return _RAW.sentence
    if (brands := _brands(head)) and not brands & (_PHOTOS | _AVIF):
        return _VIDEO.sentence
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
        return f"an SVG drawing; {_AS_PNG}"
    if start.startswith(("<!doctype html", "<html", "<head")):
        return TEXTS[0]
    if start.startswith("<"):
        return TEXTS[1]
    if start.startswith(("{", "[")):
        return TEXTS[2]
    return TEXTS[3]
