"""An auxiliary task that helps, and one that hurts: two made data sets, and what a study says.

`python -m benchmarks.findings.auxiliary FOLDER` draws stripes on a ground that gets lighter to one
side. Both data sets have the same images and the same auxiliary label, the slant of the stripes, a
number that is known for all of them.

- `slant.csv`: the class is the side to which the stripes lean, which follows from their slant. Few
  class labels and many slants teach more than few class labels, so the task must help.
- `light.csv`: the class is the side that is lighter. It is easy, the slant has nothing to do with
  it, and at weight 0.9 a small network learns the slant first, so the task must hurt.

For each it runs a study, and prints its answer on the auxiliary task.
"""

import argparse
import csv
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, IMAGES = 32, 1000
_CONTRAST, _NOISE, _LIGHT = 0.125, 0.125, 0.2
"""Amplitude of the stripes, standard deviation of the noise, and difference of the light from one
edge to the other at most; black is 0, white is 1."""
RATIOS = {"slant": 0.05, "light": 0.1}
"""The data sets, and the share of images that keep their class label."""


@dataclass(frozen=True)
class Stripes:
    """One image."""

    pixels: np.ndarray
    """uint8 [SIDE, SIDE]."""
    slant: float
    """Sine of twice the angle of the stripes: -1 to 1, positive where they lean to the right."""
    light: float
    """-1 to 1, positive where the right side is lighter."""


def draw(rng: np.random.Generator) -> Stripes:
    """Draw one image."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    waves, light = rng.uniform(3, 5), rng.uniform(-1, 1)
    along = x * np.cos(angle) + y * np.sin(angle)
    stripes = _CONTRAST * np.sin(2 * np.pi * waves * along + phase)
    grey = 0.5 + _LIGHT * light * x + stripes + _NOISE * rng.normal(size=(SIDE, SIDE))
    pixels = (np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return Stripes(pixels, float(np.sin(2 * angle)), light)


def make_data(folder: Path) -> None:
    """Write the images, and a manifest for each data set."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    drawn = [draw(rng) for _ in range(IMAGES)]
    for i, one in enumerate(drawn):
        Image.fromarray(one.pixels).save(folder / "images" / f"{i:04d}.png")
    for name in RATIOS:
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["path", "label", "slant"])
            for i, one in enumerate(drawn):
                side = "right" if getattr(one, name) > 0 else "left"
                table.writerow([f"images/{i:04d}.png", side, f"{one.slant:.4f}"])


def command(folder: Path, name: str) -> list[str]:
    """The study of a data set."""
    words = f"""--data {folder / f"{name}.csv"} --aux slant --aux-weight 0.9 --mode scratch
        --train-ratio {RATIOS[name]} --backbone shared_mlp --image-size {SIDE} --lr 1e-4 1e-3
        --trials 8 --epochs 2 --min-steps 150 --precision fp32 --offline --name {name}
        --out {folder / "runs"} --cache {folder / "cache"}"""
    return [sys.executable, "study/run.py", *words.split()]


def main() -> None:
    """Draw both data sets, run both studies, print both answers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="for images and studies; made if not there")
    folder = parser.parse_args().folder
    make_data(folder)
    for name in RATIOS:
        done = subprocess.run(command(folder, name), capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name}: exit code {done.returncode}\n{done.stderr}{done.stdout}")
        print(f"{name}: {answer_of(done.stdout)}")


def answer_of(printed: str) -> str:
    """The paragraph of a study's answer that is about the auxiliary task."""
    parts = (" ".join(part.split()) for part in printed.split("\n\n"))
    return next(part for part in parts if "The auxiliary task, predicting" in part)


if __name__ == "__main__":
    main()
