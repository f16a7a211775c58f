"""Pictures of more than 8 bits a channel: their levels, and the range that becomes 0 to 255.

16 bits often hold fewer: those of 12-bit sensors end at 4,095, and a sixteenth of all grey levels
would be left of them. So the range is that of the whole data set, and a model keeps it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Depth = Literal["12-bit grey", "16-bit grey", "16-bit colour", "32-bit grey", "fractions"]
_FULL: dict[Depth, tuple[float, float]] = {
    "12-bit grey": (0, 4095),
    "16-bit grey": (0, 65535),
    "16-bit colour": (0, 65535),
}
"""Black and white of the kinds that have an agreed white."""
_WHITES = (1, 255, 65535, 2**32 - 1)
"""White of kinds without one: the smallest that is not below the largest value."""


class Levels(NamedTuple):
    """Which stored values become black (0) and white (255); those beyond are clipped."""

    black: float
    white: float


Scales = Mapping[Depth, Levels]
"""For each kind of deep picture."""


@dataclass(frozen=True)
class Deep:
    """A picture of more than 8 bits a channel, with the levels that are stored."""

    depth: Depth
    values: NDArray[np.number]
    """[H, W], or [H, W, 3]."""
    alpha: NDArray[np.uint8] | None = None
    """[H, W], 255 where it is opaque; None if it is opaque everywhere."""
    turn: Image.Transpose | None = None
    """What puts it upright."""

    def __post_init__(self) -> None:
        if self.values.dtype.kind == "f" and not np.isfinite(self.values).all():
            raise ValueError("the picture holds values that are not finite")

    @property
    def range(self) -> Levels:
        """Its smallest and its largest value."""
        return Levels(self.values.min().item(), self.values.max().item())

    def to_rgb(self, scales: Scales) -> Image.Image:
        """Scale it to 8 bits, upright and on white.

        A kind that `scales` lacks has `default_levels`.
        """
        rgb = Image.fromarray(self._scaled(scales), "L" if self.values.ndim == 2 else "RGB")
        rgb = rgb.convert("RGB")
        if self.alpha is not None:
            rgb.putalpha(Image.fromarray(self.alpha))
            white = Image.new("RGBA", rgb.size, "white")
            rgb = Image.alpha_composite(white, rgb).convert("RGB")
        return rgb if self.turn is None else rgb.transpose(self.turn)

    def _scaled(self, scales: Scales) -> NDArray[np.uint8]:
        black, white = scales.get(self.depth) or default_levels(self.depth, self.range.white)
        if self.depth == "16-bit colour" and (black, white) == full_range(self.depth):
            return (self.values.astype(np.uint16) >> 8).astype(np.uint8)  # As other programs do.
        above = self.values.astype(np.float64) - black
        return np.clip(above * (255 / (white - black)), 0, 255).astype(np.uint8)


def full_range(depth: Depth) -> Levels | None:
    """Black and white of a kind that has an agreed white; None for 32 bits and fractions."""
    return Levels(*_FULL[depth]) if depth in _FULL else None


def default_levels(depth: Depth, highest: float) -> Levels:
    """Return the levels of a picture whose kind is not known from training.

    They are the full range or, without one, black is 0 and white follows from the picture's highest
    value.
    """
    return full_range(depth) or Levels(0, next((top for top in _WHITES if highest <= top), highest))


def fit_scales(ranges: Iterable[tuple[Depth, Levels]]) -> dict[Depth, Levels]:
    """Return the levels of each kind, from the range of each picture."""
    found: dict[Depth, list[Levels]] = {}
    for depth, levels in ranges:
        found.setdefault(depth, []).append(levels)
    return {depth: fit_levels(found[depth]) for depth in sorted(found)}


def fit_levels(ranges: Iterable[Levels]) -> Levels:
    """Return black and white for pictures of these ranges.

    Black is 0. White is the largest value of as many bits as the largest one needs, at least 8, so
    that other pictures of the same sensor fit; for fractions it is 1, 255, 65,535 or 2^32 - 1. If
    there are negative values, or less than a quarter of this range is used, black is the smallest
    value and white is the largest.
    """
    lows, highs = zip(*ranges, strict=True)
    low, high = min(lows), max(highs)
    if isinstance(high, int):
        white: float = 2 ** max(8, high.bit_length()) - 1
    else:
        white = next((top for top in _WHITES if high <= top), high)
    if low < high and (low < 0 or high - low < white / 4):
        return Levels(low, high)
    return Levels(0, white)
