import math

import pytest
import torch
from torch import Tensor

from tl_core.objectives.losses import classification_loss, two_task_gradient, two_task_loss

LOG2, LOG4 = math.log(2), math.log(4)
# Probability of the second class: 1/2 and 3/4.
TWO_LOGITS = torch.tensor([[0.0], [math.log(3)]])
BRIGHTNESS, PREDICTED = torch.tensor([0.5, 0.25]), torch.tensor([0.4, 0.55])
MSE = (0.01 + 0.09) / 2


# Probabilities 1/4, 1/2, 1/4, and 1/3 each.
THREE_LOGITS = torch.tensor([[0.0, LOG2, 0.0], [5.0, 5.0, 5.0]])


@pytest.mark.parametrize(
    ("logits", "labels", "expected"),
    [
        (TWO_LOGITS, [0, 0], (LOG2 + LOG4) / 2),
        (TWO_LOGITS, [1, 0], (LOG2 + LOG4) / 2),
        (TWO_LOGITS, [0, 1], (LOG2 + math.log(4 / 3)) / 2),
        (THREE_LOGITS, [1, 0], (LOG2 + math.log(3)) / 2),
        (THREE_LOGITS, [2, 1], (LOG4 + math.log(3)) / 2),
        # Sure predictions do not overflow.
        (torch.tensor([[-1e4], [1e4]]), [0, 0], 1e4 / 2),
    ],
)
def test_cross_entropy(logits: Tensor, labels: list[int], expected: float) -> None:
    assert classification_loss(logits, torch.tensor(labels)).item() == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_the_two_tasks_are_weighted_whatever_the_batch(weight: float, size: int) -> None:
    outputs = TWO_LOGITS.repeat(size, 1), PREDICTED.repeat(size)
    labels = torch.tensor([0, 0]).repeat(size)
    loss = two_task_loss(outputs, labels, BRIGHTNESS.repeat(size), weight)
    assert loss.item() == pytest.approx((1 - weight) * (LOG2 + LOG4) / 2 + weight * MSE)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("lead", [(), (4,)])
@pytest.mark.parametrize("aux_weight", [0.0, 0.3, 1.0])
def test_gradient_is_autograds(n_classes: int, lead: tuple[int, ...], aux_weight: float) -> None:
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
