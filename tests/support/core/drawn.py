"""Pictures that are read from nowhere, some of which can't be."""

from collections.abc import Callable

from PIL import Image

from tl_core.data.decode import Picture
from tl_core.data.sources import Source

Read = Callable[[int, int], Image.Image]


def grey(i: int, size: int) -> Image.Image:
    """Picture number `i`: all its pixels are 10 * i."""
    return Image.new("RGB", (size, size), (10 * i,) * 3)


def source_of(
    read: Callable[[int, int], Picture], labels: tuple[int, ...] = (0, 1, 0, 1, 0, 1)
) -> Source:
    ids = tuple(f"photo-{i}" for i in range(len(labels)))
    return Source("drawn", ("cat", "dog"), ids, labels, "0123456789abcdef" * 4, read)


def broken(*bad: int) -> Read:
    def read(i: int, size: int) -> Image.Image:
        if i in bad:
            raise OSError(f"{i} is torn")
        return grey(i, size)

    return read


def counted(seen: list[int], read: Read = grey) -> Read:
    def one(i: int, size: int) -> Image.Image:
        seen.append(i)
        return read(i, size)

    return one
