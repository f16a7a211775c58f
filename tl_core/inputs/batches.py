"""Which views of which images a step sees, and how they get to the device.

View i of N images is image i; view N + i is its mirror image.
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
from tl_core.device import is_gpu, memory, upload
from tl_core.models.backbones import Backbone

Read = Callable[[np.ndarray], Tensor]
"""Views [B] -> what a net learns from, on the device: pixels [B, 3, S, S], or activations."""
ReadChanged = Callable[[np.ndarray, int], tuple[Tensor, Tensor]]
"""Views [B] and the step -> what a net learns from, and the brightness of what it shows [B]."""
Augmenter = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""Pixels uint8 [B, 3, S, S] and the step -> changed pixels and their brightness, float32 [B]."""
Array = TypeVar("Array", np.ndarray, Tensor)

_GPU_FRACTION = 3
"""The data set is kept on the GPU if it needs at most 1 / 3 of the GPU's free memory."""
_UPLOAD = 1024
"""Rows that are copied there at once: the whole set need not fit into the host's memory."""


def epoch_order(train: np.ndarray, seed: int, epoch: int, mirror: int = 0) -> np.ndarray:
    """Views of one epoch, [n], in an order that only (seed, epoch) decide.

    Args:
        train: indices of the training images.
        seed: that of the trial.
        epoch: from 1.
        mirror: N, to mirror each image with probability one half; 0 not to.
    """
    order = np.random.default_rng([seed, 2, epoch]).permutation(train)
    if not mirror:
        return order
    # A generator of its own, so that mirroring does not change the order.
    return order + mirror * np.random.default_rng([seed, 3, epoch]).integers(2, size=len(order))


def stacked_order(
    trains: Sequence[np.ndarray], seeds: Sequence[int], epoch: int, mirror: int = 0
) -> np.ndarray:
    """[S, n]: the `epoch_order` of each seed.

    Where a seed has fewer images than another, as with groups, its pass begins again until it is as
    long.
    """
    each = zip(trains, seeds, strict=True)
    n = max(map(len, trains))
    return np.stack([np.resize(epoch_order(t, seed, epoch, mirror), n) for t, seed in each])


def split_batches(order: Array, batch_size: int) -> Iterator[Array]:
    """Split [..., n] into batches [..., batch_size].

    The last batch takes the rest. A single remaining image joins the batch before it, since
    BatchNorm has no variance over one value.
    """
    n: int = order.shape[-1]
    starts: list[int] = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    for start, end in itertools.pairwise([*starts, n]):
        yield order[..., start:end]


def eval_batch(device: torch.device, image_size: int) -> int:
    """Images in a forward pass when nothing learns: as many pixels as suit the device.

    At 224 px that is 256 images on a GPU and 32 on a CPU, where more would not fit its caches.
    """
    at_224 = 256 if is_gpu(device) else 32
    return max(1, min(4 * at_224, at_224 * 224**2 // image_size**2))


def eval_batches(indices: np.ndarray, size: int) -> list[np.ndarray]:
    """Split `indices`, in order, into batches of `size`."""
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def pixel_reader(images: ImageSet, backbone: Backbone, device: torch.device) -> Read:
    """Read views and normalise them on the device, [B, 3, S, S] in channels_last.

    The uint8 pixels stay on a GPU that has memory for all of them, else in the memory map.
    """
    read, normalize = raw_reader(images, device), normalizer(backbone.mean, backbone.std, device)
    return lambda views: normalize(read(views))


def augmented_reader(
    images: ImageSet, backbone: Backbone, device: torch.device, augment: Augmenter
) -> ReadChanged:
    """As `pixel_reader`, of views that `augment` changes in each step."""
    raw, normalize = raw_reader(images, device), normalizer(backbone.mean, backbone.std, device)

    def read(views: np.ndarray, step: int) -> tuple[Tensor, Tensor]:
        pixels, brightness = augment(raw(views), step)
        return normalize(pixels), brightness

    return read


def raw_reader(images: ImageSet, device: torch.device) -> Read:
    """Read the pixels of views, uint8 [B, 3, S, S] on the device."""
    table = _pixels_on_gpu(images.path, device) if is_gpu(device) else None
    n = len(images.labels)

    def read(views: np.ndarray) -> Tensor:
        rows, mirrored = views % n, views >= n
        if table is not None:
            raw = table.index_select(0, upload(rows, device))
        else:
            raw = upload(images.pixels[rows], device)
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


def table_on_gpu(parts: Sequence[np.ndarray], device: torch.device) -> Tensor | None:
    """Copy tables [N, ...], one after another, to a GPU; None if they are too large for it."""
    free, _ = memory(device)
    if sum(part.nbytes for part in parts) * _GPU_FRACTION > free:
        return None
    n_rows, dtype = sum(map(len, parts)), np.result_type(*parts)
    like = torch.from_numpy(np.empty(0, dtype))
    table = torch.empty((n_rows, *parts[0].shape[1:]), dtype=like.dtype, device=device)
    at = 0
    for part in parts:
        for start in range(0, len(part), _UPLOAD):
            rows = torch.from_numpy(np.array(part[start : start + _UPLOAD]))
            table[at : at + len(rows)] = rows
            at += len(rows)
    return table


@lru_cache(maxsize=1)
def _pixels_on_gpu(path: Path, device: torch.device) -> Tensor | None:
    """All pixels of the data set, kept between the trials of a worker; None if they are too many.

    None is kept as well: later trials would find less free memory, because of the table itself.
    """
    return table_on_gpu([ImageSet.open(path).pixels], device)
