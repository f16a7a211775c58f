"""The score of each test image."""

import math

import numpy as np
import pytest
import torch

from study.analysis.images.image_scores import score_images
from study.records.outputs import Targets
from tl_core.objectives.metrics import measure
from tl_core.objectives.outputs import Outputs


def test_values_of_two_classes() -> None:
    outputs = Outputs(torch.tensor([[2.0], [0.0], [-1.0]]), torch.tensor([0.5, 0.25, 1.0]))
    light = np.array([0.5, 0.5, 0.25], dtype=np.float32)
    targets = Targets(np.array([1, 1, 1]), light, train_brightness=0.375)
    val = {"val": Outputs(torch.tensor([[1.0], [1.0], [-1.0]]), torch.zeros(3))}
    truth = {"val": Targets(np.array([1, 0, 0]), np.zeros(3, dtype=np.float32))}
    found = score_images(val | {"test": outputs}, truth | {"test": targets})
    assert found.logits.tolist() == [[2.0], [0.0], [-1.0]]
    assert found.values["test_accuracy"].tolist()[::2] == [1.0, 0.0]
    losses = [math.log1p(math.exp(-2)), math.log(2), math.log1p(math.exp(1))]
    assert found.values["test_log_loss"].tolist() == pytest.approx(losses)
    assert found.values["test_brightness_mae"].tolist() == pytest.approx([0, 0.25, 0.75])
    assert found.scores["test_brightness_mae_baseline"] == pytest.approx(0.125)
    # Two of three are right at a logit of 1, so it must be log 2.
    scaled = found.values["test_log_loss_scaled"].tolist()
    assert scaled[0] == pytest.approx(math.log1p(2.0**-2), abs=1e-4)
    assert found.scores["test_log_loss_scaled"] == pytest.approx(np.mean(scaled))
    sure = [1 / (1 + math.exp(-2)), 0.5, 1 / (1 + math.exp(-1))]
    gaps = [1 - sure[0], -sure[1], -sure[2]]
    # Confidences of 0.88, 0.5 and 0.73 are in three bins, in which no image has another.
    assert found.scores["test_calibration_mse"] == 0
    values = found.values["test_calibration_mse"]
    assert values == pytest.approx(np.square(gaps) - np.square(gaps).mean())
    # Errors of 0, 0.25 and 0.75; the brightness is 1/12, 1/12 and 2/12 from its mean.
    r2 = 1 - (0.25**2 + 0.75**2) / ((1 + 1 + 4) / 144)
    assert found.values["test_brightness_r2"].mean() == pytest.approx(r2)
    even = targets._replace(brightness=np.full(3, 0.5, dtype=np.float32))
    unlit = score_images(val | {"test": outputs}, truth | {"test": even})
    assert "test_brightness_r2" not in unlit.values


@pytest.mark.parametrize("n_logits", [1, 4])
def test_their_means_are_the_scores(n_logits: int) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % max(2, n_logits)
    outputs = Outputs(
        torch.randn(40, n_logits, generator=generator), torch.rand(40, generator=generator)
    )
    brightness = torch.rand(40, generator=generator)
    whole = measure(outputs, labels, brightness, 0.0)
    targets = Targets(labels.numpy(), brightness.numpy())
    found = score_images(
        dict.fromkeys(("val", "test"), outputs), dict.fromkeys(("val", "test"), targets)
    )
    for name, values in found.values.items():
        if name in found.scores:
            assert values.mean() == pytest.approx(found.scores[name])
            continue
        assert values.mean() == pytest.approx(whole[name.removeprefix("test_")].item())
