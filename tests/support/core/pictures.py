"""Pictures with the detail of photos, and their re-encoded copies."""

from io import BytesIO

import numpy as np
from PIL import Image


def landscape(seed: int, size: tuple[int, int] = (320, 220)) -> Image.Image:
    """Clouds of colour of all sizes, as in photos: the larger, the stronger."""
    chance, pixels = np.random.default_rng(seed), np.full((size[1], size[0], 3), 128.0)
    for cells in (3, 6, 12, 24, 48, 96):
        noise = chance.normal(0, 110 / cells**0.7, (cells, cells, 3)) + 128
        layer = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
        pixels += np.asarray(layer.resize(size, Image.Resampling.BICUBIC), float) - 128
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: int) -> Image.Image:
    """Write a picture in another format, and read it again."""
    file = BytesIO()
    image.save(file, kind, **options)
    return Image.open(file).convert("RGB")
