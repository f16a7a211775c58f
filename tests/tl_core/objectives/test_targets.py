"""The scale of the auxiliary target."""

from typing import Any

import numpy as np
import pytest
import torch

from tests.support.core.trials import CPU, Trials
from tl_core.config import AuxTarget, Mode
from tl_core.models.heads import Heads
from tl_core.objectives.targets import TargetScale

TARGET = torch.tensor([1.0, 3.0, 5.0, 7.0, 7.0])


def test_each_subset_has_a_mean_and_a_spread_of_its_own() -> None:
    scale = TargetScale.of(TARGET, [np.array([0, 1]), np.array([3, 4])])
    assert (scale.mean.tolist(), scale.spread.tolist()) == ([2, 7], [1, 1]), "1 for 0"
    twice = scale.each(2)
    assert (twice.mean.tolist(), twice.spread.tolist()) == ([2, 2, 7, 7], [1, 1, 1, 1])
    (only,) = (TargetScale.of(TARGET, [np.array([1, 3])]).one(),)
    assert only.standardize(TARGET).tolist() == [-2, -1, 0, 1, 1]
    assert only.restore(torch.tensor([-1.0, 0.5])).tolist() == [3, 6]


def test_targets_of_stacked_heads_are_scaled_by_row() -> None:
    scale = TargetScale(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 4.0]))
    rows = torch.tensor([[1.0, 5.0], [1.0, 5.0]])
    assert scale.standardize(rows).tolist() == [[0, 2], [-1, 0]]
    assert scale.restore(scale.standardize(rows)).tolist() == rows.tolist()
    raw = TargetScale.raw(2, CPU)
    assert torch.equal(raw.standardize(rows), rows)


def test_heads_are_moved_to_the_scale_and_back() -> None:
    torch.manual_seed(0)
    heads, features = Heads(6, 2), torch.randn(9, 6)
    scale = TargetScale.of(TARGET, [np.arange(5)]).one()
    logits, plain = heads(features)
    scale.into(heads)
    assert torch.equal(heads(features)[0], logits), "classes have no scale"
    torch.testing.assert_close(scale.restore(heads(features)[1]), plain)
    scale.out_of(heads)
    torch.testing.assert_close(heads(features)[1], plain)


@pytest.mark.parametrize("mode", ["freeze", "finetune", "scratch"])
def test_a_fresh_head_starts_at_the_mean_and_the_result_needs_no_scale(
    trials: Trials, mode: Mode
) -> None:
    def run(aux_target: AuxTarget, **given: Any) -> Any:
        changes = {"lr": 1e-9, "epochs": 1, "aux_weight": 0.5, "aux_target": aux_target}
        return trials.run(mode, read_test=True, **changes | given)

    kinds: list[AuxTarget] = ["raw", "standardized"]
    raw, standardized = (run(target).history[-1].aux["val_brightness_r2"] for target in kinds)
    assert standardized > -1
    assert raw < standardized
    found = run("standardized", lr=1e-3)
    rows = found.split.test
    pixels = torch.from_numpy(np.array(trials.images.pixels[rows])).float() / 255
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (found.backbone.mean, found.backbone.std))
    with torch.no_grad():
        _, brightness = found.net.eval()((pixels - mean) / std)
    error = (brightness - torch.from_numpy(trials.images.brightness[rows])).abs().mean()
    assert error.item() == pytest.approx(found.test["test_brightness_mae"], rel=1e-4)
