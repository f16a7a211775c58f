"""AdamW for one net, and for stacked heads that each have a learning rate of their own."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tl_core.config import TrialConfig
from tl_core.models.heads import TwoHeadedNet
from tl_core.models.stages import layer_decay_groups, stages
from tl_core.objectives.weighting import Weighting

_BETAS, _EPS = (0.9, 0.999), 1e-8
"""Torch's own, which are those of the paper."""
_OPTIONS: dict[str, Any] = {
    "beta1": _BETAS[0], "beta2": _BETAS[1], "eps": _EPS,
    "weight_decay": 0.0, "amsgrad": False, "maximize": False,
}  # fmt: skip

Groups = list[dict[str, Any]]
"""Parameter groups of torch: `params`, `lr` and `weight_decay` each."""


def net_groups(net: TwoHeadedNet, config: TrialConfig) -> Groups:
    """Return the parameters of a net by learning rate and weight decay.

    The heads have `head_lr_ratio` times `lr`; `layer_decay` lowers that of each stage below them.
    """
    assert config.lr is not None
    rate, decay = config.lr, config.weight_decay
    groups = decayed(net.heads.parameters(), rate * config.head_lr_ratio, decay)
    if config.layer_decay == 1:
        return [*groups, *decayed(net.network.parameters(), rate, decay)]
    # What learns in mode `partial` is a sequence of stages already.
    parts = net.network.children() if config.mode == "partial" else stages(net.network)
    for parameters, factor in layer_decay_groups(parts, config.layer_decay):
        groups += decayed(parameters, rate * factor, decay)
    return groups


def decayed(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> Groups:
    """Return two groups: only parameters with two axes and more decay, not biases and norms."""
    kept = [p for p in parameters if p.requires_grad]
    large, small = ([p for p in kept if (p.ndim > 1) == is_large] for is_large in (True, False))
    groups = [
        {"params": large, "lr": lr, "weight_decay": weight_decay},
        {"params": small, "lr": lr, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def fused_adamw(groups: Groups) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, ICLR 2019); without weight decay it is Adam."""
    options: dict[str, Any] = {"betas": _BETAS, "eps": _EPS, "weight_decay": 0.0, "fused": True}
    optimizer = torch.optim.AdamW(groups, **options)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def make_optimizer(
    net: TwoHeadedNet, weighting: Weighting, config: TrialConfig
) -> torch.optim.Optimizer:
    """AdamW, with a state for everything that learns."""
    return fused_adamw([*net_groups(net, config), *weighting.groups()])


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set each learning rate to a share of its highest value."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate


class _Group:
    """Parameters of one learning rate, with what Adam knows of them."""

    def __init__(self, lr: float, parameters: list[Tensor]) -> None:
        self.lr, self.parameters = lr, parameters
        self.means, self.squares = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
        self.steps = torch.zeros((), device=parameters[0].device)


class StackAdamW:
    """AdamW of stacked heads, which are held in units of their learning rates.

    It calls torch's fused step itself, since what `torch.optim.Optimizer` does around it takes as
    long on a CPU.
    """

    def __init__(
        self,
        groups: Iterable[tuple[float, Sequence[Tensor]]],
        decays: Sequence[tuple[Tensor, Tensor]] = (),
    ) -> None:
        """Make the state of what learns.

        Args:
            groups: learning rates, each with its parameters.
            decays: parameters that decay, or views of them, with the share that a step takes
                away, which broadcasts against them.
        """
        self._decays = decays
        self._groups = [_Group(lr, [*parameters]) for lr, parameters in groups]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take one step, with the gradients that the parameters hold.

        Each learning rate is multiplied by `rate`.
        """
        for p, share in self._decays:
            p.addcmul_(p, share, value=-rate)
        for g in self._groups:
            g.steps.add_(1)
            gradients = [p.grad for p in g.parameters if p.grad is not None]
            moments = g.means, g.squares, list[Tensor]()
            lr = g.lr * rate
            steps = [g.steps] * len(gradients)
            torch._fused_adam_(g.parameters, gradients, *moments, steps, lr=lr, **_OPTIONS)
