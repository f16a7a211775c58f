"""Which images a step sees, and how they get to the device."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tl_core.backbones import Backbone
from tl_core.datasets import ImageSet

Read = Callable[[np.ndarray], Tensor]
"""Image indices -> the net's input on the device.

[B] -> pixels [B, 3, S, S]; [B] or [S, B] -> features [B, D] or [S, B, D].
"""
Batches = Callable[[int], Iterator[np.ndarray]]
"""Epoch, from 1 -> its training batches, [B] or [S, B]."""


def training_batches(
    train: np.ndarray, batch_size: int, seed: int, epoch: int
) -> Iterator[np.ndarray]:
    """Yield the indices of one epoch in an order that (seed, epoch) alone decide.

    The last batch takes what is left. A single left-over image joins the batch before it, since
    BatchNorm has no variance to take over one value.
    """
    order = np.random.default_rng([seed, 2, epoch]).permutation(train)
    cuts = list(range(batch_size, len(order), batch_size))
    if cuts and len(order) - cuts[-1] == 1:
        cuts.pop()
    yield from np.split(order, cuts)


def stacked_batches(
    trains: Sequence[np.ndarray], batch_size: int, seeds: Sequence[int], epoch: int
) -> Iterator[np.ndarray]:
    """Yield [S, B]: for each seed the batch that `training_batches` gives it alone."""
    each = zip(trains, seeds, strict=True)
    alone = (training_batches(train, batch_size, seed, epoch) for train, seed in each)
    yield from map(np.stack, zip(*alone, strict=True))


def eval_batch(device: torch.device, image_size: int) -> int:
    """Images in a forward pass when nothing learns: as many pixels as suit the device.

    At 224 px that is 256 images on a GPU and 32 on a CPU, where more fall out of its caches.
    """
    at_224 = 256 if device.type == "cuda" else 32
    return max(1, min(4 * at_224, at_224 * 224**2 // image_size**2))


def eval_batches(indices: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut `indices`, in order, into batches of `size`."""
    return [indices[start : start + size] for start in range(0, len(indices), size)]


def pixel_reader(images: ImageSet, backbone: Backbone, device: torch.device) -> Read:
    """Read uint8 pixels from the memory map and normalise them on the device."""
    # (x / 255 - mean) / std with the constants folded, so that the bytes are touched twice only.
    shift = torch.tensor(backbone.mean, device=device).view(3, 1, 1) * 255
    scale = 1 / (torch.tensor(backbone.std, device=device).view(3, 1, 1) * 255)

    def read(indices: np.ndarray) -> Tensor:
        raw = torch.from_numpy(images.pixels[indices]).to(device)
        return (raw.float() - shift).mul_(scale).contiguous(memory_format=torch.channels_last)

    return read


def row_reader(rows: np.ndarray, device: torch.device) -> Read:
    """Read rows of an array [N, D] that is small enough to lie on the device."""
    table = torch.from_numpy(rows).to(device)

    def read(indices: np.ndarray) -> Tensor:
        at = torch.from_numpy(indices).to(device)
        # Four times as fast as table[at] on a CPU.
        return table.index_select(0, at.flatten()).view(*at.shape, -1)

    return read
