"""The two heads on top of a headless network."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tl_core.aux_task import BRIGHTNESS, AuxKind, AuxTask
from tl_core.config import Precision
from tl_core.models.precision import run_network

_WIDE = 16
"""Outputs of all heads of a seed from which they are columns."""


class Heads(nn.Module):
    """One linear layer for each task: the class, and the auxiliary task."""

    def __init__(self, n_features: int, n_classes: int, task: AuxTask = BRIGHTNESS) -> None:
        super().__init__()
        self.task = task
        # Two classes need one logit; more need one each.
        self.classification = nn.Linear(n_features, 1 if n_classes == 2 else n_classes)
        self.auxiliary = nn.Linear(n_features, task.n_outputs) if task.n_outputs else None

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


class HeadStack(nn.Module):
    """H heads as one module: one batched product serves all of them.

    Heads of the same seed stand side by side and see the same images, so each image's features
    are read once for all of them.

    Axes: H heads, of which the first W = H / S are those of the first seed, and so on; S seeds,
    B images, D features, R outputs of a head: K class logits (1 for two classes), then A of the
    auxiliary task (1 for a number, 0 without a task).

    On CPUs the order of the axes of `weight` decides how fast its products are. With W * R = 32
    that of `columns` is up to three times as fast as that of `nn.Linear`; below 16 the latter is 2
    to 8 times as fast.
    """

    weight: nn.Parameter
    """[S, D, W * R], or [S, W * R, D] if it `is_narrow`; divided by `unit`."""
    bias: nn.Parameter
    """[S, 1, W * R], divided by `unit`."""
    unit: Tensor
    """[S, 1, W * R]; see `in_units_of`."""

    def __init__(self, heads: Sequence[Heads], n_seeds: int) -> None:
        super().__init__()
        self.n_heads, self.n_seeds = len(heads), n_seeds
        self.kind: AuxKind = heads[0].task.kind
        self.n_logits = heads[0].classification.out_features
        self.n_outputs = sum(layer.out_features for layer in heads[0].layers())
        self.width = len(heads) // n_seeds
        n_features, n = heads[0].classification.in_features, self.width * self.n_outputs
        self.is_narrow = n < _WIDE
        shape = (n, n_features) if self.is_narrow else (n_features, n)
        self.weight = nn.Parameter(torch.empty(n_seeds, *shape))
        self.bias = nn.Parameter(torch.empty(n_seeds, 1, n))
        self.register_buffer("unit", torch.ones(n_seeds, 1, n))
        weights = [torch.cat([layer.weight for layer in h.layers()]) for h in heads]
        biases = [torch.cat([layer.bias for layer in h.layers()]) for h in heads]
        self.fill(torch.stack(weights), torch.stack(biases))

    @property
    def columns(self) -> Tensor:
        """`weight` as [S, D, W * R]; shares its memory."""
        return self.weight.mT if self.is_narrow else self.weight

    @torch.no_grad()
    def fill(self, weight: Tensor, bias: Tensor) -> None:
        """Set the parameters: [H, R, D] and [H, R]."""
        by_seed = weight.view(self.n_seeds, -1, weight.shape[-1])
        self.columns.copy_(by_seed.mT / self.unit)
        self.bias.copy_(bias.view_as(self.bias) / self.unit)

    @torch.no_grad()
    def in_units_of(self, rates: Tensor) -> None:
        """Hold each head's parameters as multiples of its learning rate, [H].

        Adam's direction depends on gradients alone, so a step at the learning rate 1 then moves
        each head at its own.
        """
        unit = rates.repeat_interleave(self.n_outputs).view_as(self.unit)
        for parameter in (self.columns, self.bias):
            parameter.mul_(self.unit / unit)
        self.unit.copy_(unit)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[S, B, D], or [B, D] for all -> class logits [H, B, K]; numbers [H, B] or [H, B, A]."""
        return self.by_task(self.outputs(features))

    def outputs(self, features: Tensor) -> Tensor:
        """[S, B, D], or [B, D] for all -> all outputs of the heads of each seed, [S, B, W, R].

        The unit multiplies the outputs and not the parameters, which are more numbers.
        """
        if features.ndim == 3:
            found = torch.baddbmm(self.bias, features, self.columns)
        else:
            columns = self.columns.transpose(0, 1).flatten(1)
            flat = torch.addmm(self.bias.flatten(), features, columns)
            found = flat.view(len(features), self.n_seeds, -1).transpose(0, 1)
        found = found * self.unit
        return found.view(*found.shape[:2], self.width, self.n_outputs)

    def by_task(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """`outputs` of each head -> class logits [H, B, K]; numbers [H, B] or logits [H, B, A]."""
        out = outputs.transpose(1, 2).flatten(0, 1)
        logits, rest = out[..., : self.n_logits], out[..., self.n_logits :]
        return logits, rest.squeeze(-1) if self.kind == "regression" else rest

    def backward(self, features: Tensor, gradient: Tensor) -> None:
        """Set the gradients of a loss by the parameters as they count, `weight * unit`.

        Those that autograd gives are by `weight` itself, so they are `unit` times as large. Written
        out, since autograd's bookkeeping takes as long as the product.

        Args:
            features: [S, B, D], as given to `outputs`.
            gradient: derivative of the loss by the outputs, [S, B, W, R].
        """
        flat = gradient.flatten(2)
        narrow = self.is_narrow
        self.weight.grad = torch.bmm(*((flat.mT, features) if narrow else (features.mT, flat)))
        self.bias.grad = flat.sum(dim=1, keepdim=True)

    @torch.no_grad()
    def copy_to(self, heads: Heads, number: int = 0) -> None:
        """Copy the parameters of one of the heads into a module of its own."""
        seed, place = divmod(number, self.width)
        at = place * self.n_outputs
        for layer in heads.layers():
            rows = slice(at, at + layer.out_features)
            unit = self.unit[seed, 0, rows]
            layer.weight.copy_(self.columns[seed, :, rows].T * unit.unsqueeze(-1))
            layer.bias.copy_(self.bias[seed, 0, rows] * unit)
            at = rows.stop


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
