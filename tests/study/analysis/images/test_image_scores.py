"""The score of each test image."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from study.analysis.estimates import estimate_score
from study.analysis.images.image_scores import score_images
from study.intervals.pigeonhole import auroc_draws
from study.records.outputs import Targets
from tests.support.studies.builders import make_confirmed
from tl_core.aux_task import AuxTask
from tl_core.objectives.metrics import measure
from tl_core.objectives.outputs import Outputs


def test_values_of_two_classes() -> None:
    outputs = Outputs(torch.tensor([[2.0], [0.0], [-1.0]]), torch.tensor([0.5, 0.25, 1.0]))
    light = np.array([0.5, 0.5, 0.25], dtype=np.float32)
    targets = Targets(np.array([1, 1, 0]), light, constant=0.375)
    val = {"val": Outputs(torch.tensor([[1.0], [1.0], [-1.0]]), torch.zeros(3))}
    truth = {"val": Targets(np.array([1, 0, 0]), np.zeros(3, dtype=np.float32))}
    found = score_images(val | {"test": outputs}, truth | {"test": targets})
    assert found.chosen.tolist() == [1, 0, 0]
    # Both of class 1 rank above the one of class 0: one more of any image changes nothing.
    assert found.auroc_draws[0] == 1
    assert found.auroc_changes.tolist() == [0, 0, 0]
    assert found.values["test_accuracy"].tolist() == [1.0, 0.0, 1.0]
    losses = [math.log1p(math.exp(-2)), math.log(2), math.log1p(math.exp(-1))]
    assert found.values["test_log_loss"].tolist() == pytest.approx(losses)
    assert found.values["test_brightness_mae"].tolist() == pytest.approx([0, 0.25, 0.75])
    assert found.scores["test_brightness_mae_baseline"] == pytest.approx(0.125)
    # Two of three are right at a logit of 1, so it must be log 2.
    scaled = found.values["test_log_loss_scaled"].tolist()
    assert scaled[0] == pytest.approx(math.log1p(2.0**-2), abs=1e-4)
    assert found.scores["test_log_loss_scaled"] == pytest.approx(np.mean(scaled))
    sure = [1 / (1 + math.exp(-2)), 0.5, 1 / (1 + math.exp(-1))]
    gaps = [1 - sure[0], -sure[1], 1 - sure[2]]
    # Confidences of 0.88, 0.5 and 0.73 are in three bins, in which no image has another.
    assert found.scores["test_calibration_mse"] == 0
    values = found.values["test_calibration_mse"]
    assert values == pytest.approx(np.square(gaps) - np.square(gaps).mean())
    # Errors of 0, 0.25 and 0.75; the brightness is 1/12, 1/12 and 2/12 from its mean.
    r2 = 1 - (0.25**2 + 0.75**2) / ((1 + 1 + 4) / 144)
    assert found.values["test_brightness_r2"].mean() == pytest.approx(r2)
    even = targets._replace(aux=np.full(3, 0.5, dtype=np.float32))
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
    kept = [found.chosen, found.auroc_draws, found.auroc_changes, *found.values.values()]
    assert {array.ndim for array in kept} == {1}, "nothing has a value for each class"
    assert found.auroc_draws[0] == pytest.approx(whole["auroc"].item())
    logits = outputs.logits.double().numpy()
    assert np.array_equal(found.auroc_draws, auroc_draws(logits, labels.numpy()))
    for name, values in found.values.items():
        if name in found.scores:
            assert values.mean() == pytest.approx(found.scores[name])
            continue
        assert values.mean() == pytest.approx(whole[name.removeprefix("test_")].item())


@pytest.mark.parametrize(("task", "outputs", "target", "constant", "expected"), [
    (AuxTask("age", "regression"), [[10.0, 20, 30, 40]], [12.0, math.nan, 30, 50], 20.0,
     ("age_mae", [2, 0, 10], (8 + 10 + 30) / 3)),
    (AuxTask("coat", "classification", ("a", "b")), [[[-1.0], [2], [3], [-4]]], [0, 1, -1, 1],
     1.0, ("coat_accuracy", [1, 1, 0], 2 / 3)),
])  # fmt: skip
def test_a_task_with_missing_labels(
    task: AuxTask, outputs: Any, target: Any, constant: float,
    expected: tuple[str, list[float], float],
) -> None:  # fmt: skip
    logits, labels = torch.tensor([[1.0], [-1], [1], [-1]]), np.array([1, 0, 1, 0])
    one = {split: Outputs(logits, torch.tensor(outputs[0])) for split in ("val", "test")}
    truth = Targets(labels, np.array(target), constant)
    found = score_images(one, {"val": truth, "test": truth}, task=task)
    name, values, baseline = expected
    own = found.values[f"test_{name}"]
    assert own[~np.isnan(own)].tolist() == values
    assert found.scores[f"test_{name}_baseline"] == pytest.approx(baseline)
    trials = [
        replace(c, images=found, scores={f"test_{name}": float(np.nanmean(own))})
        for c in make_confirmed("finetune", 0.1, [0.5, 0.5])
    ]
    estimate = estimate_score(f"test_{name}", trials)
    assert estimate.images == 3, "of the four, one has no label"
