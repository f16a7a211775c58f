"""From any file Pillow opens to an RGB picture."""

import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps


@contextmanager
def decoding_threads() -> Iterator[ThreadPoolExecutor]:
    """Threads to decode pictures in, one a core.

    Pillow lets go of the interpreter lock while it decodes and resizes, so threads are enough.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # It only warns of pictures up to twice its limit: photos of that size exist and decode.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield pool


def open_rgb(file: Path | IO[bytes]) -> Image.Image:
    """Decode the first frame of a file, upright, without transparency.

    Raises whatever Pillow raises for a file that it can't decode whole, among them
    `Image.DecompressionBombError` for more than `2 * Image.MAX_IMAGE_PIXELS` pixels.
    """
    with Image.open(file) as image:
        return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """As `open_rgb`, of a picture that is open already."""
    image.load()
    return _to_rgb(ImageOps.exif_transpose(image))


def squash(image: Image.Image, size: int) -> np.ndarray:
    """Resize to a square without keeping the aspect ratio, as the article does.

    Returns uint8 [3, size, size].
    """
    square = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1)


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
    scale = 255 / 65535
    if not image.mode.startswith("I;16"):
        # 32 bits have no agreed white: take that of the narrowest range that holds the values.
        white = next((top for top in (1, 255, 65535) if grey.max(initial=0) <= top), 2**32 - 1)
        scale = 255 / white
    return Image.fromarray(np.clip(grey * scale, 0, 255).astype(np.uint8), "L").convert("RGB")
