"""Augmentation of training batches on the device of the pixels: random crops or TrivialAugment.

Only (seed, step) and a picture's place in the batch decide what is drawn for it. The draws are
made on the CPU, so they are the same on all devices and in all modes of a seed.
"""

import numpy as np
import torch
from torch import Tensor

from tl_core.config import Augment
from tl_core.device import upload
from tl_core.inputs.image_ops import warp
from tl_core.inputs.readers import Augmenter, DrawnAugmenter
from tl_core.inputs.trivial_augment import apply_ops, draw_ops

AREA, ASPECT = (0.35, 1.0), (3 / 4, 4 / 3)
"""Ranges of the share of a picture that a crop keeps, and of its width over its height.

The aspects are those of torchvision. Its area, from 0.08, suits long training on ImageNet. With
few images and few epochs a crop must still show what the label says: 0.35 is fastai's value for
small sets and short training (`nbs/examples/train_imagenette.py`)."""
_TRIES = 10
"""Boxes that are drawn for a crop until one fits; then it is the whole picture, as in torchvision.
"""


def make_augment(kind: Augment, seed: int) -> Augmenter | None:
    """Return what augments the training batches of a seed; None for `none` and `flip`.

    `flip` needs no pixels of its own: it is a matter of views (`epoch_order`). With `crop` and
    `trivial` no view may be a mirrored one, because they mirror one half themselves.

    Returns:
        What is called with uint8 pixels [B, 3, S, S] and the step's number, from 0 and counted over
        all epochs. It returns new pixels, uint8 as well, and their own mean brightness, float32
        [B] in 0..1, which is the target of the brightness head.
    """
    if kind not in ("crop", "trivial"):
        return None

    def rng(step: int) -> np.random.Generator:
        return np.random.default_rng([seed, 4, step])

    if kind == "trivial":
        return lambda pixels, step: _lit(trivial_augment(pixels, rng(step)))

    def draw(n: int, step: int, side: int) -> np.ndarray:
        return crop_maps(*draw_boxes(rng(step), n), side)

    return DrawnAugmenter(draw, lambda pixels, maps: _lit(show_boxes(pixels, maps)))


def _lit(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels and their brightness."""
    return pixels, pixels.flatten(1).float().mean(dim=1) / 255


def show_boxes(pixels: Tensor, maps: Tensor) -> Tensor:
    """Zoom into a box of each picture, by the maps of `crop_maps`.

    As torchvision's `RandomResizedCrop` (Szegedy et al., CVPR 2015) and `RandomHorizontalFlip`,
    except for `AREA`, and that boxes begin and end anywhere, not only between two pixels.
    """
    # Every crop enlarges, so bilinear sampling needs no smoothing.
    return warp(pixels, maps, fill=None)


def trivial_augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror one half; then change each picture by one operation of TrivialAugment Wide."""
    mirrored, op, magnitude = draw_ops(rng, len(pixels))
    n = len(pixels)
    both = torch.cat([pixels, pixels.flip(-1)])  # Eight times as fast as torch.where.
    views = upload(np.arange(n) + n * mirrored, pixels.device)
    return apply_ops(both.index_select(0, views), op, magnitude)


def draw_boxes(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw boxes [n, 4], and which are mirrored, bool [n].

    A box is its left and upper edge, width and height, as shares of the side of the picture.
    """
    # A row of draws for each picture, so that it does not matter how many follow.
    draws = rng.random((n, 2 * _TRIES + 3))
    area = AREA[0] + (AREA[1] - AREA[0]) * draws[:, :_TRIES]
    low, high = np.log(ASPECT)
    aspect = np.exp(low + (high - low) * draws[:, _TRIES : 2 * _TRIES])
    sizes = np.sqrt(np.stack([area * aspect, area / aspect], axis=-1))  # [n, tries, 2]
    fits = (sizes <= 1).all(axis=-1)
    size = sizes[np.arange(n), fits.argmax(axis=1)]
    size[~fits.any(axis=1)] = 1
    corner = draws[:, -3:-1] * (1 - size)
    return np.concatenate([corner, size], axis=1), draws[:, -1] < 0.5


def crop_maps(boxes: np.ndarray, mirrored: np.ndarray, side: int) -> np.ndarray:
    """Return the maps, float32 [n, 2, 3], by which `warp` shows these boxes."""
    corner, size = boxes[:, :2], boxes[:, 2:]
    maps = np.zeros((len(boxes), 2, 3), np.float32)
    maps[:, :, 2] = (corner + size / 2 - 0.5) * side
    maps[:, 0, 0] = np.where(mirrored, -size[:, 0], size[:, 0])
    maps[:, 1, 1] = size[:, 1]
    return maps
