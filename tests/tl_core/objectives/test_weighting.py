import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tl_core.objectives.losses import Targets, task_losses
from tl_core.objectives.weighting import LOG_VARIANCE_LR, LearnedWeights, Weighting, make_weighting

CPU = torch.device("cpu")
Outputs = tuple[Tensor, Tensor]


def learned(*pairs: tuple[float, float]) -> LearnedWeights:
    """One pair (s_c, s_b) a seed."""
    weights = LearnedWeights(len(pairs))
    with torch.no_grad():
        weights.log_variances.copy_(torch.tensor(pairs))
    return weights


def drawn(n_seeds: int, n_classes: int) -> tuple[Outputs, Tensor, Tensor]:
    """Outputs, labels and brightness of six images a seed."""
    torch.manual_seed(0)
    logits = torch.randn(n_seeds, 6, 1 if n_classes == 2 else n_classes)
    outputs = logits, torch.rand(n_seeds, 6)
    return outputs, torch.randint(n_classes, (n_seeds, 6)), torch.rand(n_seeds, 6)


def test_a_number_is_fixed_and_the_word_is_learned_from_variance_one() -> None:
    fixed, auto = make_weighting(0.3, CPU), make_weighting(["auto"] * 3, CPU)
    losses = torch.tensor(2.0), torch.tensor(4.0)
    assert fixed.loss(*losses).item() == pytest.approx(2.6)
    assert (fixed.aux_weight, fixed.groups(), fixed.metrics()) == (0.3, [], {})
    assert auto.loss(*losses).item() == pytest.approx(3 * (2 + 4 / 2))
    torch.testing.assert_close(auto.metrics()["aux_weight_learned"], torch.full((3,), 1 / 3))
    stacked, one = make_weighting([0.1, 0.3], CPU), make_weighting("auto", CPU)
    torch.testing.assert_close(stacked.aux_weight, torch.tensor([0.1, 0.3]))
    assert one.loss(*losses).item() == pytest.approx(2 + 4 / 2)


@given(st.floats(-8, 8), st.floats(-8, 8))
def test_loss_and_weight_by_hand(s_c: float, s_b: float) -> None:
    weights, of_class, of_brightness = learned((s_c, s_b)), math.exp(-s_c), math.exp(-s_b) / 2
    loss = weights.loss(torch.tensor(0.6), torch.tensor(0.4)).item()
    expected = 0.6 * of_class + 0.4 * of_brightness + (s_c + s_b) / 2
    assert loss == pytest.approx(expected, rel=1e-5, abs=1e-5)
    weight = weights.aux_weight.item()
    assert 0 < weight < 1
    assert weight == pytest.approx(of_brightness / (of_class + of_brightness), rel=1e-5)


def test_written_out_gradient_is_autograds() -> None:
    weights = learned((0.5, -1.0), (-0.3, 2.0), (0.0, 0.0))
    tasks = torch.rand(3), torch.rand(3)
    (expected,) = torch.autograd.grad(weights.loss(*tasks), weights.log_variances)
    weights.set_gradient(tasks)
    assert weights.log_variances.grad is not None
    torch.testing.assert_close(weights.log_variances.grad, expected)
    # By the losses it is the coefficients.
    leaves = tuple(task.requires_grad_() for task in tasks)
    by_losses = torch.autograd.grad(weights.loss(*leaves), leaves)
    torch.testing.assert_close(torch.stack(by_losses, dim=-1), weights.coefficients.detach())


def test_coefficients_of_a_fixed_weight() -> None:
    expected = torch.tensor([[1.0, 0.0], [0.7, 0.3]])
    torch.testing.assert_close(Weighting(torch.tensor([0.0, 0.3])).coefficients, expected)
    torch.testing.assert_close(Weighting(0.3).coefficients, expected[1])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_learned_variances_reach_their_optimum(n_classes: int) -> None:
    outputs, labels, brightness = drawn(2, n_classes)
    weights = LearnedWeights(2)
    optimizer = torch.optim.Adam(weights.groups())
    assert [group["lr"] for group in optimizer.param_groups] == [LOG_VARIANCE_LR]
    for _ in range(400):
        weights.set_gradient(task_losses(outputs, Targets(labels, brightness)))
        optimizer.step()
    classification, squared = task_losses(outputs, Targets(labels, brightness))
    optimum = torch.stack([2 * classification, squared], dim=1).log()
    torch.testing.assert_close(weights.log_variances.detach(), optimum, rtol=0, atol=1e-2)
    # There the coefficients are 1 / (2 * classification) and 1 / (2 * squared).
    expected = classification / (classification + squared)
    torch.testing.assert_close(weights.aux_weight, expected, rtol=0, atol=1e-2)


def test_what_is_reported_is_the_loss_of_that_weight_fixed() -> None:
    weights = learned((0.0, 0.0), (0.0, -math.log(2)))  # w = 1/3 and 1/2.
    tasks = torch.tensor([0.6, 0.6]), torch.tensor([0.3, 0.4])
    assert weights.parts(torch.tensor(9.0), tasks) is tasks
    torch.testing.assert_close(weights.epoch_loss(*tasks), torch.tensor([0.5, 0.5]))
