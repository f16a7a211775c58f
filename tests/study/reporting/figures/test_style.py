"""The axes of the figures."""

from dataclasses import replace
from itertools import pairwise

import pytest

from study.reporting.figures.factor_plots import draw_aux_weights
from tests.support.studies.builders import make_epoch, make_record
from tl_core.aux_task import BRIGHTNESS


@pytest.mark.parametrize(("low", "high"), [
    (0.06, 0.1), (0.06, 0.065), (0.021, 0.07), (0.03, 0.12), (0.021, 0.104), (0.02, 0.19),
    (0.011, 0.99),
])  # fmt: skip
def test_labels_of_a_narrow_log_axis_do_not_touch(low: float, high: float) -> None:
    records = [
        replace(make_record(i, mode="finetune", aux_weight=i / 2), history=[epoch])
        for i, epoch in enumerate(make_epoch(val_brightness_mae=x) for x in (low, high))
    ]
    figure = draw_aux_weights(records, "val_log_loss", BRIGHTNESS, float, "aux")
    figure.draw_without_rendering()  # It places the labels.
    right = figure.axes[2]
    first, last = right.get_xlim()
    ticks = zip(right.get_xticks(), right.get_xticklabels(), strict=True)
    boxes = [text.get_window_extent() for x, text in ticks if first <= x <= last]
    assert len(boxes) > 1
    assert all(a.x1 + 1 < b.x0 for a, b in pairwise(boxes))
