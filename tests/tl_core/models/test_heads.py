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


@pytest.fixture(params=[1, 1000], ids=["columns", "rows"])
def layout(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tl_core.models.heads._WIDE", request.param)


@pytest.mark.usefixtures("layout")
@pytest.mark.parametrize("kind", ["regression", "classification", "none"])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_stack_says_and_learns_what_its_heads_do(n_classes: int, kind: AuxKind) -> None:
    torch.manual_seed(0)
    task = AuxTask("x", kind, ("a", "b", "c") if kind == "classification" else ())
    heads = [Heads(7, n_classes, task) for _ in range(6)]
    stack, features = HeadStack(heads, n_seeds=3), torch.randn(3, 4, 7)
    rates = torch.tensor([1.0, 0.1, 20, 1, 1e-3, 5])
    stack.in_units_of(rates)
    each = [one(features[number // 2]) for number, one in enumerate(heads)]
    outputs = stack.outputs(features)
    logits, auxiliary = stack.by_task(outputs)
    gradient = torch.randn_like(outputs)
    ahead = stack.by_task(gradient)
    for number, found in enumerate(each):
        torch.testing.assert_close((logits[number], auxiliary[number]), found)
        torch.autograd.backward(found, [part[number] for part in ahead])
    stack.backward(features, gradient)
    # The gradients are those of the heads: moved against them at the learning rate 1, a stack in
    # units of rates has moved each head at its own.
    with torch.no_grad():
        for parameter in stack.parameters():
            assert parameter.grad is not None
            parameter.sub_(parameter.grad)
    for number, (one, rate) in enumerate(zip(heads, rates, strict=True)):
        stack.copy_to(moved := Heads(7, n_classes, task), number)
        for name, expected in one.named_parameters():
            assert expected.grad is not None
            by_hand = expected - rate * expected.grad
            torch.testing.assert_close(moved.get_parameter(name), by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("layout")
def test_a_stack_says_the_same_of_images_that_all_heads_see() -> None:
    heads = [Heads(7, 3) for _ in range(4)]
    stack, features = HeadStack(heads, n_seeds=2), torch.randn(5, 7)
    found = stack(features)
    for number, one in enumerate(heads):
        torch.testing.assert_close(tuple(part[number] for part in found), one(features))
