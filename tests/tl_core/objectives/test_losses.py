import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from tl_core.objectives.losses import (
    Targets,
    auxiliary_loss,
    balanced_weights,
    classification_loss,
    two_task_loss,
)

LOG2, LOG4 = math.log(2), math.log(4)
# Probability of the second class: 1/2 and 3/4.
TWO_LOGITS = torch.tensor([[0.0], [math.log(3)]])
BRIGHTNESS, PREDICTED = torch.tensor([0.5, 0.25]), torch.tensor([0.4, 0.55])
MSE = (0.01 + 0.09) / 2


# Probabilities 1/4, 1/2, 1/4, and 1/3 each.
THREE_LOGITS = torch.tensor([[0.0, LOG2, 0.0], [5.0, 5.0, 5.0]])


@pytest.mark.parametrize(("logits", "labels", "expected"), [
    (TWO_LOGITS, [0, 0], (LOG2 + LOG4) / 2),
    (TWO_LOGITS, [1, 0], (LOG2 + LOG4) / 2),
    (TWO_LOGITS, [0, 1], (LOG2 + math.log(4 / 3)) / 2),
    (THREE_LOGITS, [1, 0], (LOG2 + math.log(3)) / 2),
    (THREE_LOGITS, [2, 1], (LOG4 + math.log(3)) / 2),
    # Sure predictions do not overflow.
    (torch.tensor([[-1e4], [1e4]]), [0, 0], 1e4 / 2),
])  # fmt: skip
def test_cross_entropy(logits: Tensor, labels: list[int], expected: float) -> None:
    assert classification_loss(logits, torch.tensor(labels)).item() == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_the_two_tasks_are_weighted_whatever_the_batch(weight: float, size: int) -> None:
    outputs = TWO_LOGITS.repeat(size, 1), PREDICTED.repeat(size)
    labels = torch.tensor([0, 0]).repeat(size)
    loss = two_task_loss(outputs, Targets(labels, BRIGHTNESS.repeat(size)), weight)
    assert loss.item() == pytest.approx((1 - weight) * (LOG2 + LOG4) / 2 + weight * MSE)


def test_weights_multiply_the_classification_alone_and_the_sum_is_divided_by_the_images() -> None:
    labels, weights = torch.tensor([0, 0]), torch.tensor([2.0, 0.5])
    expected = (2 * LOG2 + 0.5 * LOG4) / 2
    assert classification_loss(TWO_LOGITS, labels, weights).item() == pytest.approx(expected)
    loss = two_task_loss((TWO_LOGITS, PREDICTED), Targets(labels, BRIGHTNESS, weights), 0.3)
    assert loss.item() == pytest.approx(0.7 * expected + 0.3 * MSE)


@given(st.lists(st.integers(0, 2), min_size=6, max_size=30).filter(lambda x: len({*x}) == 3))
def test_batches_add_up_to_the_loss_of_the_subset_whatever_they_lack(classes: list[int]) -> None:
    labels = torch.tensor(sorted(classes))  # Some batches have one class alone.
    logits = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0)).double()
    weights = balanced_weights(labels, 3).double()[labels]
    cuts = [torch.split(t, 4) for t in (logits, labels, weights)]
    parts = [classification_loss(*some) * len(some[0]) for some in zip(*cuts, strict=True)]
    # Over the whole subset the weights add up to N, so torch's mean is the same.
    whole = F.cross_entropy(logits, labels, weight=balanced_weights(labels, 3).double())
    assert torch.stack(parts).sum().item() / len(labels) == pytest.approx(whole.item())


def test_missing_labels_count_nothing() -> None:
    known, weights = torch.tensor([True, False]), torch.tensor([2.0, 0.0])
    assert auxiliary_loss(PREDICTED, BRIGHTNESS, weights).item() == pytest.approx(
        (PREDICTED - BRIGHTNESS)[known].square().mean().item()
    )
    assert auxiliary_loss(torch.zeros(2, 0), torch.zeros(2).long()).item() == 0, "no task"


def test_weights_by_hand() -> None:
    # 8 / (2 * 6) and 8 / (2 * 2).
    found = balanced_weights(torch.tensor([0, 0, 0, 1, 0, 0, 1, 0]), 2)
    assert found.tolist() == pytest.approx([2 / 3, 2])
    assert found.dtype == torch.float32


def test_weights_are_those_of_scikit_learn_and_their_mean_is_one() -> None:
    labels = np.random.default_rng(0).choice(4, 100, p=[0.6, 0.3, 0.07, 0.03])
    found = balanced_weights(torch.from_numpy(labels), 4)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[torch.from_numpy(labels)].mean().item() == pytest.approx(1)


def test_a_class_without_an_image_is_refused() -> None:
    fault = r"^each of the 3 classes must have a training image, but \[1\] have none; use a larger"
    with pytest.raises(ValueError, match=fault):
        balanced_weights(torch.tensor([0, 2, 2]), 3)
