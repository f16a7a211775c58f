"""The two heads on top of a headless network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tl_core.config import Precision
from tl_core.models.precision import run_network


class Heads(nn.Module):
    """One linear layer for each task: the class, and the image's brightness."""

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        # Two classes need one logit; more need one each.
        self.classification = nn.Linear(n_features, 1 if n_classes == 2 else n_classes)
        self.brightness = nn.Linear(n_features, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D] -> class logits [B, 1] (two classes) or [B, K], brightness [B]."""
        return self.classification(features), self.brightness(features).squeeze(1)


class HeadStack(nn.Module):
    """H heads as one module: one batched product serves all of them.

    Heads of the same seed stand side by side and see the same images, so each image's features
    are read once for all of them.

    Axes: H heads, S seeds, B images, D features, K logits (1 for two classes).
    """

    def __init__(self, heads: Sequence[Heads]) -> None:
        super().__init__()
        tasks = [(h.classification, h.brightness) for h in heads]
        weights = [torch.cat([a.weight, b.weight]) for a, b in tasks]
        biases = [torch.cat([a.bias, b.bias]) for a, b in tasks]
        self.weight = nn.Parameter(torch.stack(weights).detach())  # [H, K + 1, D]
        self.bias = nn.Parameter(torch.stack(biases).detach())  # [H, K + 1]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[S, B, D], or [B, D] for all -> class logits [H, B, K], brightness [H, B].

        The first H / S heads are those of the first seed, and so on.
        """
        # Weights first: in this order the product and that of the gradient are 4 times as fast.
        weight = self._by_seed(self.weight, features)
        out = (weight @ features.mT).view(*self.bias.shape, -1) + self.bias.unsqueeze(-1)
        return out[:, :-1].mT, out[:, -1]

    def backward(self, features: Tensor, d_logits: Tensor, d_brightness: Tensor) -> None:
        """Set the gradients of a loss in the parameters; written out, since autograd's
        bookkeeping takes as long as these two products.

        Args:
            features: [S, B, D], as given to `forward`.
            d_logits: derivative of the loss by the class logits, [H, B, K].
            d_brightness: its derivative by the brightness, [H, B].
        """
        d_out = torch.cat([d_logits.mT, d_brightness.unsqueeze(1)], dim=1)  # [H, K + 1, B]
        self.weight.grad = (self._by_seed(d_out, features) @ features).view_as(self.weight)
        self.bias.grad = d_out.sum(dim=-1)

    @torch.no_grad()
    def copy_to(self, heads: Heads, number: int = 0) -> None:
        """Copy the parameters of one of the heads into a module of its own."""
        heads.classification.weight.copy_(self.weight[number, :-1])
        heads.brightness.weight.copy_(self.weight[number, -1:])
        heads.classification.bias.copy_(self.bias[number, :-1])
        heads.brightness.bias.copy_(self.bias[number, -1:])

    @staticmethod
    def _by_seed(rows: Tensor, features: Tensor) -> Tensor:
        """Lay [H, K + 1, X] side by side for each seed of the features: [S, H / S (K + 1), X]."""
        return rows.reshape(*features.shape[:-2], -1, rows.shape[-1])


class TwoHeadedNet(nn.Module):
    """A headless network with its heads: normalised images [B, 3, S, S] -> logits, brightness."""

    def __init__(self, network: nn.Module, heads: Heads, precision: Precision = "fp32") -> None:
        super().__init__()
        self.network = network
        self.heads = heads
        self.precision: Precision = precision

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, S, S] -> class logits [B, 1] or [B, K], brightness [B]."""
        logits, brightness = self.heads(run_network(self.network, images, self.precision))
        return logits, brightness


def choose(logits: Tensor) -> Tensor:
    """Predicted class, int64 [...]; for one logit (two classes) the second above 0.5."""
    return (logits[..., 0] > 0).long() if logits.shape[-1] == 1 else logits.argmax(dim=-1)


def probabilities(logits: Tensor) -> Tensor:
    """Class probabilities [..., K] from logits [..., 1] (two classes) or [..., K]."""
    if logits.shape[-1] == 1:
        second = torch.sigmoid(logits)
        return torch.cat([1 - second, second], dim=-1)
    return torch.softmax(logits, dim=-1)
