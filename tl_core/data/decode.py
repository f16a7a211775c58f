"""Decoding: from an image file to an RGB picture, and to square pixels."""

import stat
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import IO

import numpy as np
from PIL import Image

from tl_core.config import PAD_GREY, Resize
from tl_core.data.reading.deep import Deep, Depth, Scales
from tl_core.data.reading.heif import HEIF, register_heif
from tl_core.data.reading.kinds import FORMATS, HEAD, NotAPictureError, is_heif, kind_fault
from tl_core.data.reading.low_bytes import clear_where, read_all_bits, tiles_of_low_bytes
from tl_core.data.reading.png import without_extras
from tl_core.data.reading.turns import turn_of
from tl_core.runtime import usable_cpus

_LARGE, _ONE_LARGE = 50_000_000, Lock()
"""Pictures of more pixels than this are decoded one at a time: several would fill the memory."""
_BITS_PER_SAMPLE, _NEW_SUBFILE, _DNG_VERSION = 258, 254, 50706
"""Tags of TIFF files."""
_KINDS = {
    stat.S_ISDIR: "a folder that can't be read",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
}


Picture = Image.Image | Deep
"""A picture, upright: RGB, or one of more than 8 bits a channel."""


@contextmanager
def decoding_threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that decode pictures, one for each core that this process may use.

    Pillow releases the interpreter lock while it decodes and resizes, so threads are enough.
    """
    pool = ThreadPoolExecutor(usable_cpus())
    with warnings.catch_warnings():
        # Pillow warns about broken tags and about pictures of up to twice its limit. Both occur in
        # good photos; a picture that can't be decoded is an error anyway.
        warnings.filterwarnings("ignore", module="PIL")
        try:
            yield pool
        finally:  # At Ctrl-C, what no thread has begun is not waited for.
            pool.shutdown(cancel_futures=True)


def _alone_if_large(pixels: int) -> AbstractContextManager[object]:
    return _ONE_LARGE if pixels > _LARGE else nullcontext()


def as_rgb(picture: Picture, scales: Scales = MappingProxyType({})) -> Image.Image:
    """An RGB picture as it is, a deep one scaled."""
    if not isinstance(picture, Deep):
        return picture
    with _alone_if_large(picture.values.shape[0] * picture.values.shape[1]):
        return picture.to_rgb(scales)


def open_picture(file: Path | IO[bytes]) -> Picture:
    """Decode the first frame of a file, upright: to RGB without transparency, or as a deep one.

    Raises `NotAPictureError` for files of other kinds, and the errors of Pillow for a file that it
    can't decode whole; among them `Image.DecompressionBombError`, before decoding, if the header
    says more than `2 * Image.MAX_IMAGE_PIXELS` pixels. Raises `OSError` for anything but a regular
    file.
    """
    if not isinstance(file, Path):
        return _read(file, "")
    _check_regular(file)
    with file.open("rb") as stream:
        return _read(stream, file.suffix)


def _read(stream: IO[bytes], suffix: str) -> Picture:
    stream.seek(0)  # As Pillow does.
    head = stream.read(HEAD)
    if fault := kind_fault(head, suffix):
        raise NotAPictureError(fault)
    heif = is_heif(head)
    if heif:
        register_heif()
    try:
        return _decode(stream, (HEIF,) if heif else FORMATS)
    except ValueError as error:
        if "text chunk" not in str(error).lower() and "Decompressed data" not in str(error):
            raise
        # Pillow refuses PNG files with large texts or colour profiles; pixels need neither.
        stream.seek(0)
        return _decode(without_extras(stream), FORMATS)


def _decode(stream: IO[bytes], formats: tuple[str, ...]) -> Picture:
    with Image.open(stream, formats=formats) as image:
        _check_whole(image)
        low, pixels = tiles_of_low_bytes(image), image.width * image.height
        if low is None:
            return to_picture(image)
    with _alone_if_large(pixels):
        return read_all_bits(stream, low)


def to_picture(image: Image.Image) -> Picture:
    """As `open_picture`, for a picture that is already open.

    One with `tiles_of_low_bytes` has 8 bits then.
    """
    with _alone_if_large(image.width * image.height):
        image.load()
        turn = turn_of(image)
        if image.mode.startswith(("I", "F")):
            values = np.asarray(image)
            return Deep(_depth(image), values, clear_where(values, image), turn)
        rgb = _to_rgb(image)
        return rgb if turn is None else rgb.transpose(turn)


def to_square(
    picture: Picture, size: int, resize: Resize, scales: Scales = MappingProxyType({})
) -> np.ndarray:
    """Resize a picture of any shape to uint8 [3, size, size], with Pillow's bilinear filter.

    Args:
        picture: RGB, or a deep one; at least 1 x 1 pixel.
        size: side of the square, pixels.
        resize: `squash` does not keep the aspect ratio, as the article does. The others keep it:
            `crop` resizes the shorter side to `size` and keeps the centre; `pad` resizes the
            longer side to `size` and centres the picture on mid grey (`PAD_GREY`), whatever its
            content. Grey, because the means that networks subtract are near it, so the padding
            is near their zero. It counts in the brightness of the square.
        scales: the range of deep pictures; they are scaled before they are resized.
    """
    square = _SQUARES[resize](as_rgb(picture, scales), size)
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
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _depth(image: Image.Image) -> Depth:
    if image.mode == "F":
        return "fractions"
    if getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE) == (12,):
        return "12-bit grey"  # Pillow reads a TIFF's 12 bits as the low ones of 16.
    # Pillow scales a PGM of any number of bits to 16.
    sixteen = image.mode.startswith("I;16") or image.format == "PPM"
    return "16-bit grey" if sixteen else "32-bit grey"


def _check_whole(image: Image.Image) -> None:
    """Refuse raw files, which begin as a TIFF whose first picture is a thumbnail."""
    tags = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or tags.get(_NEW_SUBFILE, 0) & 1:
        why = "its first picture is a thumbnail of another one"
        raise NotAPictureError(f"a camera raw file, or a TIFF of several sizes: {why}")
