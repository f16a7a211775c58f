import math

import pytest
import torch
from torch import Tensor

from tl_core.linear.losses import LogLoss, Loss, SquaredLoss
from tl_core.objectives.losses import classification_loss

GENERATOR = torch.Generator().manual_seed(0)
OUTPUTS = {k: torch.randn(3, k, 6, dtype=torch.float64, generator=GENERATOR) for k in (1, 2, 4)}
ALL = slice(None)
LOSSES = [
    (LogLoss(torch.tensor([0, 1, 1, 0, 1, 0])), 1),
    (LogLoss(torch.tensor([0, 1, 1, 0, 1, 0])), 2),
    (LogLoss(torch.tensor([0, 3, 2, 0, 1, 2])), 4),
    (SquaredLoss(torch.linspace(0, 1, 6).double()), 1),
]


def test_losses_by_hand() -> None:
    even = torch.zeros(1, 1, 2, dtype=torch.float64)
    losses, errors = LogLoss(torch.tensor([0, 1])).errors(even, ALL)
    assert losses.flatten().tolist() == pytest.approx([math.log(2)] * 2)
    assert errors.tolist() == [[[0.5, -0.5]]]
    losses, errors = SquaredLoss(torch.tensor([1.0, 3.0])).errors(even, ALL)
    assert losses.tolist() == [[0.5, 4.5]]
    assert errors.tolist() == [[[-1, -3]]]


@pytest.mark.parametrize("k", [1, 4])
def test_log_loss_is_the_one_that_trials_report(k: int) -> None:
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    losses, _ = LogLoss(labels).errors(OUTPUTS[k], ALL)
    torch.testing.assert_close(losses.mean(1), classification_loss(OUTPUTS[k].mT, labels))


@pytest.mark.parametrize(("loss", "k"), LOSSES)
def test_derivatives_are_those_of_autograd(loss: Loss, k: int) -> None:
    change = torch.randn(3, k, 6, dtype=torch.float64, generator=GENERATOR)

    def total(outputs: Tensor) -> Tensor:
        return loss.errors(outputs, ALL)[0].sum()

    outputs = OUTPUTS[k].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(outputs), outputs, create_graph=True)
    (expected,) = torch.autograd.grad(gradient, outputs, change)
    torch.testing.assert_close(loss.errors(OUTPUTS[k], ALL)[1], gradient)
    state = loss.state(OUTPUTS[k])
    torch.testing.assert_close(loss.bend(state, change.clone()), expected)
    ones = torch.eye(k * 6).view(k, 6, 1, k, 6).double()
    for i in range(k):
        one = ones[i, 2].repeat(3, 1, 1)
        torch.testing.assert_close(
            loss.diagonal(state)[:, i, 2], loss.bend(state, one.clone())[:, i, 2]
        )


@pytest.mark.parametrize(("loss", "k"), LOSSES)
def test_a_part_of_the_rows_has_its_own_targets(loss: Loss, k: int) -> None:
    parts = [loss.errors(OUTPUTS[k][..., rows], rows) for rows in (slice(0, 2), slice(2, 6))]
    losses, errors = loss.errors(OUTPUTS[k], ALL)
    for found, whole in zip(zip(*parts, strict=True), (losses, errors), strict=True):
        torch.testing.assert_close(torch.cat(found, dim=-1), whole)


def test_large_logits_are_no_trouble() -> None:
    for k, labels in ((1, [0, 1]), (2, [0, 1]), (3, [2, 1])):
        outputs = torch.tensor([1e4, -1e4]).double().repeat(1, k, 1)
        losses, errors = LogLoss(torch.tensor(labels)).errors(outputs, ALL)
        assert losses.isfinite().all()
        assert errors.isfinite().all()
