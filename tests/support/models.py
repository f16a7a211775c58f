"""Models made by hand, so that a test of what uses them need not train one."""

from typing import Any

import torch

from tl_core.inference.model import Model
from tl_core.inference.model_card import ModelInfo
from tl_core.models.backbones import empty_network
from tl_core.models.heads import Heads, TwoHeadedNet

SIDE = 16
"""Side of their images, pixels: the smallest there is."""


def make_model(backbone: str = "shared_mlp", image_size: int = SIDE, **given: Any) -> Model:
    """A model with the weights of seed 5; its BatchNorm has seen inputs."""
    torch.manual_seed(5)
    values: dict[str, Any] = {
        "backbone": backbone,
        "pretrained": False,
        "classes": ("cat", "dog"),
        "image_size": image_size,
        "mean": (0.5, 0.4, 0.3),
        "std": (0.5, 0.25, 0.125),
        "precision": "fp32",
        "learned": ("class", "brightness"),
        "config": {"mode": "scratch", "lr": 1e-3},
    } | given
    network = empty_network(backbone, image_size, pretrained=values["pretrained"])
    inputs = torch.randn(4, 3, image_size, image_size)
    with torch.no_grad():
        n_features = network.eval()(inputs).shape[1]
        network.train()(inputs)
    about = ModelInfo(**{"n_features": n_features} | values)
    net = TwoHeadedNet(network, Heads(n_features, len(about.classes))).eval()
    return Model(net.to(memory_format=torch.channels_last), about)
