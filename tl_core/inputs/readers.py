"""How views of images get to the device, from a table there or from the host's memory map."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tl_core.data.datasets import ImageSet
from tl_core.device import upload
from tl_core.inputs.resident import RESIDENT
from tl_core.inputs.stream import row_reader
from tl_core.models.backbones import Backbone

Read = Callable[[np.ndarray], Tensor]
"""Views [B] -> what a net learns from, on the device: pixels [B, 3, S, S], or activations."""
ReadChanged = Callable[[np.ndarray, int], tuple[Tensor, Tensor]]
"""Views [B] and the step -> what a net learns from, and the brightness of what it shows [B]."""
Augmenter = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""Pixels uint8 [B, 3, S, S] and the step -> pixels that are changed at random, and their
brightness, float32 [B]."""


@dataclass(frozen=True)
class DrawnAugmenter:
    """An `Augmenter` whose operations do not depend on what is drawn."""

    draw: Callable[[int, int, int], np.ndarray]
    """B, the step and S -> draws [B, ...]."""
    apply: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    """Pixels and draws, on the device -> changed pixels and their brightness."""

    def __call__(self, pixels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Change the pixels of a step."""
        drawn = self.draw(len(pixels), step, pixels.shape[-1])
        return self.apply(pixels, upload(drawn, pixels.device))


@dataclass(frozen=True)
class Gather:
    """How a step reads from a table on the device: always the same operations there."""

    table: Tensor
    run: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]
    """Views int64 [B] and their draws, on the device -> inputs, and their brightness if changed."""
    draw: Callable[[int, int], np.ndarray] | None = None
    """B and the step -> draws [B, ...]; None if there are none."""


@dataclass(frozen=True)
class Reader:
    """A `Read` that knows where it reads."""

    read: Read
    gather: Gather | None
    """None if the data come from the host."""

    def __call__(self, views: np.ndarray) -> Tensor:
        """Read some views."""
        return self.read(views)


@dataclass(frozen=True)
class ChangedReader:
    """A `ReadChanged` that knows where it reads."""

    read: ReadChanged
    gather: Gather | None

    def __call__(self, views: np.ndarray, step: int) -> tuple[Tensor, Tensor]:
        """Read the views of a step."""
        return self.read(views, step)


def pixel_reader(
    images: ImageSet, backbone: Backbone, device: torch.device, mirrors: bool = True
) -> Reader:
    """Read views and normalise them on the device, [B, 3, S, S] in channels_last.

    The uint8 pixels stay on a GPU that has memory for all of them, else in the memory map. Without
    `mirrors` no view that is gathered may be a mirrored one.
    """
    raw, normalize = (
        raw_reader(images, device, mirrors),
        normalizer(backbone.mean, backbone.std, device),
    )
    gather = None
    if given := raw.gather:
        gather = replace(given, run=lambda views, _: (normalize(given.run(views, None)[0]), None))
    return Reader(lambda views: normalize(raw(views)), gather)


def augmented_reader(
    images: ImageSet, backbone: Backbone, device: torch.device, augment: Augmenter
) -> ChangedReader:
    """As `pixel_reader`, of views, none of them mirrored, that `augment` changes in each step."""
    raw = raw_reader(images, device, mirrors=False)
    normalize = normalizer(backbone.mean, backbone.std, device)

    def read(views: np.ndarray, step: int) -> tuple[Tensor, Tensor]:
        pixels, brightness = augment(raw(views), step)
        return normalize(pixels), brightness

    given = raw.gather
    if given is None or not isinstance(augment, DrawnAugmenter):
        return ChangedReader(read, None)
    side, draw = given.table.shape[-1], augment.draw

    def gather(views: Tensor, drawn: Tensor | None) -> tuple[Tensor, Tensor]:
        assert drawn is not None
        pixels, brightness = augment.apply(given.run(views, None)[0], drawn)
        return normalize(pixels), brightness

    return ChangedReader(read, Gather(given.table, gather, lambda n, step: draw(n, step, side)))


def raw_reader(images: ImageSet, device: torch.device, mirrors: bool) -> Reader:
    """Read the pixels of views, uint8 [B, 3, S, S] on the device."""
    table = RESIDENT.get("pixels", images.path, lambda: [images.pixels], device)
    n = len(images.labels)

    def read_rows(rows: np.ndarray) -> Tensor:
        if table is not None:
            return table.index_select(0, upload(rows, device))
        return upload(images.pixels[rows], device)

    read = mirrored_reader(read_rows, n, device)
    if table is None:
        return Reader(read, None)

    def gather(views: Tensor, _: Tensor | None) -> tuple[Tensor, None]:
        raw = table.index_select(0, views % n)
        if mirrors:
            raw = torch.where((views >= n).view(-1, 1, 1, 1), raw.flip(-1), raw)
        return raw, None

    return Reader(read, Gather(table, gather))


@contextmanager
def stream_reader(
    images: ImageSet, backbone: Backbone, device: torch.device, order: np.ndarray
) -> Iterator[Read]:
    """As `pixel_reader`, of views that are read once, in `order`; no more go to the device."""
    n, normalize = len(images.labels), normalizer(backbone.mean, backbone.std, device)
    with row_reader(images.pixels, order % n, device) as rows:
        read = mirrored_reader(rows, n, device)
        yield lambda views: normalize(read(views))


def mirrored_reader(read_rows: Read, n: int, device: torch.device) -> Read:
    """Read views of N images by reading the rows of the images, and mirror those that are."""

    def read(views: np.ndarray) -> Tensor:
        raw, mirrored = read_rows(views % n), views >= n
        if mirrored.any():
            both = upload(np.arange(len(views)) + len(views) * mirrored, device)
            raw = torch.cat([raw, raw.flip(-1)]).index_select(0, both)
        return raw

    return read


def normalizer(
    mean: Sequence[float], std: Sequence[float], device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Convert uint8 pixels [B, 3, S, S] on the device to a network's input, in channels_last."""
    # (x / 255 - mean) / std with folded constants: two passes over the bytes instead of three.
    shift = torch.tensor(mean, device=device).view(3, 1, 1) * 255
    scale = 1 / (torch.tensor(std, device=device).view(3, 1, 1) * 255)

    def normalize(raw: Tensor) -> Tensor:
        return (raw - shift).mul_(scale).contiguous(memory_format=torch.channels_last)

    return normalize
