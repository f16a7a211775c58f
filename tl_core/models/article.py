"""The article's own nets and the size of its images; imports no torch."""

ARTICLE_WIDTHS = {"mlp": (1024, 512, 128, 32, 8, 3), "shared_mlp": (1024, 256)}
"""The article's fully connected nets: the width of each layer below the heads."""
ARTICLE_SIZE = 128
"""Side of the article's images, pixels."""


def default_image_size(backbone: str) -> int:
    """Side of the images that a backbone gets unless told otherwise, pixels."""
    return ARTICLE_SIZE if backbone in ARTICLE_WIDTHS else 224
