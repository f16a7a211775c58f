"""Which views of which images a step sees.

View i of N images is image i; view N + i is its mirror image.
"""

import gc
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from tl_core.device import is_gpu
from tl_core.gpu_memory import is_out_of_memory, release_memory

_KEPT_IMAGES, _KEPT_PASSES = 2048, 1024
"""How many orders are kept, of how many images each; 16 MB. Sweep after sweep has the same seeds,
and of a small subset a trial makes a hundred passes."""

Array = TypeVar("Array", np.ndarray, Tensor)
Result = TypeVar("Result")


def epoch_order(train: np.ndarray, seed: int, epoch: int, mirror: int = 0) -> np.ndarray:
    """Views of one epoch, [n], in an order that only (seed, epoch) decide.

    Args:
        train: indices of the training images.
        seed: that of the trial.
        epoch: from 1.
        mirror: N, to mirror each image with probability one half; 0 not to.
    """
    n = len(train)
    order: np.ndarray = train[(_kept if n <= _KEPT_IMAGES else _permutation)(n, seed, epoch)]
    if not mirror:
        return order
    # A generator of its own, so that mirroring does not change the order.
    return order + mirror * np.random.default_rng([seed, 3, epoch]).integers(2, size=len(order))


def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, 2, epoch]).permutation(n)


_kept = lru_cache(_KEPT_PASSES)(_permutation)


def stacked_order(
    trains: Sequence[np.ndarray],
    seeds: Sequence[int],
    epoch: int,
    mirror: int = 0,
    at_least: int = 0,
) -> np.ndarray:
    """[S, n]: the `epoch_order` of each seed.

    Where a seed has fewer images than another, or than `at_least`, as with groups, its pass begins
    again until it is as long.
    """
    each = zip(trains, seeds, strict=True)
    orders = [epoch_order(train, seed, epoch, mirror) for train, seed in each]
    n = max(at_least, *map(len, orders))
    return np.stack([order if len(order) == n else np.resize(order, n) for order in orders])


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


def even_size(n: int, most: int) -> int:
    """Return the size of batches of `n` views, at most `most`: as few of them, and as even.

    A last one of a few views would take a GPU as long as it takes to launch a full one.
    """
    return math.ceil(n / math.ceil(n / most))


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
