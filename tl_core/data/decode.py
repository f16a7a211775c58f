"""From any file Pillow opens to an RGB picture."""

import os
import stat
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
from PIL import ExifTags, Image

# Not all that Pillow reads: it hands some kinds to other programs, such as EPS to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is decoded, in Pillow's words; a file's content tells which, not its name."""

_LARGE, _ONE_LARGE = 50_000_000, Lock()
"""Pictures of more pixels than this are decoded one at a time, or a few would fill the memory."""
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
"""What undoes each EXIF orientation. Pillow's own `exif_transpose` also writes the other tags
anew, which fails where one of them is broken."""
_KINDS = {
    stat.S_ISDIR: "a folder that can't be read",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
}


@contextmanager
def decoding_threads() -> Iterator[ThreadPoolExecutor]:
    """Threads to decode pictures in, one a core.

    Pillow lets go of the interpreter lock while it decodes and resizes, so threads are enough.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # It warns of broken tags, and of pictures up to twice its limit: such photos exist, and
        # decode. What does not is an error.
        warnings.filterwarnings("ignore", module="PIL")
        yield pool


def open_rgb(file: Path | IO[bytes]) -> Image.Image:
    """Decode the first frame of a file, upright, without transparency.

    Raises whatever Pillow raises for a file that it can't decode whole, among them
    `Image.DecompressionBombError` for more than `2 * Image.MAX_IMAGE_PIXELS` pixels, which its
    header tells before any is decoded; `OSError` for what is no regular file.
    """
    if isinstance(file, Path):
        _check_regular(file)
    with Image.open(file, formats=FORMATS) as image:
        return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """As `open_rgb`, of a picture that is open already."""
    large = image.width * image.height > _LARGE
    with _ONE_LARGE if large else nullcontext():
        image.load()
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
        rgb = _to_rgb(image)
        return rgb if turn is None else rgb.transpose(turn)


def resize_square(image: Image.Image, size: int) -> np.ndarray:
    """Resize to a square without keeping the aspect ratio, as the article does.

    Returns uint8 [3, size, size].
    """
    square = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1)


def _check_regular(path: Path) -> None:
    """Refuse what may keep a reader waiting for ever."""
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
    # Pillow's own conversion clips 16-bit grey at 255, which turns it white.
    grey = np.asarray(image, dtype=np.float64)
    if not np.isfinite(grey).all():
        raise ValueError("the picture holds values that are not finite")
    scaled = np.clip(grey * (255 / _white_of(image, grey)), 0, 255)
    return Image.fromarray(scaled.astype(np.uint8), "L").convert("RGB")


def _white_of(image: Image.Image, grey: np.ndarray) -> int:
    """Return the value that stands for white."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE)
    if bits == (12,):  # Pillow takes a TIFF's 12 bits for the low ones of 16.
        return 4095
    if image.mode.startswith("I;16") or image.format == "PPM":
        return 65535
    # 32 bits have no agreed white: take that of the narrowest range that holds the values.
    return next((top for top in (1, 255, 65535) if grey.max(initial=0) <= top), 2**32 - 1)
