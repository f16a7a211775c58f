"""Features for a linear probe, and what the probe makes of them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tl_core.linear.probe import Probe, solve_probe

N = 100
TRAIN = np.arange(60)
VAL = np.arange(70, N)
SHAPES = [(2, 60, 12), (2, 20, 50), (5, 60, 12), (5, 30, 50)]
"""Classes, training images, features: more images than features, and fewer."""


def draw(n_classes: int, width: int, noise: float = 2.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features [N, D] that are correlated and far from zero, as networks have them; labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(N) % n_classes
    means = random.normal(size=(n_classes, 8))[labels]
    factors = (means + noise * random.normal(size=(N, 8))) @ random.normal(size=(8, width))
    features = 3 + factors + 0.3 * random.normal(size=(N, width)) * random.random(width)
    return torch.tensor(features), torch.tensor(labels)


def solve(
    features: Tensor,
    labels: Tensor,
    trains: Sequence[np.ndarray] = (TRAIN,),
    n_classes: int = 2,
    val: np.ndarray = VAL,
) -> Probe:
    brightness = torch.sigmoid(features[: len(labels), 0] / 4 - 1)
    return solve_probe(features, labels, brightness, trains, val, n_classes)


def outputs(found: Probe, features: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits [N, K] and brightness [N]."""
    out = features.double() @ found.weight[seed].double().T + found.bias[seed].double()
    return out[:, :-1], out[:, -1]


def scaled(features: Tensor, train: np.ndarray) -> tuple[Tensor, float]:
    """All features as the probe sees them, and the number that divides them."""
    centred = features - features[train].mean(0)
    scale = centred[train].square().mean().sqrt()
    return centred / scale, scale.item()
