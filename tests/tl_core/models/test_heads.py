import math

import pytest
import torch

from tl_core.aux_task import AuxKind, AuxTask
from tl_core.models.heads import Heads, HeadStack, probabilities


@pytest.mark.parametrize(("n_classes", "n_logits"), [(2, 1), (3, 3), (37, 37)])
def test_two_classes_need_one_logit(n_classes: int, n_logits: int) -> None:
    for n_images in (1, 4):
        logits, brightness = Heads(5, n_classes)(torch.randn(n_images, 5))
        assert (logits.shape, brightness.shape) == ((n_images, n_logits), (n_images,))


def test_heads_are_linear() -> None:
    heads = Heads(2, 2)
    with torch.no_grad():
        heads.classification.weight.copy_(torch.tensor([[1.0, -2.0]]))
        heads.classification.bias.fill_(0.5)
        assert heads.auxiliary
        heads.auxiliary.weight.copy_(torch.tensor([[0.1, 0.2]]))
        heads.auxiliary.bias.zero_()
    logits, brightness = heads(torch.tensor([[3.0, 1.0], [0.0, 1.0]]))
    assert logits.tolist() == [[1.5], [-1.5]]
    torch.testing.assert_close(brightness, torch.tensor([0.5, 0.2]))


def test_probabilities() -> None:
    one = probabilities(torch.tensor([[0.0], [math.log(3)], [-math.log(3)]]))
    torch.testing.assert_close(one, torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.75, 0.25]]))
    three = probabilities(torch.tensor([[0.0, math.log(2), 0.0]]))
    torch.testing.assert_close(three, torch.tensor([[0.25, 0.5, 0.25]]))


@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_stack_says_and_learns_what_its_heads_do(n_classes: int) -> None:
    torch.manual_seed(0)
    heads = [Heads(7, n_classes) for _ in range(3)]
    stack, features = HeadStack(heads), torch.randn(3, 4, 7)
    each = [one(some) for one, some in zip(heads, features, strict=True)]
    found = stack(features)
    ahead = [torch.randn_like(part) for part in found]
    for s, outputs in enumerate(each):
        torch.testing.assert_close(tuple(part[s] for part in found), outputs)
        torch.autograd.backward(outputs, [part[s] for part in ahead])
    stack.backward(features, *ahead)
    for s, one in enumerate(heads):
        layers = (one.classification, one.auxiliary)
        for name, stacked in (("weight", stack.weight), ("bias", stack.bias)):
            assert stacked.grad is not None
            expected = torch.cat([getattr(layer, name).grad for layer in layers])
            torch.testing.assert_close(stacked.grad[s], expected)


@pytest.mark.parametrize("kind", ["regression", "classification", "none"])
def test_heads_of_any_task_in_a_stack(kind: AuxKind) -> None:
    task = AuxTask("x", kind, ("a", "b", "c") if kind == "classification" else ())
    heads = [Heads(7, 2, task) for _ in range(3)]
    stack, features = HeadStack(heads), torch.randn(3, 4, 7)
    logits, auxiliary = stack(features)
    for s, one in enumerate(heads):
        expected = one(features[s])
        torch.testing.assert_close((logits[s], auxiliary[s]), expected)
    size = {"regression": (3, 4), "classification": (3, 4, 3), "none": (3, 4, 0)}[kind]
    assert auxiliary.shape == size
    (logits.sum() + auxiliary.square().sum()).backward()
    expected_gradient = stack.weight.grad
    stack.backward(features, torch.ones_like(logits), 2 * auxiliary.detach())
    torch.testing.assert_close(stack.weight.grad, expected_gradient)


def test_heads_of_version_0_1_are_read() -> None:
    heads, earlier = Heads(5, 2), Heads(5, 2)
    state = {name.replace("auxiliary", "brightness"): v for name, v in earlier.state_dict().items()}
    assert "brightness.weight" in state
    heads.load_state_dict(state)
    torch.testing.assert_close(dict(heads.state_dict()), dict(earlier.state_dict()))
