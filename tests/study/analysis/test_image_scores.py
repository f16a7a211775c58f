"""The score of each test image."""

import math

import numpy as np
import pytest
import torch

from study.analysis.image_scores import score_images
from study.records.outputs import Targets
from tl_core.objectives.metrics import measure
from tl_core.objectives.outputs import Outputs


def test_values_of_two_classes() -> None:
    outputs = Outputs(torch.tensor([[2.0], [0.0], [-1.0]]), torch.tensor([0.5, 0.25, 1.0]))
    targets = Targets(np.array([1, 1, 1]), np.array([0.5, 0.5, 0.25], dtype=np.float32))
    found = score_images(outputs, targets)
    assert found.logits.tolist() == [[2.0], [0.0], [-1.0]]
    assert found.values["test_accuracy"].tolist()[::2] == [1.0, 0.0]
    losses = [math.log1p(math.exp(-2)), math.log(2), math.log1p(math.exp(1))]
    assert found.values["test_log_loss"].tolist() == pytest.approx(losses)
    assert found.values["test_brightness_mae"].tolist() == pytest.approx([0, 0.25, 0.75])


@pytest.mark.parametrize("n_logits", [1, 4])
def test_their_means_are_the_scores(n_logits: int) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % max(2, n_logits)
    outputs = Outputs(
        torch.randn(40, n_logits, generator=generator), torch.rand(40, generator=generator)
    )
    brightness = torch.rand(40, generator=generator)
    whole = measure(outputs, labels, brightness, 0.0)
    found = score_images(outputs, Targets(labels.numpy(), brightness.numpy()))
    for name, values in found.values.items():
        assert values.mean() == pytest.approx(whole[name.removeprefix("test_")].item())
