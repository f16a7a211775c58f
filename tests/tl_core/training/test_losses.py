import math

import pytest
import torch

from tl_core.training.losses import classification_loss, two_task_gradient, two_task_loss

LOG2, LOG4 = math.log(2), math.log(4)
# Probability of the second class: 1/2 and 3/4.
TWO_LOGITS = torch.tensor([[0.0], [math.log(3)]])
BRIGHTNESS, PREDICTED = torch.tensor([0.5, 0.25]), torch.tensor([0.4, 0.55])
MSE = (0.01 + 0.09) / 2


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0], (LOG2 + LOG4) / 2),
        ([1, 0], (LOG2 + LOG4) / 2),
        ([0, 1], (LOG2 + math.log(4 / 3)) / 2),
    ],
)
def test_binary_cross_entropy(labels: list[int], expected: float) -> None:
    loss = classification_loss(TWO_LOGITS, torch.tensor(labels))
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "expected"), [([1, 0], (LOG2 + math.log(3)) / 2), ([2, 1], (LOG4 + math.log(3)) / 2)]
)
def test_cross_entropy(labels: list[int], expected: float) -> None:
    # Probabilities 1/4, 1/2, 1/4, and 1/3 each.
    logits = torch.tensor([[0.0, LOG2, 0.0], [5.0, 5.0, 5.0]])
    assert classification_loss(logits, torch.tensor(labels)).item() == pytest.approx(expected)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_the_two_tasks_are_weighted(weight: float) -> None:
    loss = two_task_loss((TWO_LOGITS, PREDICTED), torch.tensor([0, 0]), BRIGHTNESS, weight)
    expected = (1 - weight) * (LOG2 + LOG4) / 2 + weight * MSE
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 3])
def test_losses_do_not_grow_with_the_batch(size: int) -> None:
    outputs = TWO_LOGITS.repeat(size, 1), PREDICTED.repeat(size)
    labels = torch.tensor([0, 0]).repeat(size)
    loss = two_task_loss(outputs, labels, BRIGHTNESS.repeat(size), 0.5)
    assert loss.item() == pytest.approx(0.5 * (LOG2 + LOG4) / 2 + 0.5 * MSE)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_sure_predictions_do_not_overflow(logit: float) -> None:
    loss = classification_loss(torch.tensor([[logit]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(max(0.0, logit))


@pytest.mark.parametrize("at", [0, 1])
def test_nan_is_not_hidden(at: int) -> None:
    outputs = [TWO_LOGITS.clone(), PREDICTED.clone()]
    outputs[at][0] = math.nan
    loss = two_task_loss((outputs[0], outputs[1]), torch.tensor([0, 0]), BRIGHTNESS, 0.3)
    assert math.isnan(loss.item())


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("lead", [(), (4,)])
@pytest.mark.parametrize("aux_weight", [0.0, 0.3, 1.0])
def test_the_gradient_is_autograds(
    n_classes: int, lead: tuple[int, ...], aux_weight: float
) -> None:
    torch.manual_seed(0)
    logits = torch.randn(*lead, 6, 1 if n_classes == 2 else n_classes, requires_grad=True)
    predicted = torch.randn(*lead, 6, requires_grad=True)
    labels, brightness = torch.randint(n_classes, (*lead, 6)), torch.rand(*lead, 6)
    loss = two_task_loss((logits, predicted), labels, brightness, aux_weight).sum()
    expected = torch.autograd.grad(loss, (logits, predicted))
    outputs = (logits.detach(), predicted.detach())
    found = two_task_gradient(outputs, labels, brightness, (1 - aux_weight, aux_weight))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
