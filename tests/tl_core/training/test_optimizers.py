import copy

import pytest
import torch
from torch import Tensor, nn

from tl_core.config import TrialConfig
from tl_core.models.backbones import load_backbone
from tl_core.models.heads import Heads, TwoHeadedNet
from tl_core.training.optimizers import (
    Groups,
    StackAdamW,
    decayed,
    fused_adamw,
    net_groups,
    set_rate,
)


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(3, 2, 5)), nn.Parameter(torch.randn(3, 2))]


def gradients(step: int) -> list[Tensor]:
    torch.manual_seed(step + 1)
    return [torch.randn(3, 2, 5), 1e-4 * torch.randn(3, 2)]


def move(
    optimizer: torch.optim.Optimizer | StackAdamW, of: list[nn.Parameter], rows: slice | int
) -> list[Tensor]:
    for step in range(20):
        for parameter, gradient in zip(of, gradients(step), strict=True):
            parameter.grad = gradient[rows]
        if isinstance(optimizer, StackAdamW):
            optimizer.step(1 - step / 20)
        else:
            set_rate(optimizer, 1 - step / 20)
            optimizer.step()
    return [p.detach() for p in of]


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_each_row_of_a_stack_moves_as_alone_by_torch(weight_decay: float) -> None:
    rates = torch.tensor([1e-3, 0.1, 3.0])
    units = [rates.view(3, 1, 1), rates.view(3, 1)]
    together = [nn.Parameter(p / u) for p, u in zip(parameters(), units, strict=True)]
    decays = [(together[0], weight_decay * units[0])]
    optimizer = StackAdamW([(1.0, together)], decays)
    found = move(optimizer, together, slice(None))
    moved = [p * unit for p, unit in zip(found, units, strict=True)]
    for row, lr in enumerate(rates.tolist()):
        weight, bias = own = [nn.Parameter(p[row].detach().clone()) for p in parameters()]
        groups: Groups = [{"params": [weight], "weight_decay": weight_decay}, {"params": [bias]}]
        alone = fused_adamw([group | {"lr": lr} for group in groups])
        for one, expected in zip(moved, move(alone, own, row), strict=True):
            torch.testing.assert_close(one[row], expected, rtol=1e-5, atol=1e-6)


def test_without_weight_decay_it_is_adam_bit_for_bit() -> None:
    ours, theirs = parameters(), parameters()
    moved = move(fused_adamw([{"params": ours, "lr": 1e-2}]), ours, slice(None))
    adam = torch.optim.Adam(theirs, lr=1e-2, fused=True)
    adam.param_groups[0]["initial_lr"] = 1e-2
    for one, other in zip(moved, move(adam, theirs, slice(None)), strict=True):
        assert torch.equal(one, other)


def test_biases_and_norms_do_not_decay() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    network[0].weight.requires_grad_(False)
    large, small = decayed(nn.Sequential(*network, nn.Linear(3, 3)).parameters(), 0.1, 0.2)
    assert [p.ndim for p in large["params"]] == [2], "what is frozen has no group"
    assert [p.ndim for p in small["params"]] == [1, 1, 1, 1]
    assert (large["weight_decay"], small["weight_decay"]) == (0.2, 0.0)


def test_a_step_of_a_net_follows_the_recipe() -> None:
    torch.manual_seed(0)
    net = TwoHeadedNet(nn.Linear(4, 3), Heads(3, 2))
    before = copy.deepcopy(net)
    config = TrialConfig(
        mode="finetune", train_ratio=0.1, lr=1e-3, head_lr_ratio=7, weight_decay=0.5
    )
    optimizer = fused_adamw(net_groups(net, config))
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    set_rate(optimizer, 0.5)
    optimizer.step()
    # Adam's first step is the learning rate, whatever the gradient.
    for name, lr in (("network.weight", 0.5e-3), ("heads.classification.weight", 3.5e-3)):
        kept = before.get_parameter(name) * (1 - lr * 0.5)
        torch.testing.assert_close(net.get_parameter(name), kept - lr)
    bias = before.get_parameter("heads.auxiliary.bias") - 3.5e-3
    torch.testing.assert_close(net.get_parameter("heads.auxiliary.bias"), bias)


def test_layer_decay_lowers_the_rate_of_each_stage_below_the_heads() -> None:
    torch.manual_seed(0)
    network = load_backbone("shared_mlp", "none", 16).network  # Two stages, one linear layer each.
    net = TwoHeadedNet(network, Heads(256, 2))
    config = TrialConfig(mode="finetune", train_ratio=0.1, lr=1.0, layer_decay=0.5, head_lr_ratio=3)
    rates = {id(p): group["lr"] for group in net_groups(net, config) for p in group["params"]}
    found = {name: rates[id(p)] for name, p in net.named_parameters() if name.endswith("weight")}
    assert found == {
        "network.1.weight": 0.25, "network.3.weight": 0.5,
        "heads.classification.weight": 3.0, "heads.auxiliary.weight": 3.0,
    }  # fmt: skip
    assert len(rates) == len([*net.parameters()])
