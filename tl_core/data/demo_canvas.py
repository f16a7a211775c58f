"""The pen of the demo: an animal's colours, and shapes in a frame of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

COATS: tuple[tuple[Colour, Colour, Colour], ...] = (
    ((226, 150, 72), (250, 226, 190), (124, 82, 40)),
    ((142, 144, 152), (232, 232, 236), (78, 80, 84)),
    ((62, 60, 68), (206, 200, 198), (118, 114, 126)),
    ((134, 92, 62), (224, 190, 152), (74, 50, 34)),
    ((232, 208, 168), (252, 244, 228), (134, 114, 92)),
    ((240, 238, 232), (255, 252, 246), (132, 130, 126)),
    ((98, 70, 58), (190, 150, 118), (176, 132, 106)),
    ((190, 128, 92), (244, 222, 200), (104, 70, 50)),
)
"""Main colour, light patches, and outline and stripes, which are paler on dark coats."""
IRISES: tuple[Colour, ...] = ((222, 176, 60), (120, 168, 84), (98, 158, 206), (140, 92, 54))


@dataclass(frozen=True)
class Pen:
    """Draws with one animal's colours in its own frame, y down; `frame` maps it to pixels."""

    canvas: ImageDraw.ImageDraw
    rng: np.random.Generator
    frame: NDArray[np.float64]
    coat: Colour
    light: Colour
    shade: Colour
    iris: Colour
    marks: str = "plain"

    @classmethod
    def dipped(cls, canvas: ImageDraw.ImageDraw, rng: np.random.Generator, side: int) -> Self:
        """A pen in one of the coats, whose frame is the whole picture, `side` pixels square."""
        coat, light, shade = (tinted(rng, c, 16) for c in COATS[rng.integers(len(COATS))])
        frame, iris = np.diag([side, side, 1.0]), IRISES[rng.integers(len(IRISES))]
        return cls(canvas, rng, frame, coat, light, shade, iris)

    def moved(self, x: float, y: float, scale: Point = (1, 1), degrees: float = 0) -> Self:
        """The same colours in a frame within this one."""
        cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        step = np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1]]) @ np.diag([*scale, 1])
        return replace(self, frame=self.frame @ step)

    def halves(self) -> tuple[Self, Self]:
        """This pen and its mirror image."""
        return self, self.moved(0, 0, (-1, 1))

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """Draw a line with round ends; `width` is in lengths of the frame."""
        placed = np.asarray(points) @ self.frame[:2, :2].T + self.frame[:2, 2]
        thick = max(1, round(width * float(np.hypot(*self.frame[:2, 0]))))
        self.canvas.line(placed.ravel().tolist(), fill, thick, joint="curve")
        for x, y in placed[[0, -1]].tolist() if thick > 2 else ():
            self.canvas.circle((x, y), thick / 2, fill)

    def shape(self, points: Sequence[Point], fill: Colour, edge: Colour | None = None) -> None:
        """Fill a polygon and draw its edge."""
        placed = np.asarray(points) @ self.frame[:2, :2].T + self.frame[:2, 2]
        self.canvas.polygon(placed.ravel().tolist(), fill)
        if edge:
            self.line([*points, points[0]], edge, 0.06)

    def oval(
        self, at: Point, radii: Point, fill: Colour, edge: Colour | None = None, corners: int = 32
    ) -> None:
        """Fill an ellipse, or a regular polygon of few corners."""
        turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        x, y = at[0] + radii[0] * np.cos(turn), at[1] + radii[1] * np.sin(turn)
        self.shape(list(zip(x.tolist(), y.tolist(), strict=True)), fill, edge)


def tinted(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """A colour whose channels each differ by up to `spread`."""
    channels = np.add(colour, rng.uniform(-spread, spread, 3))
    r, g, b = (int(c) for c in channels.clip(0, 255))
    return r, g, b
