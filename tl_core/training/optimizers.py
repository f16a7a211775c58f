"""AdamW for one net, and for stacked heads that each have a learning rate of their own."""

from collections.abc import Iterable
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


def decayed(parameters: Iterable[nn.Parameter], lr: float | Tensor, weight_decay: float) -> Groups:
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


class StackAdamW:
    """AdamW whose `lr` may be a tensor that broadcasts against the parameters of its group.

    Adam's direction depends on gradients alone, so p / lr takes torch's fused step at a learning
    rate of 1, for all stacked heads at once: one pass over their numbers instead of eight. It calls
    that step itself, since what `torch.optim.Optimizer` does around it takes as long on a CPU.
    """

    def __init__(self, groups: Groups) -> None:
        """Make the state of what learns; a group without `weight_decay` has none."""
        self._moves = [
            (p, p.detach() / g["lr"], g["lr"], g.get("weight_decay", 0.0))
            for g in groups
            for p in g["params"]
        ]
        self._scaled = [own for _, own, _, _ in self._moves]
        self._means, self._squares = ([torch.zeros_like(s) for s in self._scaled] for _ in range(2))
        self._steps = [torch.zeros((), device=s.device) for s in self._scaled]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take one step, with the gradients that the parameters hold.

        Each learning rate is multiplied by `rate`.
        """
        for _, scaled, lr, decay in self._moves:
            if decay:
                scaled.mul_(1 - lr * (rate * decay))
        gradients = [p.grad for p, *_ in self._moves]
        torch._foreach_add_(self._steps, 1)
        means, squares, steps = self._means, self._squares, self._steps
        torch._fused_adam_(self._scaled, gradients, means, squares, [], steps, lr=rate, **_OPTIONS)
        for p, scaled, lr, _ in self._moves:
            torch.mul(scaled, lr, out=p)
