"""Decoding: from an image file to an RGB picture, and to square pixels."""

import os
import stat
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
from PIL import ExifTags, Image

from tl_core.config import PAD_GREY, Resize

# Not all formats of Pillow: it passes some to other programs, such as EPS to Ghostscript.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""The decoded formats, by Pillow's names; the content of a file decides, not its name."""
_LARGE, _ONE_LARGE = 50_000_000, Lock()
"""Pictures of more pixels than this are decoded one at a time: several would fill the memory."""
_BITS_PER_SAMPLE = 258
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transpose that undoes each EXIF orientation. Pillow's own `exif_transpose` also rewrites the
other tags, which fails if one of them is broken."""
_KINDS = {
    stat.S_ISDIR: "a folder that can't be read",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
}


@contextmanager
def decoding_threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that decode pictures, one for each core.

    Pillow releases the interpreter lock while it decodes and resizes, so threads are enough.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # Pillow warns about broken tags and about pictures of up to twice its limit. Both occur in
        # good photos; a picture that can't be decoded is an error anyway.
        warnings.filterwarnings("ignore", module="PIL")
        yield pool


def open_rgb(file: Path | IO[bytes]) -> Image.Image:
    """Decode the first frame of a file, upright, without transparency.

    Raises the errors of Pillow for a file that it can't decode whole; among them
    `Image.DecompressionBombError`, before decoding, if the header says more than
    `2 * Image.MAX_IMAGE_PIXELS` pixels. Raises `OSError` for anything but a regular file.
    """
    if isinstance(file, Path):
        _check_regular(file)
    with Image.open(file, formats=_FORMATS) as image:
        return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """As `open_rgb`, for a picture that is already open."""
    large = image.width * image.height > _LARGE
    with _ONE_LARGE if large else nullcontext():
        image.load()
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
        rgb = _to_rgb(image)
        return rgb if turn is None else rgb.transpose(turn)


def to_square(image: Image.Image, size: int, resize: Resize) -> np.ndarray:
    """Resize an RGB picture of any shape to uint8 [3, size, size], with Pillow's bilinear filter.

    Args:
        image: at least 1 x 1 pixel.
        size: side of the square, pixels.
        resize: `squash` does not keep the aspect ratio, as the article does. The others keep it:
            `crop` resizes the shorter side to `size` and keeps the centre; `pad` resizes the
            longer side to `size` and centres the picture on mid grey (`PAD_GREY`), whatever its
            content. Grey, because the means that networks subtract are near it, so the padding
            is near their zero. It counts in the brightness of the square.
    """
    square = _SQUARES[resize](image, size)
    return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1)


def _squash(image: Image.Image, size: int) -> Image.Image:
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _crop(image: Image.Image, size: int) -> Image.Image:
    # As a resize and then a crop, to one grey level; but 10,000 x 1 never becomes huge.
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = left, top, left + side, top + side
    return image.resize((size, size), Image.Resampling.BILINEAR, box)


def _pad(image: Image.Image, size: int) -> Image.Image:
    longer = max(image.size)
    width, height = (max(1, round(size * side / longer)) for side in image.size)
    square = Image.new("RGB", (size, size), (PAD_GREY,) * 3)
    shrunk = image.resize((width, height), Image.Resampling.BILINEAR)
    square.paste(shrunk, ((size - width) // 2, (size - height) // 2))
    return square


_SQUARES: dict[Resize, Callable[[Image.Image, int], Image.Image]] = {
    "squash": _squash,
    "crop": _crop,
    "pad": _pad,
}


def _check_regular(path: Path) -> None:
    """Refuse pipes, devices and the like, which may block a reader for ever."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = next((what for is_kind, what in _KINDS.items() if is_kind(mode)), "a device")
        raise OSError(f"{path} is {kind}, not a picture")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _from_deep_grey(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips 16-bit grey at 255, so nearly all of it becomes white.
    grey = np.asarray(image, dtype=np.float64)
    if not np.isfinite(grey).all():
        raise ValueError("the picture holds values that are not finite")
    scaled = np.clip(grey * (255 / _white_value(image, grey)), 0, 255)
    return Image.fromarray(scaled.astype(np.uint8), "L").convert("RGB")


def _white_value(image: Image.Image, grey: np.ndarray) -> int:
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE)
    if bits == (12,):  # Pillow reads a TIFF's 12 bits as the low ones of 16.
        return 4095
    if image.mode.startswith("I;16") or image.format == "PPM":
        return 65535
    # 32 bits have no agreed white: use that of the narrowest range that holds all values.
    return next((top for top in (1, 255, 65535) if grey.max(initial=0) <= top), 2**32 - 1)
