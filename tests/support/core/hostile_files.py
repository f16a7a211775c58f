"""Pictures that Pillow can't write, made byte by byte, and faults of whole files."""

import ctypes
import os
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import IO, TypeVar

from PIL import Image

from tl_core.data.decode import as_rgb, open_picture
from tl_core.data.reading.deep import Scales

T = TypeVar("T")

GREY, RGB = 0, 2
"""Colour types of a PNG."""


def png(width: int, height: int, bits: int, colour: int, rows: bytes, more: bytes = b"") -> bytes:
    """A PNG; each row begins with its filter, a zero byte. `more` is one chunk, by its name."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for part in (b"IHDR" + header, *filter(None, [more]), b"IDAT" + zlib.compress(rows), b"IEND"):
        content += struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
    return content


def open_rgb(file: Path | IO[bytes], scales: Scales = MappingProxyType({})) -> Image.Image:
    """Open a picture, with 8 bits."""
    return as_rgb(open_picture(file), scales)


def bomb(side: int = 30_000) -> bytes:
    """A black PNG of one bit a pixel: the default, of 100 kB, is 2.7 GB of RGB."""
    return png(side, side, 1, GREY, bytes(side * (1 + side // 8)))


def tiff(width: int, bits: int, channels: int, row: bytes, order: str = "<") -> bytes:
    """An uncompressed TIFF of one row; `order` is that of the bytes, as in `struct`."""
    many = channels > 2  # Then the bits of each channel lie apart from their tag.
    start = 8 + 2 + 12 * 9 + 4
    photometric, depth = (2, (start,)) if many else (1, (bits, 0))
    tags = [
        *((256, 1, (width, 0)), (257, 1, (1, 0)), (258, channels, depth), (259, 1, (1, 0))),
        *((262, 1, (photometric, 0)), (273, 1, (start + 2 * channels * many, 0))),
        *((277, 1, (channels, 0)), (278, 1, (1, 0)), (279, 1, (len(row), 0))),
    ]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    entries = b"".join(
        struct.pack(f"{order}HHI" + ("I" if len(value) == 1 else "HH"), tag, 3, count, *value)
        for tag, count, value in tags
    )
    depths = struct.pack(f"{order}{channels}H", *[bits] * channels) if many else b""
    return head + entries + bytes(4) + depths + row


def without_root(do: Callable[[], T]) -> T:
    """Call as one to whom permissions apply, also where root runs the tests."""

    def run() -> T:
        if os.geteuid() == 0:
            _give_up_reading_everything()
        return do()

    # Rights are a thread's own, and go on to the threads that it starts.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def _give_up_reading_everything() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    sets[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, of those in effect.
    assert libc.capset(header, sets) == 0


def put(path: Path, content: bytes) -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
