"""Which views of which images a step sees, and how they get to the device.

View i of N images is image i; view N + i is its mirror image.
"""

import gc
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from tl_core.data.datasets import ImageSet
from tl_core.device import is_gpu, is_out_of_memory, release_memory, upload
from tl_core.inputs.resident import RESIDENT
from tl_core.inputs.stream import row_reader
from tl_core.models.backbones import Backbone

Read = Callable[[np.ndarray], Tensor]
"""Views [B] -> what a net learns from, on the device: pixels [B, 3, S, S], or activations."""
ReadChanged = Callable[[np.ndarray, int], tuple[Tensor, Tensor]]
"""Views [B] and the step -> what a net learns from, and the brightness of what it shows [B]."""
Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Pixels uint8 [B, 3, S, S] and draws [B, ...], on the device -> as `Augmenter`."""
Array = TypeVar("Array", np.ndarray, Tensor)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Augmenter:
    """Changes pixels at random."""

    change: Callable[[Tensor, int], tuple[Tensor, Tensor]]
    """Pixels uint8 [B, 3, S, S] and the step -> changed pixels and their brightness, float32 [B].
    """
    draw: Callable[[int, int, int], np.ndarray] | None = None
    """B, the step and S -> draws [B, ...]; None if what is done depends on what is drawn."""
    apply: Change | None = None
    """`change` by such draws; None if there are none."""

    def __call__(self, pixels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Change the pixels of a step."""
        return self.change(pixels, step)


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


class ShrinkingBatches:
    """Runs a network over views in batches, which are halved when a GPU's memory is too small."""

    def __init__(self, size: int, device: torch.device) -> None:
        """Begin with batches of `size` views; smaller ones stay so."""
        self.size, self._device = size, device

    def run(self, network: Callable[[np.ndarray], Result], views: np.ndarray) -> list[Result]:
        """Return what the network makes of batch after batch.

        Raises what it raises, and its error for too little memory if that of one view is too large.
        """
        found: list[Result] = []
        done = 0
        while done < len(views):
            batch = views[done : done + self.size]
            result = self._try(network, batch)
            if isinstance(result, RuntimeError):
                if len(batch) == 1:
                    raise result
                self.size = len(batch) // 2
                continue
            found.append(result)
            done += len(batch)
        return found

    def _try(
        self, network: Callable[[np.ndarray], Result], batch: np.ndarray
    ) -> Result | RuntimeError:
        try:
            return network(batch)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            # The frames of the traceback hold tensors of the batch.
            failed = error.with_traceback(None)
        # Outside of the handler, where Python no longer holds the error's frames.
        gc.collect()
        release_memory(self._device)
        return failed


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

    given, draw, apply = raw.gather, augment.draw, augment.apply
    if given is None or draw is None or apply is None:
        return ChangedReader(read, None)
    side = given.table.shape[-1]

    def gather(views: Tensor, drawn: Tensor | None) -> tuple[Tensor, Tensor]:
        assert drawn is not None
        pixels, brightness = apply(given.run(views, None)[0], drawn)
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
