"""A frozen network, or a part of it, and how it runs over images in whichever process."""

from typing import NamedTuple

import numpy as np
import torch

from tl_core.config import Precision
from tl_core.data.datasets import ImageSet
from tl_core.inputs.features import extract
from tl_core.inputs.prefix import Prefix, extract_activations
from tl_core.models.backbones import Backbone
from tl_core.models.folding import fold_backbone


class FrozenPart(NamedTuple):
    """A frozen network, or the stages of it that stay frozen; the arguments that load it."""

    name: str
    weights: str
    image_size: int
    precision: Precision
    unfreeze: int | None = None
    """Stages above it that learn; None if none does."""


def folded(network: Backbone | Prefix, images: ImageSet) -> Backbone | Prefix:
    """The network ready to run over many images.

    A prefix stays as it is: training on its activations repeats that of the whole network.
    """
    return network if isinstance(network, Prefix) else fold_backbone(network, images.image_size)


def run_part(
    network: Backbone | Prefix, images: ImageSet, device: torch.device, views: np.ndarray
) -> np.ndarray:
    """What the network makes of some views, [B, ...]."""
    if isinstance(network, Prefix):
        return extract_activations(images, network, device, views)
    return extract(images, network, device, views)
