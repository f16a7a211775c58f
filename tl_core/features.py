"""FeatureSet: what a frozen backbone says of every image, computed once and cached by content."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from tl_core.backbones import Backbone
from tl_core.batches import eval_batch, eval_batches, pixel_reader
from tl_core.datasets import ImageSet, publish
from tl_core.progress import track


def load_features(
    images: ImageSet, backbone: Backbone, cache: Path, device: torch.device
) -> np.ndarray:
    """Attach the features of all N images, running the backbone over them first if need be.

    The backbone runs in eval mode, so BatchNorm uses its stored statistics.

    Returns:
        float32 [N, D], memory-mapped: workers share the pages, writes would stay private.
    """
    entry = cache / "features" / _key(images, backbone)
    publish(entry, lambda into: _extract(images, backbone, device, into / "features.npy"))
    features: np.ndarray = np.load(entry / "features.npy", mmap_mode="c")
    return features


def _key(images: ImageSet, backbone: Backbone) -> str:
    about = f"{images.key} {backbone.name} {backbone.weights_id} {backbone.mean} {backbone.std}"
    return hashlib.sha256(about.encode()).hexdigest()[:24]


def _extract(images: ImageSet, backbone: Backbone, device: torch.device, into: Path) -> None:
    n = len(images.labels)
    features = np.lib.format.open_memmap(into, "w+", np.float32, (n, backbone.n_features))
    batches = eval_batches(np.arange(n), eval_batch(device, images.image_size))
    rows = zip(batches, _forward(batches, images, backbone, device), strict=True)
    for batch, row in track(rows, n, f"Features of {backbone.name}", weight=len(batches[0])):
        features[batch] = row
    features.flush()


def _forward(
    batches: list[np.ndarray], images: ImageSet, backbone: Backbone, device: torch.device
) -> Iterator[np.ndarray]:
    network = backbone.network.to(device).to(memory_format=torch.channels_last).eval()
    read = pixel_reader(images, backbone, device)
    for batch in batches:
        with torch.inference_mode():
            rows = network(read(batch)).float().cpu().numpy()
        yield rows
