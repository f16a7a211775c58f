"""Labels of log scales."""

import math
from itertools import pairwise

import numpy as np
import pytest

from study.reporting.figures import style
from study.reporting.figures.log_ticks import round_numbers


@pytest.mark.parametrize(("low", "high", "numbers"), [
    (0.04, 0.6, [0.05, 0.1, 0.2, 0.5]),
    (0.0004, 0.9, [0.001, 0.01, 0.1]),  # Ten numbers of the row 1, 2, 5 have no room.
    (0.12, 0.75, [0.2, 0.3, 0.5, 0.7]),
    (0.31, 0.44, [0.32, 0.44]),
    (0.6, 0.9, [0.6, 0.7, 0.8, 0.9]),
    (1e-9, 1e3, [1e-9, 1e-6, 1e-3, 1e0, 1e3]),
])  # fmt: skip
def test_round_numbers_of_a_range(low: float, high: float, numbers: list[float]) -> None:
    assert round_numbers(low, high, 80, lambda _: 14) == pytest.approx(numbers)


def test_every_range_has_labels_with_room() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        low = 10 ** rng.uniform(-12, 3)
        high = low * 10**10 ** rng.uniform(-2, 1.3)
        length = rng.uniform(60, 300)
        found = round_numbers(low, high, length, lambda _: 14)
        assert len(found) >= (3 if length > 140 else 2)
        assert low <= found[0] <= found[-1] <= high
        apart = [length * math.log(b / a) / math.log(high / low) for a, b in pairwise(found)]
        assert min(apart) >= 14


@pytest.mark.parametrize(("low", "high"), [
    (0.21, 0.48), (0.3, 0.31), (0.25, 0.25), (1e-4, 20), (1e-7, 1.5), (1e-9, 9), (0.0, 0.3),
])  # fmt: skip
def test_labels_of_a_drawn_score_do_not_touch(low: float, high: float) -> None:
    figure = style.new_figure("scores", 2.6)
    axes = figure.subplots()
    axes.plot([1, 2], [low, high])
    style.score_axis(axes, "val_log_loss")
    figure.draw_without_rendering()
    first, last = axes.get_ylim()
    ticks = zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    shown = [text for y, text in ticks if first <= y <= last]
    assert len({text.get_text() for text in shown}) == len(shown) >= 2
    boxes = [text.get_window_extent() for text in shown]
    assert all(a.y1 < b.y0 for a, b in pairwise(boxes))
