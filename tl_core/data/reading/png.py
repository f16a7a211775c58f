"""PNG files without what is no part of the picture."""

import io
import struct
from typing import IO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXTRAS = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")
"""Chunks of colour profiles and texts, which may hold any number of bytes."""


def without_extras(stream: IO[bytes]) -> IO[bytes]:
    """Copy a PNG without its colour profile and texts, which Pillow refuses if they are large.

    They are not unpacked, so they may be of any size. An orientation that a text holds is lost.
    """
    copy = io.BytesIO()
    copy.write(stream.read(len(_SIGNATURE)))
    while len(head := stream.read(8)) == 8:
        size, name = struct.unpack(">I4s", head)
        if name in _EXTRAS:
            stream.seek(size + 4, io.SEEK_CUR)  # The check sum follows the content.
        else:
            copy.write(head + stream.read(size + 4))
    copy.write(head)
    copy.seek(0)
    return copy
