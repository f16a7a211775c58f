"""Operations on whole batches of pictures: each picture has a magnitude, or a map, of its own.

Pictures are uint8 [n, 3, S, S] on any device, and so are the results. The formulas are those of
torchvision.transforms.v2 for uint8, which follow Pillow; a level differs by one at most. Only
where a moved picture ends does it differ more: torchvision weights the picture twice there.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tl_core.device import is_gpu

ColourOp = Callable[[Tensor, Tensor], Tensor]
"""(pictures [n, 3, S, S], magnitudes float32 [n, 1, 1, 1]) -> pictures."""
Map = Callable[[np.ndarray, int], np.ndarray]
"""(magnitudes [n], side S) -> maps [n, 2, 3], as `warp` takes them."""

_PIECE = 2**19
"""Values that a CPU warps at once: more would not fit its caches, and take up to three times as
long."""
_LUMA = (0.2989, 0.587, 0.114)
"""ITU-R 601, as torchvision rounds it."""


def warp(pixels: Tensor, maps: Tensor, fill: int | None) -> Tensor:
    """Sample each picture bilinearly at an affine map of the coordinates.

    Args:
        pixels: the pictures.
        maps: float32 [n, 2, 3], from (x, y, 1) in the result to (x, y) in the picture; both in
            pixels from the centre, x to the right and y down.
        fill: level outside the picture; None continues the pixels at its edge.
    """
    size = max(1, _PIECE // pixels[0].numel()) if not is_gpu(pixels.device) else len(pixels)
    pieces = zip(torch.split(pixels, size), torch.split(maps, size), strict=True)
    return torch.cat([_warp(piece, its_maps, fill) for piece, its_maps in pieces])


def _warp(pixels: Tensor, maps: Tensor, fill: int | None) -> Tensor:
    side = pixels.shape[-1]
    along = torch.arange(side, dtype=torch.float32, device=pixels.device) - (side - 1) / 2
    # [n, 2, 1] each; grid_sample has the edges of the picture at -1 and 1.
    by_x, by_y, shift = torch.split(maps * (2 / side), 1, dim=2)
    # [n, 2, S, S] from a row and a column; affine_grid multiplies matrices, 30 times as slowly.
    grid = by_x[..., None] * along + (by_y[..., None] * along.view(side, 1) + shift[..., None])
    # grid_sample fills with zeros, so the fill is the zero of what it samples.
    zero = fill or 0
    sampled = F.grid_sample(
        pixels.float().sub_(zero),
        grid.permute(0, 2, 3, 1),
        padding_mode="border" if fill is None else "zeros",
        align_corners=False,
    )
    return sampled.add_(zero).round_().to(torch.uint8)


def shear_x(magnitude: np.ndarray, side: int) -> np.ndarray:
    """Shift each row by `magnitude` times its distance from the upper edge."""
    return _maps(magnitude, (1, magnitude, magnitude * side / 2), (0, 1, 0))


def shear_y(magnitude: np.ndarray, side: int) -> np.ndarray:
    """Shift each column by `magnitude` times its distance from the left edge."""
    return _maps(magnitude, (1, 0, 0), (magnitude, 1, magnitude * side / 2))


def translate_x(pixels: np.ndarray, side: int) -> np.ndarray:
    """Move to the right."""
    return _maps(pixels, (1, 0, -pixels), (0, 1, 0))


def translate_y(pixels: np.ndarray, side: int) -> np.ndarray:
    """Move down."""
    return _maps(pixels, (1, 0, 0), (0, 1, -pixels))


def rotate(degrees: np.ndarray, side: int) -> np.ndarray:
    """Turn counter-clockwise about the centre."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return _maps(degrees, (cos, -sin, 0), (sin, cos, 0))


def brightness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Multiply by a factor: 0 is black, 1 changes nothing."""
    return _look_up(pixels, _levels(pixels) * factor[..., 0])


def contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    """Move away from the mean grey of the picture: 0 is all of that grey, 1 changes nothing."""
    mean = _grey(pixels).mean(dim=(1, 2, 3), dtype=torch.float64).float().view(-1, 1, 1)
    factor = factor[..., 0]
    return _look_up(pixels, _levels(pixels) * factor + mean * (1 - factor))


def color(pixels: Tensor, factor: Tensor) -> Tensor:
    """Move away from the grey of each pixel: 0 has no colour, 1 changes nothing."""
    blended = _grey(pixels) * (1 - factor) + pixels * factor
    return blended.clamp_(0, 255).to(torch.uint8)


def sharpness(pixels: Tensor, factor: Tensor) -> Tensor:
    """Move away from a blurred picture: 0 is blurred, 1 changes nothing; the outer pixels stay."""
    levels = pixels.float()
    inner = levels[..., 1:-1, 1:-1]
    rows = levels[..., :-2] + levels[..., 1:-1] + levels[..., 2:]
    around = rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]
    # Weights 1 and, in the middle, 5.
    blurred = around.add_(inner, alpha=4).div_(13).round_()
    inner.copy_(torch.lerp(blurred, inner, factor))
    return levels.clamp_(0, 255).to(torch.uint8)


def posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    """Keep the upper `bits` bits of each level."""
    step = torch.exp2(8 - bits[..., 0])
    return _look_up(pixels, (_levels(pixels) / step).floor() * step)


def solarize(pixels: Tensor, threshold: Tensor) -> Tensor:
    """Invert the levels from `threshold` on."""
    levels = _levels(pixels)
    return _look_up(pixels, torch.where(levels >= threshold[..., 0], 255 - levels, levels))


def autocontrast(pixels: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to 0..255; a channel of one level stays."""
    flat = pixels.flatten(2)
    low, high = (edge.unsqueeze(2).float() for edge in (flat.amin(dim=2), flat.amax(dim=2)))
    levels, spread = _levels(pixels), high - low
    stretched = (levels - low) * 255 / spread.clamp(min=1)
    return _look_up(pixels, torch.where(spread == 0, levels, stretched))


def equalize(pixels: Tensor, _: Tensor) -> Tensor:
    """Make the levels of each channel about equally frequent, as Pillow's `ImageOps.equalize`."""
    at = pixels.flatten(2).long()
    counts = torch.zeros(*at.shape[:2], 256, dtype=torch.int64, device=at.device)
    counts.scatter_add_(2, at, torch.ones_like(at))
    up_to = counts.cumsum(dim=2)
    brightest = counts.gather(2, up_to.argmax(dim=2, keepdim=True))
    step = (at.shape[2] - brightest) // 255
    spread = (up_to - counts + step // 2) // step.clamp(min=1)
    return _look_up(pixels, torch.where(step == 0, _levels(pixels), spread))


def _maps(
    magnitude: np.ndarray, *rows: tuple[np.ndarray | float, np.ndarray | float, np.ndarray | float]
) -> np.ndarray:
    """Two rows of numbers and of [n] -> [n, 2, 3]."""
    columns = [np.broadcast_to(value, magnitude.shape) for row in rows for value in row]
    return np.stack(columns, axis=1).reshape(-1, 2, 3)


def _levels(pixels: Tensor) -> Tensor:
    return torch.arange(256, dtype=torch.float32, device=pixels.device)


def _look_up(pixels: Tensor, table: Tensor) -> Tensor:
    """Replace each level by that of a table, [n, 1 or 3, 256]; it is clipped and rounded down."""
    levels = table.clamp(0, 255).to(torch.uint8).expand(len(pixels), 3, 256)
    return levels.gather(2, pixels.flatten(2).long()).view_as(pixels)


def _grey(pixels: Tensor) -> Tensor:
    """[n, 1, S, S], whole levels as float32."""
    red, green, blue = (pixels[:, i : i + 1] * weight for i, weight in enumerate(_LUMA))
    return red.add_(green).add_(blue).floor_()
