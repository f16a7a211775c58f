"""AdamW for one net, and for stacked heads that each have a learning rate of their own."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tl_core.config import TrialConfig
from tl_core.models.heads import TwoHeadedNet
from tl_core.models.stages import layer_decay_groups, stages

_BETAS, _EPS = (0.9, 0.999), 1e-8
"""Torch's own, which are those of the paper."""

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
    return _with_initial_lr(torch.optim.AdamW(groups, **options))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set each learning rate to a share of its highest value."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * rate


def _with_initial_lr(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


class StackAdamW(torch.optim.Adam):
    """AdamW whose `lr` may be a tensor that broadcasts against the parameters of its group.

    Adam's direction depends on gradients alone, so p / lr takes torch's fused step at a learning
    rate of 1, for all stacked heads at once: one pass over their numbers instead of eight.
    """

    def __init__(self, groups: Groups) -> None:
        """Make the state of what learns; a group without `weight_decay` has none."""
        self._moves = [
            (p, nn.Parameter(p.detach() / g["lr"]), g["lr"], g.get("weight_decay", 0.0))
            for g in groups
            for p in g["params"]
        ]
        scaled = [own for _, own, _, _ in self._moves]
        super().__init__(scaled, lr=1.0, betas=_BETAS, eps=_EPS, fused=True)
        _with_initial_lr(self)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step, with the gradients that the parameters hold."""
        rate = self.param_groups[0]["lr"]
        for p, scaled, lr, decay in self._moves:
            scaled.grad = p.grad
            if decay:
                scaled.mul_(1 - lr * (rate * decay))
        super().step()
        for p, scaled, lr, _ in self._moves:
            torch.mul(scaled, lr, out=p)
