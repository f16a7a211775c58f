from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from tests.conftest import SIDE, TINY
from tl_core.models.backbones import load_backbone
from tl_core.models.folding import fold_backbone, fold_network
from tl_core.models.precision import run_network


def with_statistics(network: nn.Module) -> nn.Module:
    """BatchNorms that change what they get."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight, 1)
            nn.init.normal_(module.bias)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


class Twice(nn.Module):
    """A convolution whose outputs go to a BatchNorm and past it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        rows: Tensor = self.conv(images)
        normal: Tensor = self.norm(rows)
        return normal + rows


class Shared(Twice):
    """A convolution that runs twice, before two BatchNorms."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        first, second = self.norm(self.conv(images)), self.other(self.conv(images))
        return torch.cat([first, second], dim=1)


@torch.no_grad()
@pytest.mark.parametrize(("network", "left"), [
    (nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()), 0),
    (nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.Conv2d(4, 2, 1)), 0),
    (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 1),
    (nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), 1),
    (Twice(), 1),
    (Shared(), 2),
])  # fmt: skip
def test_a_norm_right_after_a_convolution_becomes_part_of_it(network: nn.Module, left: int) -> None:
    network, images = with_statistics(network), torch.randn(2, 3, 16, 16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    folded = fold_network(network, 16, "fp32")
    assert norms(folded) == left
    torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-5)
    assert before.keys() == network.state_dict().keys(), "the network itself stays as it is"
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


@torch.no_grad()
def test_bf16_features_are_as_near_as_those_of_autocast(tiny_weights: Path) -> None:
    network = load_backbone(TINY, str(tiny_weights), SIDE).network.eval()
    images = torch.randn(8, 3, SIDE, SIDE)
    exact, cast = run_network(network, images, "fp32"), run_network(network, images, "bf16")
    ready = fold_network(network, SIDE, "bf16")
    weights = {m.weight.dtype for m in ready.modules() if isinstance(m, nn.Conv2d)}
    assert weights == {torch.bfloat16}
    found = run_network(ready, images, "bf16")
    assert 0 < distance(found, cast) < 2 * distance(cast, exact)
    assert distance(found, exact) < 1.5 * distance(cast, exact)


@torch.no_grad()
def test_weights_that_are_cast_once_are_those_that_autocast_makes() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LayerNorm(4), nn.Linear(4, 2))
    images, ready = torch.randn(2, 3, 3, 3), fold_network(network, 3, "bf16")
    assert torch.equal(run_network(ready, images, "bf16"), run_network(network, images, "bf16"))
    assert ready[2].weight.dtype == torch.float32  # type: ignore[index]


def test_float16_keeps_the_norms(tiny_weights: Path) -> None:
    backbone = replace(load_backbone(TINY, str(tiny_weights), SIDE), precision="fp16")
    folded = fold_backbone(backbone, SIDE).network
    assert norms(folded) == norms(backbone.network)
    weights = {m.weight.dtype for m in folded.modules() if isinstance(m, nn.Conv2d)}
    assert weights == {torch.float16}
    narrow = fold_backbone(replace(backbone, precision="bf16"), SIDE).network
    assert norms(narrow) < norms(backbone.network)
