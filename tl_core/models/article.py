"""The networks and the recipe of the article, which presets and benchmarks repeat."""

from typing import Any

from tl_core.config import FROZEN, Mode

ARTICLE_WIDTHS = {"mlp": (1024, 512, 128, 32, 8, 3), "shared_mlp": (1024, 256)}
"""The article's fully connected nets: the width of each layer below the heads."""
ARTICLE_SIZE = 128
"""Side of the article's images, pixels."""
ARTICLE_RECIPE: dict[str, Any] = {
    "min_steps": 0,
    "schedule": "constant",
    "weight_decay": 0.0,
    "aux_target": "raw",
}
"""Plain Adam for `epochs` passes; networks that learn also update their BatchNorm statistics."""


def earlier_recipe(mode: Mode) -> dict[str, Any]:
    """Return the article's recipe for a mode."""
    batchnorm = "frozen" if mode in FROZEN else "train"
    return {"batchnorm": batchnorm, "head_lr_ratio": 1.0, **ARTICLE_RECIPE}


def default_image_size(backbone: str) -> int:
    """Side of the images that a backbone gets unless the user gives one, pixels."""
    return ARTICLE_SIZE if backbone in ARTICLE_WIDTHS else 224
