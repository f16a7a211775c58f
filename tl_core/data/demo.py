"""Drawn cats and dogs: a data set that needs no download.

Coat, eyes, pose, place, backdrop and exposure have one distribution for both species, so colour
and brightness say nothing about the class. Ears, muzzle, whiskers, tail and marks differ.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tl_core.data.demo_canvas import Colour, Pen, Point, tinted

CLASSES: tuple[str, str] = ("cat", "dog")
N_IMAGES = 600
DRAWING = "9f91aff100f9f3d55509704b6337a95f09c74753c749d91cfbae3c3f980a87fa"
"""Identifies the drawings in caches and studies; change it when the drawings change."""

INK: Colour = (34, 28, 30)
PINK: Colour = (232, 142, 146)
GREY: Colour = (150, 148, 144)


def draw(index: int, size: int) -> Image.Image:
    """RGB drawing number `index`, `size` pixels square; even indices are cats, odd ones dogs.

    The same index and size give the same bytes; another size shows the same scene.
    """
    rng = np.random.default_rng([0, index])
    image = _backdrop(rng, 2 * size)
    pen = Pen.dipped(ImageDraw.Draw(image), rng, 2 * size)
    _draw_scraps(pen, int(rng.choice([0, 10])), 0.13)
    _draw_animal(pen, CLASSES[index % 2])
    _draw_scraps(pen, int(rng.integers(0, 7)), 0.06)
    return _photograph(rng, image.reduce(2))


def _draw_animal(pen: Pen, species: str) -> None:
    rng = pen.rng
    body, (x, y), tail, scales = _POSES[rng.integers(len(_POSES))]
    scale, flip, at = rng.uniform(*scales), rng.choice([-1, 1]), rng.uniform(0.4, 0.6, 2)
    own = pen.moved(at[0], at[1], (flip * scale, scale), rng.uniform(-18, 18)).moved(-x, -y)
    own = replace(own, marks=str(rng.choice(["stripes", "spots", "plain"], p=_MARKS[species])))
    _draw_tail(own.moved(*tail), species)
    body(own)
    _HEADS[species](own.moved(0, 0, (rng.uniform(0.88, 1.12), 1), rng.uniform(-16, 16)))


def _sitting(pen: Pen) -> None:
    for half in pen.halves():
        half.oval((0.72, 2.55), (0.5, 0.6), pen.coat, pen.shade)
    _draw_torso(pen, (0, 1.8), (0.85, 1.3))
    pen.oval((0, 1.55), (0.45, 0.7), pen.light)
    for half in pen.halves():
        _draw_leg(half, (0.34, 2.0), (0.36, 3.0))


def _standing(pen: Pen) -> None:
    stride = pen.rng.uniform(-0.3, 0.3)
    for x in (1.25, 2.85):
        _draw_leg(pen, (x, 1.5), (x - stride, 2.65))
    _draw_torso(pen, (1.8, 1.05), (1.6, 0.78))
    for x in (0.8, 2.45):
        _draw_leg(pen, (x, 1.5), (x + stride, 2.75))


def _lying(pen: Pen) -> None:
    _draw_torso(pen, (0.75, 1.2), (1.7, 0.85))
    pen.oval((1.7, 1.55), (0.65, 0.5), pen.coat, pen.shade)
    for x in (-0.6, 0.25):
        pen.oval((x, 1.95), (0.42, 0.22), pen.light, pen.shade)


def _draw_leg(pen: Pen, top: Point, foot: Point) -> None:
    pen.line([top, foot], pen.shade, 0.52)
    pen.line([top, foot], pen.coat, 0.42)
    pen.oval((foot[0] - 0.08, foot[1] + 0.1), (0.33, 0.2), pen.light, pen.shade)


def _draw_torso(pen: Pen, at: Point, radii: Point) -> None:
    pen.oval(at, radii, pen.coat, pen.shade)
    unit = pen.moved(*at, scale=radii)
    if pen.marks == "stripes":
        for x in np.linspace(-0.7, 0.7, 6):
            y = -0.97 * np.sqrt(1 - x**2)
            unit.line([(x, y), (x + 0.08, y + 0.3), (x + 0.04, y + 0.55)], pen.shade, 0.08)
    if pen.marks == "spots":
        for x, y, width in pen.rng.uniform(-0.5, 0.5, (4, 3)):
            unit.oval((x, y), (0.2 + width / 5, 0.2), pen.light)


def _draw_tail(pen: Pen, species: str) -> None:
    curl, width = (pen.rng.uniform(1.2, 1.7), 0.2) if species == "cat" else (0.5, 0.42)
    turn = np.linspace(0, np.pi * curl, 24)
    reach = pen.rng.uniform(0.5, 0.75)
    x, y = reach * (0.9 * np.sqrt(turn) + 0.6 * np.sin(turn)), -0.5 * reach * turn
    for fill, thick in ((pen.shade, width + 0.12), (pen.coat, width)):
        pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill, thick)


def _cat_head(pen: Pen) -> None:
    spread = pen.rng.uniform(-14, 14)
    for half in pen.halves():
        ear = half.moved(0.55, -0.55, degrees=spread)
        ear.shape([(-0.42, 0), (0.18, -0.95), (0.45, 0.25)], pen.coat, pen.shade)
        ear.shape([(-0.18, -0.1), (0.14, -0.68), (0.28, 0.05)], PINK)
    pen.oval((0, 0), (1.02, 0.86), pen.coat, pen.shade)
    for x in (-0.25, 0, 0.25) if pen.marks == "stripes" else ():
        pen.line([(x, -0.78), (x * 0.8, -0.45)], pen.shade, 0.1)
    face = _draw_eyes(pen, (0.42, -0.08), (0.21, 0.19), pen.rng.choice([0.06, 0.12]))
    for half in face.halves():
        half.oval((0.17, 0.4), (0.22, 0.17), pen.light)
        for y in (0.12, 0.4, 0.66):
            half.line([(0.3, 0.38), (1.25, y)], pen.shade, 0.03)
        half.line([(0, 0.36), (0.1, 0.54), (0.22, 0.5)], INK, 0.04)
    face.shape([(-0.12, 0.22), (0.12, 0.22), (0, 0.36)], PINK if pen.rng.random() < 0.5 else INK)


def _dog_head(pen: Pen) -> None:
    ear = _DOG_EARS[pen.rng.choice(len(_DOG_EARS), p=(0.5, 0.25, 0.25))]
    pen.oval((0, 0), (0.88, 0.94), pen.coat, pen.shade)
    if pen.marks == "spots":
        pen.oval((0.38, -0.2), (0.36, 0.42), pen.light)
    for half in pen.halves():
        half.moved(0.6, -0.6).shape(ear, pen.coat, pen.shade)
    face = _draw_eyes(pen, (0.36, -0.18), (0.17, 0.18), 0.12)
    length = pen.rng.uniform(0.4, 0.58)
    if pen.rng.random() < 0.4:
        face.oval((0.05, 0.5 + length * 0.8), (0.17, 0.3), PINK, INK)
    face.oval((0, 0.5), (0.48, length), pen.light, pen.shade)
    for half in face.halves():
        half.line([(0, 0.4), (0, 0.62), (0.12, 0.7), (0.3, 0.6)], INK, 0.05)
    face.oval((0, 0.28), (0.22, 0.16), INK)


def _draw_eyes(pen: Pen, at: Point, radii: Point, pupil: float) -> Pen:
    """Draw eyes that look in a random direction; return the frame of the face, shifted that way."""
    face = pen.moved(pen.rng.uniform(-0.16, 0.16), pen.rng.uniform(-0.06, 0.1))
    for half in face.halves():
        eye = half.moved(*at, degrees=-12)
        eye.oval((0, 0), radii, pen.iris, INK)
        eye.oval((0, 0), (pupil, radii[1] * 0.75), INK)
        eye.oval((0.05, -0.07), (0.045, 0.045), (255, 255, 255))
    return face


def _backdrop(rng: np.random.Generator, side: int) -> Image.Image:
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    turn = rng.uniform(0, 2 * np.pi)
    blend = 0.5 + (x * np.cos(turn) + y * np.sin(turn)) / 3
    kind = rng.choice(["gradient", "stripes", "noise"])
    if kind == "stripes":
        blend = (0.5 + 2 * np.sin(blend * rng.uniform(15, 60))).clip(0, 1)
    if kind == "noise":
        blend = rng.random((cells := int(rng.integers(4, 40)), cells))
    ends = np.asarray([tinted(rng, GREY, 80), tinted(rng, GREY, 80)])
    grid = np.stack([1 - blend, blend], axis=-1) @ ends
    return Image.fromarray(grid.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


def _draw_scraps(pen: Pen, count: int, reach: float) -> None:
    for x, y, angle, size in pen.rng.random((count, 4)):
        here = pen.moved(x, y, (reach * (0.4 + size), reach * 0.6), 360 * angle)
        here.oval((0, 0), (1, 1), tinted(pen.rng, GREY, 80), corners=pen.rng.choice([3, 4, 32]))


def _photograph(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    blurred = image.filter(ImageFilter.GaussianBlur(image.width * rng.uniform(0, 0.0105)))
    gain = float(np.exp(rng.uniform(np.log(0.4), np.log(1.2))))
    return blurred.point([min(255, round(gain * level)) for level in range(256)] * 3)


_Part = Callable[[Pen], None]
_MARKS = {"cat": (0.5, 0.2, 0.3), "dog": (0.15, 0.45, 0.4)}
"""Probabilities of stripes, spots and a plain coat."""
_HEADS: dict[str, _Part] = {"cat": _cat_head, "dog": _dog_head}
_POSES: tuple[tuple[_Part, Point, Point, Point], ...] = (
    (_sitting, (0, 0.15), (0.75, 2.8), (0.24, 0.36)),
    (_sitting, (0, 1.0), (0.75, 2.8), (0.14, 0.2)),
    (_standing, (1.4, 0.8), (3.1, 0.9), (0.135, 0.19)),
    (_lying, (0.7, 0.4), (2.1, 1.5), (0.15, 0.22)),
)
"""Body, its middle and the tail's root in radii of the head; the radius as a share of the side."""
_DOG_EARS: tuple[list[Point], ...] = (
    [(-0.2, -0.15), (0.25, -0.05), (0.55, 0.7), (0.35, 1.15), (0.1, 0.95), (0.05, 0.4)],
    [(-0.3, 0.0), (0.1, -0.55), (0.6, -0.3), (0.75, 0.15), (0.3, -0.05), (0.25, 0.3)],
    [(-0.3, -0.1), (-0.05, -0.7), (0.15, -0.85), (0.3, -0.6), (0.28, 0.2)],
)
