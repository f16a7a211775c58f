import math

import pytest
import torch
from torch import Tensor, nn

from tl_core.models.heads import Heads, HeadStack, TwoHeadedNet, probabilities


@pytest.mark.parametrize(("n_classes", "n_logits"), [(2, 1), (3, 3), (37, 37)])
def test_two_classes_need_one_logit(n_classes: int, n_logits: int) -> None:
    logits, brightness = Heads(5, n_classes)(torch.randn(4, 5))
    assert logits.shape == (4, n_logits)
    assert brightness.shape == (4,)


def test_heads_are_linear() -> None:
    heads = Heads(2, 2)
    with torch.no_grad():
        heads.classification.weight.copy_(torch.tensor([[1.0, -2.0]]))
        heads.classification.bias.fill_(0.5)
        heads.brightness.weight.copy_(torch.tensor([[0.1, 0.2]]))
        heads.brightness.bias.zero_()
    logits, brightness = heads(torch.tensor([[3.0, 1.0], [0.0, 1.0]]))
    assert logits.tolist() == [[1.5], [-1.5]]
    torch.testing.assert_close(brightness, torch.tensor([0.5, 0.2]))


def test_one_image_gives_one_brightness() -> None:
    assert Heads(5, 3)(torch.randn(1, 5))[1].shape == (1,)


def test_a_net_is_its_heads_on_its_network() -> None:
    heads = Heads(12, 3)
    net = TwoHeadedNet(nn.Flatten(), heads)
    images = torch.randn(4, 3, 2, 2)
    for found, expected in zip(net(images), heads(images.flatten(1)), strict=True):
        assert torch.equal(found, expected)


def test_one_logit_gives_two_probabilities() -> None:
    found = probabilities(torch.tensor([[0.0], [math.log(3)], [-math.log(3)]]))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.75, 0.25]]))


def test_more_logits_give_a_softmax() -> None:
    found = probabilities(torch.tensor([[0.0, math.log(2), 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.5, 0.25]]))


@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_stack_says_and_learns_what_its_heads_do(n_classes: int) -> None:
    torch.manual_seed(0)
    heads = [Heads(7, n_classes) for _ in range(3)]
    stack, features = HeadStack(heads), torch.randn(3, 4, 7)
    each = [one(some) for one, some in zip(heads, features, strict=True)]
    found = stack(features)
    d_logits, d_brightness = torch.randn_like(found[0]), torch.randn_like(found[1])
    torch.autograd.backward([*each[0], *each[1], *each[2]], _pairs(d_logits, d_brightness))
    stack.backward(features, d_logits, d_brightness)
    assert stack.weight.grad is not None
    assert stack.bias.grad is not None
    for s, one in enumerate(heads):
        for part, output in ((0, each[s][0]), (1, each[s][1])):
            torch.testing.assert_close(found[part][s], output)
        layers = one.classification, one.brightness
        torch.testing.assert_close(
            stack.weight.grad[s], torch.cat([grad(layer.weight) for layer in layers])
        )
        torch.testing.assert_close(
            stack.bias.grad[s], torch.cat([grad(layer.bias) for layer in layers])
        )


def grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _pairs(d_logits: Tensor, d_brightness: Tensor) -> list[Tensor]:
    return [part[s] for s in range(len(d_logits)) for part in (d_logits, d_brightness)]
