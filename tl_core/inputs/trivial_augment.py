"""TrivialAugment Wide (Müller and Hutter, ICCV 2021): one random operation for each picture.

Operations, magnitudes and signs are uniform. They are those of the paper's wide space, as in
torchvision's `TrivialAugmentWide`, apart from the fill: what comes into view from outside is
`PAD_GREY`, as in NVIDIA's DALI, and not black, which would also darken the picture.
"""

import numpy as np
import torch
from torch import Tensor

from tl_core.config import PAD_GREY
from tl_core.device import upload
from tl_core.inputs import image_ops as ops

LEVELS = 31
"""Number of magnitudes of an operation, from none to the strongest."""
GEOMETRIC: dict[str, ops.Map] = {
    "shear_x": ops.shear_x,
    "shear_y": ops.shear_y,
    "translate_x": ops.translate_x,
    "translate_y": ops.translate_y,
    "rotate": ops.rotate,
}
COLOUR: dict[str, ops.ColourOp] = {
    "brightness": ops.brightness,
    "color": ops.color,
    "contrast": ops.contrast,
    "sharpness": ops.sharpness,
    "posterize": ops.posterize,
    "solarize": ops.solarize,
    "autocontrast": ops.autocontrast,
    "equalize": ops.equalize,
}
NAMES = ("identity", *GEOMETRIC, *COLOUR)


def _levels(weakest: float, strongest: float) -> np.ndarray:
    # By torch, because its rounding decides which pixels `solarize` inverts.
    values: np.ndarray = torch.linspace(weakest, strongest, LEVELS).double().numpy()
    return values


_SIGNS = np.array([[1], [-1]])
_FACTORS = 1 + _SIGNS * _levels(0, 0.99)
MAGNITUDES: dict[str, np.ndarray] = {
    "shear_x": _SIGNS * _levels(0, 0.99),
    "shear_y": _SIGNS * _levels(0, 0.99),
    "translate_x": _SIGNS * np.trunc(_levels(0, 32)),  # Pixels, whatever the size of the picture.
    "translate_y": _SIGNS * np.trunc(_levels(0, 32)),
    "rotate": _SIGNS * _levels(0, 135),  # Degrees.
    "brightness": _FACTORS,
    "color": _FACTORS,
    "contrast": _FACTORS,
    "sharpness": _FACTORS,
    "posterize": (8 - _levels(0, 6)).round(),  # Bits.
    "solarize": 255 * _levels(1, 0),
}
"""What each operation gets, [2, LEVELS] by sign and level, or [LEVELS] if it has no sign."""
_TABLE = np.stack([np.broadcast_to(MAGNITUDES.get(name, 0.0), (2, LEVELS)) for name in NAMES])


def draw_ops(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw which pictures are mirrored, bool [n], their operations and the magnitudes of these.

    Operations are int64 [n], indices into `NAMES`.
    """
    # A row of draws for each picture, so that it does not matter how many follow.
    mirrored, op, level, sign = (rng.random((n, 4)) * (2, len(NAMES), LEVELS, 2)).astype(int).T
    return mirrored == 1, op, _TABLE[op, sign, level]


def apply_ops(pixels: Tensor, op: np.ndarray, magnitude: np.ndarray) -> Tensor:
    """Change each picture, of uint8 [n, 3, S, S], by its operation.

    Args:
        pixels: the pictures; they are not changed in place.
        op: int64 [n], indices into `NAMES`.
        magnitude: float [n].
    """
    # Sorted by operation, so that each one gets a slice, which costs nothing.
    order = np.argsort(op, kind="stable")
    op, magnitude = op[order], magnitude[order]
    pictures = pixels.index_select(0, upload(order, pixels.device))
    starts = np.searchsorted(op, np.arange(len(NAMES) + 1)).tolist()
    first_colour = 1 + len(GEOMETRIC)
    moved = slice(starts[1], starts[first_colour])
    parts = [pictures[: starts[1]], _move(pictures[moved], op[moved], magnitude[moved])]
    strength = upload(magnitude.astype(np.float32), pixels.device).view(-1, 1, 1, 1)
    for number, change in enumerate(COLOUR.values(), start=first_colour):
        rows = slice(starts[number], starts[number + 1])
        if rows.start < rows.stop:
            parts.append(change(pictures[rows], strength[rows]))
    return torch.cat(parts).index_select(0, upload(np.argsort(order), pixels.device))


def _move(pixels: Tensor, op: np.ndarray, magnitude: np.ndarray) -> Tensor:
    """Apply all geometric operations in one go."""
    if not len(pixels):
        return pixels
    maps = np.empty((len(pixels), 2, 3), np.float32)
    for number, to_maps in enumerate(GEOMETRIC.values(), start=1):
        rows = op == number
        maps[rows] = to_maps(magnitude[rows], pixels.shape[-1])
    return ops.warp(pixels, upload(maps, pixels.device), fill=PAD_GREY)
