"""Which views of which images a step sees, and how they get to the device.

View i of N images is image i as it is; view N + i is its mirror image.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from tl_core.data.datasets import ImageSet
from tl_core.models.backbones import Backbone

Read = Callable[[np.ndarray], Tensor]
"""Views [B] -> pixels [B, 3, S, S] on the device."""
Array = TypeVar("Array", np.ndarray, Tensor)

_SHARE_OF_GPU = 3
"""The data set may lie on the GPU if it takes at most one part in so many of its free memory."""
_UPLOAD = 1024
"""Images that go there at once: the whole set need not fit into the host's memory."""


def epoch_order(train: np.ndarray, seed: int, epoch: int, mirror: int = 0) -> np.ndarray:
    """Views of one epoch, [n], in an order that (seed, epoch) alone decide.

    Args:
        train: indices of the training images.
        seed: that of the trial.
        epoch: from 1.
        mirror: N, to mirror each image with probability one half; 0 not to.
    """
    order = np.random.default_rng([seed, 2, epoch]).permutation(train)
    if not mirror:
        return order
    # A generator of its own, so that mirroring leaves the order as it is.
    return order + mirror * np.random.default_rng([seed, 3, epoch]).integers(2, size=len(order))


def stacked_order(
    trains: Sequence[np.ndarray], seeds: Sequence[int], epoch: int, mirror: int = 0
) -> np.ndarray:
    """[S, n]: for each seed the order that `epoch_order` gives it alone."""
    each = zip(trains, seeds, strict=True)
    return np.stack([epoch_order(train, seed, epoch, mirror) for train, seed in each])


def split_batches(order: Array, batch_size: int) -> Iterator[Array]:
    """Cut [..., n] into batches [..., batch_size].

    The last batch takes what is left. A single left-over image joins the batch before it, since
    BatchNorm has no variance to take over one value.
    """
    n: int = order.shape[-1]
    starts: list[int] = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    for start, end in itertools.pairwise([*starts, n]):
        yield order[..., start:end]


def training_batches(
    train: np.ndarray, batch_size: int, seed: int, epoch: int, mirror: int = 0
) -> Iterator[np.ndarray]:
    """Yield the batches of one epoch, [B] each."""
    return split_batches(epoch_order(train, seed, epoch, mirror), batch_size)


def eval_batch(device: torch.device, image_size: int) -> int:
    """Images in a forward pass when nothing learns: as many pixels as suit the device.

    At 224 px that is 256 images on a GPU and 32 on a CPU, where more fall out of its caches.
    """
    at_224 = 256 if device.type == "cuda" else 32
    return max(1, min(4 * at_224, at_224 * 224**2 // image_size**2))


def eval_batches(indices: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut `indices`, in order, into batches of `size`."""
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def upload(values: np.ndarray, device: torch.device) -> Tensor:
    """Put an array on the device without making either side wait for the other."""
    host = torch.from_numpy(values)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host


def pixel_reader(images: ImageSet, backbone: Backbone, device: torch.device) -> Read:
    """Read views and normalise them on the device, [B, 3, S, S] in channels_last.

    The uint8 pixels lie on a GPU that has room for all of them, else in the memory map.
    """
    normalize = normalizer(backbone.mean, backbone.std, device)
    fetch, n = _fetcher(images, device), len(images.labels)

    def read(views: np.ndarray) -> Tensor:
        raw, mirrored = fetch(views % n), views >= n
        if mirrored.any():
            raw = torch.where(upload(mirrored, device).view(-1, 1, 1, 1), raw.flip(-1), raw)
        return normalize(raw)

    return read


def normalizer(
    mean: Sequence[float], std: Sequence[float], device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Make uint8 pixels [B, 3, S, S] on the device into what a network takes, in channels_last."""
    # (x / 255 - mean) / std with the constants folded, so that the bytes are touched twice only.
    shift = torch.tensor(mean, device=device).view(3, 1, 1) * 255
    scale = 1 / (torch.tensor(std, device=device).view(3, 1, 1) * 255)

    def normalize(raw: Tensor) -> Tensor:
        return (raw - shift).mul_(scale).contiguous(memory_format=torch.channels_last)

    return normalize


def _fetcher(images: ImageSet, device: torch.device) -> Read:
    """Image indices [B] -> uint8 pixels [B, 3, S, S] on the device."""
    table = _on_device(images.path, device) if device.type == "cuda" else None
    if table is not None:
        return lambda rows: table.index_select(0, upload(rows, device))
    return lambda rows: upload(images.pixels[rows], device)


@lru_cache(maxsize=1)
def _on_device(path: Path, device: torch.device) -> Tensor | None:
    """All pixels of the data set, kept between the trials of a worker; None if they are too many.

    That, too, is decided once: later trials would find the room taken by the table itself.
    """
    pixels = ImageSet.open(path).pixels
    free, _ = torch.cuda.mem_get_info(device)
    if pixels.nbytes * _SHARE_OF_GPU > free:
        return None
    table = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pixels), _UPLOAD):
        table[start : start + _UPLOAD] = torch.from_numpy(np.array(pixels[start : start + _UPLOAD]))
    return table
