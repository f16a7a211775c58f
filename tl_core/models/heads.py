"""The two heads on top of a headless network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tl_core.aux_task import BRIGHTNESS, AuxKind, AuxTask
from tl_core.config import Precision
from tl_core.models.precision import run_network


class Heads(nn.Module):
    """One linear layer for each task: the class, and the auxiliary task."""

    def __init__(self, n_features: int, n_classes: int, task: AuxTask = BRIGHTNESS) -> None:
        super().__init__()
        self.task = task
        # Two classes need one logit; more need one each.
        self.classification = nn.Linear(n_features, 1 if n_classes == 2 else n_classes)
        self.auxiliary = nn.Linear(n_features, task.n_outputs) if task.n_outputs else None
        self.register_load_state_dict_pre_hook(_rename_brightness)  # type: ignore[no-untyped-call]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, D] -> class logits [B, 1] (two classes) or [B, K]; a number [B] or logits [B, A].

        Without an auxiliary task, A is 0.
        """
        logits = self.classification(features)
        if self.auxiliary is None:
            return logits, logits[:, :0]
        outputs = self.auxiliary(features)
        return logits, outputs.squeeze(1) if self.task.kind == "regression" else outputs

    def layers(self) -> list[nn.Linear]:
        """Both layers, or the only one."""
        return [self.classification, *([self.auxiliary] if self.auxiliary else [])]


def _rename_brightness(
    module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Files and checkpoints of version 0.1 call the auxiliary layer by its only task."""
    for name in ("weight", "bias"):
        if (earlier := f"{prefix}brightness.{name}") in state:
            state[f"{prefix}auxiliary.{name}"] = state.pop(earlier)


class HeadStack(nn.Module):
    """H heads as one module: one batched product serves all of them.

    Heads of the same seed stand side by side and see the same images, so each image's features
    are read once for all of them.

    Axes: H heads, S seeds, B images, D features, K logits (1 for two classes), A outputs of the
    auxiliary task (1 for a number, 0 without a task).
    """

    def __init__(self, heads: Sequence[Heads]) -> None:
        super().__init__()
        self._kind: AuxKind = heads[0].task.kind
        self._n_logits = heads[0].classification.out_features
        weights = [torch.cat([layer.weight for layer in h.layers()]) for h in heads]
        biases = [torch.cat([layer.bias for layer in h.layers()]) for h in heads]
        self.weight = nn.Parameter(torch.stack(weights).detach())  # [H, K + A, D]
        self.bias = nn.Parameter(torch.stack(biases).detach())  # [H, K + A]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[S, B, D], or [B, D] for all -> class logits [H, B, K]; numbers [H, B] or [H, B, A].

        The first H / S heads are those of the first seed, and so on.
        """
        # Weights first: in this order the product and that of the gradient are 4 times as fast.
        weight = self._by_seed(self.weight, features)
        out = (weight @ features.mT).view(*self.bias.shape, -1) + self.bias.unsqueeze(-1)
        k = self._n_logits
        return out[:, :k].mT, out[:, k] if self._kind == "regression" else out[:, k:].mT

    def backward(self, features: Tensor, d_logits: Tensor, d_auxiliary: Tensor) -> None:
        """Set the gradients of a loss in the parameters; written out, since autograd's
        bookkeeping takes as long as these two products.

        Args:
            features: [S, B, D], as given to `forward`.
            d_logits: derivative of the loss by the class logits, [H, B, K].
            d_auxiliary: its derivative by the outputs of the auxiliary task, in their shape.
        """
        is_number = self._kind == "regression"
        rest = d_auxiliary.unsqueeze(1) if is_number else d_auxiliary.mT
        d_out = torch.cat([d_logits.mT, rest], dim=1)  # [H, K + A, B]
        self.weight.grad = (self._by_seed(d_out, features) @ features).view_as(self.weight)
        self.bias.grad = d_out.sum(dim=-1)

    @torch.no_grad()
    def copy_to(self, heads: Heads, number: int = 0) -> None:
        """Copy the parameters of one of the heads into a module of its own."""
        at = 0
        for layer in heads.layers():
            rows = slice(at, at + layer.out_features)
            layer.weight.copy_(self.weight[number, rows])
            layer.bias.copy_(self.bias[number, rows])
            at = rows.stop

    @staticmethod
    def _by_seed(rows: Tensor, features: Tensor) -> Tensor:
        """Lay [H, K + A, X] side by side for each seed of the features: [S, H / S (K + A), X]."""
        return rows.reshape(*features.shape[:-2], -1, rows.shape[-1])


class TwoHeadedNet(nn.Module):
    """A headless network with its heads, for normalised images [B, 3, S, S]."""

    def __init__(self, network: nn.Module, heads: Heads, precision: Precision = "fp32") -> None:
        super().__init__()
        self.network = network
        self.heads = heads
        self.precision: Precision = precision

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, S, S] -> the outputs of `Heads`."""
        logits, auxiliary = self.heads(run_network(self.network, images, self.precision))
        return logits, auxiliary


def choose(logits: Tensor) -> Tensor:
    """Predicted class, int64 [...]; for one logit (two classes) the second above 0.5."""
    return (logits[..., 0] > 0).long() if logits.shape[-1] == 1 else logits.argmax(dim=-1)


def probabilities(logits: Tensor) -> Tensor:
    """Class probabilities [..., K] from logits [..., 1] (two classes) or [..., K]."""
    if logits.shape[-1] == 1:
        second = torch.sigmoid(logits)
        return torch.cat([1 - second, second], dim=-1)
    return torch.softmax(logits, dim=-1)
