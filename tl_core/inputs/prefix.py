"""The activations of every image at the cut between frozen stages and those that learn.

The frozen prefix of a network runs once over the images. What it makes of them is cached by
content, as features are, and the stages above learn from it.

Float16 keeps 11 bits of each value, more than the 8 that bfloat16 computes with. A prefix with a
value beyond float16's range has its activations kept in float32.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tl_core.data.caching.entries import damage, publish, trusted
from tl_core.data.caching.tables import Table, growing_table, new_array
from tl_core.data.datasets import ImageSet
from tl_core.device import upload
from tl_core.inputs.features import (
    Forward,
    most_in_chunk,
    not_finite,
    output_key,
    run_batches,
    run_views,
)
from tl_core.inputs.readers import Gather, Reader
from tl_core.inputs.resident import RESIDENT
from tl_core.models.backbones import Backbone
from tl_core.models.precision import run_unconverted
from tl_core.models.stages import split

_FILE = "activations.npy"
_MOST = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class Prefix:
    """The stages of a backbone that stay frozen."""

    backbone: Backbone
    """The whole one, but its network is the prefix: images [N, 3, S, S] -> activations [N, ...]."""
    image_size: int
    """Side of the images, pixels."""
    shape: tuple[int, ...]
    """Of the activations of one image."""
    above: str
    """The name of the first parameter above the cut."""

    @property
    def nbytes(self) -> int:
        """Bytes of an image's activations in the cache, in float16."""
        return 2 * math.prod(self.shape)


@dataclass(frozen=True)
class Activations:
    """A data set's activations at a cut, memory-mapped."""

    files: tuple[Path, ...]
    """Of the N images; then, with mirrored training, of their N mirror images."""

    @cached_property
    def tables(self) -> tuple[np.ndarray, ...]:
        """Float16 or float32 [N, ...] each; workers share the pages, and writes stay private."""
        return tuple(np.load(file, mmap_mode="c") for file in self.files)


def cut_backbone(
    backbone: Backbone, unfreeze: int, image_size: int
) -> tuple[Prefix, nn.Sequential]:
    """Cut a backbone below its last `unfreeze` stages.

    Returns:
        The frozen prefix, in eval mode; and the stages above, activations [N, ...] -> features
        [N, D]. Both share the modules of the backbone's network.

    Raises:
        BackboneError: the network can't be cut.
        InputError: it has too few stages.
    """
    lower, upper = split(backbone.network, unfreeze)
    shape = tuple(_probe(lower, backbone, image_size).shape[1:])
    names = {id(value): name for name, value in backbone.network.named_parameters()}
    above = names[id(next(upper.parameters()))]
    frozen = replace(backbone, network=lower, n_features=math.prod(shape))
    return Prefix(frozen, image_size, shape, above), upper


def load_activations(
    images: ImageSet,
    prefix: Prefix,
    cache: Path,
    device: torch.device,
    hflip: bool = False,
    verify: bool = True,
    end: float | None = None,
    forward: Forward | None = None,
) -> Activations:
    """Load the activations of all images; run the prefix over the images first if need be.

    Args:
        images: the data set.
        prefix: the network to run, in the backbone's precision.
        cache: folder that holds the activations of each (data, backbone, weights, precision, cut).
        device: what to run it on.
        hflip: also those of the mirror images.
        verify: as for `tl_core.inputs.features.load_features`.
        end: as there.
        forward: as there; it calls `extract_activations`.

    Raises:
        OutOfTimeError: another process still makes them at `end`.
        InputError: the activations of an image are not finite.
    """
    halves = (False, True) if hflip else (False,)
    entries = [activation_entry(images.key, prefix, cache, mirrored) for mirrored in halves]
    for entry, mirrored in zip(entries, halves, strict=True):
        build = partial(_write, images, prefix, device, forward, mirrored)
        publish(entry, build, damage if verify else trusted, end)
    return Activations(tuple(entry / _FILE for entry in entries))


def activation_entry(images: str, prefix: Prefix, cache: Path, mirrored: bool = False) -> Path:
    """Where a cache keeps the activations of the decoded images whose key is `images`."""
    cut = f"{mirrored} below {prefix.above} {prefix.shape}"
    return cache / "activations" / output_key(images, prefix.backbone, cut)


def extract_activations(
    images: ImageSet, prefix: Prefix, device: torch.device, views: np.ndarray
) -> np.ndarray:
    """Run the prefix over some views: [B] -> float16 [B, ...], float32 where that is too narrow.

    Raises `InputError` if a value is not finite; names the image.
    """
    rows = run_batches(images, prefix.backbone, device, views)
    # On the device, so that half as many bytes leave it. NaN is in no range.
    low, high = (value.item() for value in torch.aminmax(rows))
    if low >= -_MOST and high <= _MOST:
        return rows.half().cpu().numpy()
    if not math.isfinite(low + high):
        what = f"the frozen part of {prefix.backbone.name}"
        raise not_finite(images, prefix.backbone, rows, views, what)
    return rows.cpu().numpy()


def activation_reader(activations: Activations, prefix: Prefix, device: torch.device) -> Reader:
    """Read views on the device, [B, ...], in number format and layout as the prefix makes them.

    They stay on a GPU that has memory for all of them, else in the memory map.
    """
    like = _probe(prefix.backbone.network.to(device), prefix.backbone, prefix.image_size)
    last = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    tables = activations.tables
    on_gpu = RESIDENT.get("activations", activations.files, lambda: tables, device)

    def read(views: np.ndarray) -> Tensor:
        if on_gpu is not None:
            rows = on_gpu.index_select(0, upload(views, device))
        else:
            rows = upload(_gather(tables, views), device)
        return rows.to(like.dtype, memory_format=layout)

    if on_gpu is None:
        return Reader(read, None)

    def gather(views: Tensor, _: Tensor | None) -> tuple[Tensor, None]:
        return on_gpu.index_select(0, views).to(like.dtype, memory_format=layout), None

    return Reader(read, Gather(on_gpu, gather))


def _write(
    images: ImageSet,
    prefix: Prefix,
    device: torch.device,
    forward: Forward | None,
    mirrored: bool,
    into: Path,
) -> None:
    """Run the prefix over all images, or all mirror images, and write what it makes of them."""
    forward = forward or _on_device(images, prefix, device)
    most = most_in_chunk(prefix.backbone, images, device)
    n = len(images.labels)
    views = np.arange(n) + (n if mirrored else 0)
    what = f"Activations of {prefix.backbone.name} below {prefix.above}"
    doing = f"{what}{', mirrored' if mirrored else ''}"
    with growing_table(into, _FILE, np.float16, (n, *prefix.shape)) as table:
        for chunk, rows in run_views(views, most, forward, doing, table):
            if rows.dtype != np.float16 and table.rows.dtype == np.float16:
                _widen(table)
            table.rows[chunk % n] = rows


def _widen(table: Table) -> None:
    """Make a table of float16 one of float32; its rows so far keep their precision."""
    wide_file = table.file.with_name("wide.npy")
    wide = new_array(wide_file, np.float32, table.rows.shape)
    wide[:] = table.rows
    wide.flush()  # What was saved counts rows that must be on the disk.
    wide_file.replace(table.file)
    table.rows = wide


def _on_device(images: ImageSet, prefix: Prefix, device: torch.device) -> Forward:
    return lambda chunks: (extract_activations(images, prefix, device, c) for c in chunks)


@torch.inference_mode()
def _probe(network: nn.Module, backbone: Backbone, image_size: int) -> Tensor:
    """What the network makes of one black image, on its device: [1, ...]."""
    device = next(network.parameters()).device
    image = torch.zeros(1, 3, image_size, image_size, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    return run_unconverted(network.eval(), image, backbone.precision)


def _gather(tables: Sequence[np.ndarray], views: np.ndarray) -> np.ndarray:
    """Rows of tables of N rows each, as if one followed the other."""
    rows, half = views % len(tables[0]), views // len(tables[0])
    if not half.any():
        found: np.ndarray = tables[0][rows]
        return found
    out = np.empty((len(views), *tables[0].shape[1:]), np.result_type(*tables))
    for number, table in enumerate(tables):
        out[half == number] = table[rows[half == number]]
    return out
