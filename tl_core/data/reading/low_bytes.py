"""Pictures of 16-bit colours, and of 16-bit grey with transparency: Pillow keeps their high bytes.

So each is read twice, the second time as a picture of other bytes.
"""

import re
import sys
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from tl_core.data.reading.deep import Deep
from tl_core.data.reading.kinds import FORMATS
from tl_core.data.reading.turns import turn_of

_GREY, _ITS_BYTES = "LA;16B", "RGBA"
"""Pillow's names of 16-bit grey with transparency, and of four bytes a pixel."""


def tiles_of_low_bytes(image: Image.Image) -> list[Any] | None:
    """The parts of such a picture, so named that Pillow takes the low bytes.

    It does with the other order of bytes; of grey, it takes all. None for all other pictures, and
    for those that are loaded.
    """
    low = []
    for tile in image.tile if isinstance(image, ImageFile) else ():
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if args[0] == _GREY:
            name = _ITS_BYTES
        elif found := re.fullmatch(r"(RGB[AX]?;16)([LBN])", str(args[0])):
            little = found[2] == "L" or (found[2] == "N" and sys.byteorder == "little")
            name = found[1] + ("B" if little else "L")
        else:
            return None
        args = (name, *args[1:])
        low.append(tile._replace(args=args if isinstance(tile.args, tuple) else args[0]))
    return low or None


def read_all_bits(stream: IO[bytes], low: list[Any]) -> Deep:
    """Decode such a picture; `low` are its `tiles_of_low_bytes`."""
    bytes_of = []
    for tiles in (None, low):
        with Image.open(stream, formats=FORMATS) as image:
            assert isinstance(image, ImageFile)
            image.tile = tiles or image.tile
            image.load()
            turn = turn_of(image)
            bytes_of.append(np.asarray(image))
    high, rest = bytes_of
    if low[0].args == _ITS_BYTES:  # The two bytes of grey, and those of its transparency.
        values = high[..., 0].astype(np.uint16) << 8 | rest[..., 1]
        return Deep("16-bit grey", values, high[..., 3], turn)
    values = high[..., :3].astype(np.uint16) << 8 | rest[..., :3]
    alpha = high[..., 3] if high.shape[2] == 4 else clear_where(values, image)
    return Deep("16-bit colour", values, alpha, turn)


def clear_where(values: NDArray[np.number], image: Image.Image) -> NDArray[np.uint8] | None:
    """Transparency [H, W] of values [H, W] or [H, W, 3], one of which a PNG says is clear."""
    if (clear := image.info.get("transparency")) is None:
        return None
    same = values == np.asarray(clear)
    return np.where(same.all(axis=-1) if same.ndim == 3 else same, 0, 255).astype(np.uint8)
