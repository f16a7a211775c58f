"""The features of every image by a frozen backbone, computed once and cached by content."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tl_core.data.caching.entries import damage, publish, trusted
from tl_core.data.caching.tables import Table, growing_table
from tl_core.data.datasets import ImageSet
from tl_core.device import is_gpu
from tl_core.errors import WAYS_OUT, GpuMemoryError, InputError
from tl_core.files import user_path
from tl_core.gpu_memory import is_out_of_memory
from tl_core.inputs.batches import ShrinkingBatches, eval_batch, eval_batches, even_size
from tl_core.inputs.readers import stream_reader
from tl_core.inputs.resident import RESIDENT
from tl_core.models.backbones import Backbone
from tl_core.models.folding import fold_backbone
from tl_core.models.precision import run_network
from tl_core.progress import track

_FILE = "features.npy"
_PIECES = 32
"""Enough to keep several devices busy to the end, and to show progress."""
_CHUNKS = (64, 4096)
"""Smallest and largest number of views in a piece."""
_CPU_PIXELS = 256 * 224**2
"""Largest number of pixels in a CPU's piece, as a stop loses what has begun."""
_CHUNK_VALUES = 2**25
"""Largest number of values in a piece, 128 MiB: a piece is held in memory as a whole."""

Forward = Callable[[list[np.ndarray]], Iterable[np.ndarray]]
"""Chunks of views -> for each, in order, what the network makes of it, [chunk, ...]."""


def load_features(
    images: ImageSet,
    backbone: Backbone,
    cache: str | Path,
    device: torch.device,
    hflip: bool = False,
    verify: bool = True,
    end: float | None = None,
    forward: Forward | None = None,
) -> np.ndarray:
    """Load the features of all N images; run the backbone over the images first if need be.

    The backbone runs in eval mode, so BatchNorm uses its stored statistics.

    Args:
        images: the data set.
        backbone: the network to run, in its precision.
        cache: folder that holds the features of each (data, backbone, weights, precision).
        device: what to run it on.
        hflip: also compute the features of the mirror images, for mirrored training.
        verify: check the hash of the cached features; if they are damaged, warn and compute them
            again. A study does this once, and its workers use what it has verified.
        end: until when another process that computes them is waited for, by `time.monotonic`.
        forward: distributes the work over several such devices.

    Returns:
        float32 [N, D], or [2 N, D] with the mirror images in the second half; memory-mapped:
        workers share the pages, and writes stay private.

    Raises `OutOfTimeError` if another process still computes them at `end`.
    """
    cache = user_path(cache)
    forward = forward or _on_device(images, backbone, device)
    most = most_in_chunk(backbone, images, device)

    def build(into: Path) -> None:
        # Of mirrored features the first half are the plain ones, which the cache may have.
        plain = (
            load_features(images, backbone, cache, device, False, verify, end, forward)
            if hflip
            else None
        )
        n, first = len(images.labels), len(images.labels) if hflip else 0
        doing = f"Features of {backbone.name}{', mirrored' if hflip else ''}"
        shape = first + n, backbone.n_features
        with growing_table(into, _FILE, np.float32, shape) as table:
            if plain is not None and not table.done:
                table.rows[:n], table.done = plain, n
            every = np.arange(first, first + n)
            for views, rows in run_views(every, most, forward, doing, table):
                table.rows[views] = rows

    entry = feature_entry(images.key, backbone, cache, hflip)
    publish(entry, build, damage if verify else trusted, end)
    features: np.ndarray = np.load(entry / _FILE, mmap_mode="c")
    return features


def feature_entry(images: str, backbone: Backbone, cache: Path, hflip: bool = False) -> Path:
    """Where a cache keeps the features of the decoded images whose key is `images`."""
    return cache / "features" / output_key(images, backbone, f"{hflip}")


def output_key(images: str, backbone: Backbone, which: str) -> str:
    """Hash all that decides a network's outputs, and which of them they are."""
    b = backbone
    about = f"{images} {b.name} {b.weights_id} {b.mean} {b.std} {b.precision} {which}"
    return hashlib.sha256(about.encode()).hexdigest()[:24]


def most_in_chunk(backbone: Backbone, images: ImageSet, device: torch.device) -> int:
    """How many views are given to a device at once, at the most."""
    most = min(_CHUNKS[1], max(1, _CHUNK_VALUES // backbone.n_features))
    if is_gpu(device):
        return most
    return min(most, max(_CHUNKS[0], _CPU_PIXELS // images.image_size**2))


def run_views(
    views: np.ndarray, most: int, forward: Forward, doing: str, table: Table
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Run a network over views; yield chunk after chunk with its rows, and show the progress.

    A chunk has `most` views at the most.

    The views are those of the table's last rows. Chunks that the table has already are left out;
    those that are yielded have to be written into it before the next one.
    """
    size = min(most, max(_CHUNKS[0], math.ceil(len(views) / _PIECES)))
    first = len(table.rows) - len(views)
    # The same chunks as without a break: a row may depend on its batch, in the last bits.
    whole = max(0, table.done - first) // size
    chunks = eval_batches(views, size)[whole:]
    if not chunks:
        return
    done = whole * size
    results = track(forward(chunks), len(views), doing, size, done)
    for chunk, rows in zip(chunks, results, strict=True):
        yield chunk, rows
        done += len(chunk)
        table.grow(first + done)


def extract(
    images: ImageSet, backbone: Backbone, device: torch.device, views: np.ndarray
) -> np.ndarray:
    """Run the backbone over some views: [B] -> float32 [B, D].

    Raises `InputError` if a value is not finite; names the image.
    """
    rows = run_batches(images, backbone, device, views).cpu()
    if not rows.isfinite().all():
        raise not_finite(images, backbone, rows, views, backbone.name)
    return rows.numpy()


def not_finite(
    images: ImageSet, backbone: Backbone, rows: Tensor, views: np.ndarray, what: str
) -> InputError:
    """The error of rows [B, ...], of which some have values that are not finite."""
    at = int((~rows.isfinite()).flatten(1).any(dim=1).nonzero()[0])
    name = images.ids[views[at] % len(images.ids)]
    narrow = " Or is float16 too narrow: try --precision fp32." * (backbone.precision == "fp16")
    why = f"{what} makes no finite numbers of {name}: are its weights damaged?{narrow}"
    return InputError([why])


def run_batches(
    images: ImageSet, backbone: Backbone, device: torch.device, views: np.ndarray
) -> Tensor:
    """Run a network in eval mode over views [B], in batches: float32 [B, D] on the device.

    Raises `GpuMemoryError` if the GPU has no memory for one view.
    """

    def run() -> Tensor:
        network = backbone.network.to(device).to(memory_format=torch.channels_last).eval()
        # Anew in each try: those of the last one have shrunk to one view.
        size = even_size(len(views), eval_batch(device, images.image_size))
        batches = ShrinkingBatches(size, device)
        # Not the weights' copy to the GPU: a network that learns later can't use such tensors.
        with torch.inference_mode(), stream_reader(images, backbone, device, views) as read:
            rows = batches.run(lambda b: run_network(network, read(b), backbone.precision), views)
            return torch.cat(rows)

    while True:
        try:
            return run()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            cause = error.with_traceback(None)
        if not RESIDENT.drop():
            what = f"out of GPU memory when {backbone.name} runs over one image"
            raise GpuMemoryError(f"{what}: choose {WAYS_OUT}") from cause


def _on_device(images: ImageSet, backbone: Backbone, device: torch.device) -> Forward:
    def forward(chunks: list[np.ndarray]) -> Iterator[np.ndarray]:
        ready = fold_backbone(backbone, images.image_size)
        yield from (extract(images, ready, device, views) for views in chunks)

    return forward
