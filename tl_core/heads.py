"""The two heads that sit on a headless network."""

import torch
from torch import Tensor, nn


class Heads(nn.Module):
    """One linear layer a task: the class, and the image's brightness."""

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        # Two classes need one logit; more need one each.
        self.classification = nn.Linear(n_features, 1 if n_classes == 2 else n_classes)
        self.brightness = nn.Linear(n_features, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D] -> class logits [B, 1] (two classes) or [B, K], brightness [B]."""
        return self.classification(features), self.brightness(features).squeeze(1)


class TwoHeadedNet(nn.Module):
    """A headless network with its heads: normalised images [B, 3, S, S] -> logits, brightness."""

    def __init__(self, network: nn.Module, heads: Heads) -> None:
        super().__init__()
        self.network = network
        self.heads = heads

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, S, S] -> class logits [B, 1] or [B, K], brightness [B]."""
        logits, brightness = self.heads(self.network(images))
        return logits, brightness


def probabilities(logits: Tensor) -> Tensor:
    """Class probabilities [B, K] from logits [B, 1] (two classes) or [B, K]."""
    if logits.shape[1] == 1:
        second = torch.sigmoid(logits)
        return torch.cat([1 - second, second], dim=1)
    return torch.softmax(logits, dim=1)
